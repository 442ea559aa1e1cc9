"""
Running jobs whose worker is gone: found, looked after, and brought to their end.

What is noted of a job is noted of one attempt: by the time that a process is seen to be gone,
its job may have begun another.
"""

import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from mcli import frames
from mcli.card import Pipes, read_pipes, read_worker, read_worker_ticks
from mcli.daemon.live import Live
from mcli.daemon.orphan import Orphan, Streams
from mcli.daemon.patience import Vigil, insist, persist
from mcli.family import holding
from mcli.home import Home
from mcli.outcome import Outcome, read_outcome
from mcli.settings import Settings
from mcli.stream import Stream
from mcli.ticket import Identity, has_reached, holder, identify, is_taken, revoke

Work = Coroutine[Any, Any, None]

REPORT_S: Final = 2.0
"""Seconds after the end of a job's process in which that may still be reported."""

SETTLE_S: Final = 10.0
"""The same as long as its worker is waited for, which may have to be ended first."""


class Orphans:
    """Looks after them. *finish* ends an attempt, *requeue* puts back one that never began."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        finish: Callable[[Live, int, Outcome | None], Work],
        requeue: Callable[..., Work],
        spawn: Callable[[Work], None],
    ) -> None:
        self._home = home
        self._settings = settings
        self._finish = finish
        self._requeue = requeue
        self._spawn = spawn

    def bereave(self, live: Live, worker_pid: int, ticks: int | None = None) -> None:
        """Its worker cannot be heard any more: it comes back, or it is gone."""
        live.end_vigil()
        take_over = partial(insist, partial(self._take_over, live, live.attempt))
        keep = partial(self._keep_pipes, live, worker_pid)
        live.vigil = Vigil(worker_pid, take_over, ticks=ticks, before=keep)

    def _keep_pipes(self, live: Live, worker_pid: int) -> None:
        """What it printed last is there, and if it has ended, perhaps nowhere else."""
        if live.streams is not None:
            live.streams.reopen(read_pipes(self._home.job(live.id)), [worker_pid])

    def forsake(self, live: Live) -> None:
        """Its worker is back, and has it no more: what it told, it told the daemon before."""
        live.end_vigil()
        insist(partial(self._take_over, live, live.attempt))

    def adopt(self, live: Live) -> None:
        """A running job of an earlier daemon."""
        assert live.info is not None
        if live.info.pid is None:  # the one before did not come to write it down
            owner = None
            with contextlib.suppress(FileNotFoundError):  # it could not be made durable
                owner = holder(self._home.job(live.id), live.attempt)
            live.note_pid(owner.pid if owner else None)
        self.watch(live, live.attempt)
        folder = self._home.job(live.id)
        pipes = read_pipes(folder)
        self.inherit(live, pipes)
        live.reached = not pipes.unmute or has_reached(folder, live.attempt)
        worker_pid = live.info.worker_pid or read_worker(folder)
        if worker_pid is not None:
            self.bereave(live, worker_pid, read_worker_ticks(folder))
        else:
            insist(partial(self._take_over, live, live.attempt))

    @staticmethod
    def inherit(live: Live, pipes: Pipes) -> None:
        """Its streams, none of which are here."""
        streams = [*pipes.inodes, *([Stream.TTY] if "tty" in live.invocation.stdio else [])]
        live.share(Streams([], streams, pipes.unmute.encode()))

    @staticmethod
    def take_terminal(live: Live, master: int) -> bool:
        """Whether *master* is of use: nobody here has it."""
        if live.streams is None or not os.isatty(master):
            return False
        if not live.streams.take(Stream.TTY, master):
            return False
        if live.orphan is not None:
            live.orphan.hear(master)
        return True

    def watch(self, live: Live, attempt: int) -> None:
        """Wait for the end of its process without its worker's help."""
        if live.is_at(attempt) and live.watched != attempt:
            process = self._process(live, attempt)
            live.watched = attempt
            abandon = partial(self._abandon, live, attempt)
            if process is None:
                self._spawn(abandon())
            else:
                told = lambda: self._spawn(abandon())  # noqa: E731
                Vigil(process.pid, told, ticks=process.started_ticks)

    def _process(self, live: Live, attempt: int) -> Identity | None:
        """The process of that attempt, though it has ended; None: it is not known."""
        assert live.info is not None
        with contextlib.suppress(FileNotFoundError):
            return holder(self._home.job(live.id), attempt)
        with contextlib.suppress(ProcessLookupError):  # somebody has removed its directory
            return identify(live.info.pid) if live.info.pid is not None else None
        return None

    def _take_over(self, live: Live, attempt: int) -> None:
        """Its worker is dead."""
        if live.worker is not None or not live.is_at(attempt):
            return
        assert live.info is not None
        if live.info.pid is None:
            self._find_process(live, attempt)
            return
        if live.orphan is None:
            live.orphan = self._orphan(live, attempt)
        if live.stopping:
            live.orphan.stop(self._settings.grace_s)
        self.watch(live, attempt)

    def _orphan(self, live: Live, attempt: int) -> Orphan:
        assert live.info is not None
        assert live.info.pid is not None
        folder = self._home.job(live.id)
        os.makedirs(folder, mode=0o700, exist_ok=True)  # somebody may have removed it
        process, pipes = self._process(live, attempt), read_pipes(folder)
        if live.streams is None:
            self.inherit(live, pipes)
        assert live.streams is not None
        live.reached = live.reached or not live.streams.unmute or has_reached(folder, attempt)
        if live.reached and is_taken(folder, attempt):
            live.reach()
        if live.streams.missing & pipes.inodes.keys():
            alive = process is not None and process.alive()
            have = {live.info.pid} if alive else holding(pipes.inodes.values())
            live.streams.reopen(pipes, have)
        orphan = Orphan(
            live.info,
            folder,
            process,
            live.streams,
            live.reached,
            live.size,
            self._settings.grace_s,
            live.grow,
            live.reach,
            live.tell,
            live.invocation,
            live.output_max(self._settings),
        )
        try:
            orphan.start()
        except BaseException:
            orphan.close()
            raise
        return orphan

    @staticmethod
    def tell(orphan: Orphan, kind: int, payload: dict[str, Any]) -> None:
        """Pass on what is meant for its worker."""
        if kind == frames.CLOSED:
            orphan.close_stream(payload["stream"])
        elif kind == frames.SIGNAL:
            orphan.signal(payload["signal"], group=payload["group"])
        elif kind == frames.KEYS:
            orphan.type(payload["data"].encode("latin-1"))
        elif kind == frames.WINDOW:
            orphan.resize(payload["rows"], payload["cols"])

    def _find_process(self, live: Live, attempt: int) -> None:
        """Its worker did not come to say which process it has forked, or whether."""
        folder = self._home.job(live.id)
        if revoke(folder, attempt):
            self._spawn(self._requeue(live, attempt, killed=True))
            return
        owner = holder(folder, attempt)
        if owner is None:
            self._spawn(self._abandon(live, attempt))
        else:
            live.note_pid(owner.pid)
            self._take_over(live, attempt)

    async def _abandon(self, live: Live, attempt: int) -> None:
        """Its process is gone: finish from what it left, once its worker had time to report."""
        await persist(partial(self._try_to_abandon, live, attempt))

    async def _try_to_abandon(self, live: Live, attempt: int) -> None:
        gone_at = time.monotonic()
        while (
            live.status is None
            and live.worker is None
            and live.is_at(attempt)
            and (live.orphan is None or live.orphan.ours)
            and (left := gone_at + (SETTLE_S if live.vigil else REPORT_S) - time.monotonic()) > 0
        ):
            await live.changed(left)  # it may have changed in another way: it prints, say
        if live.worker is not None:  # it will tell; if it does not, it is watched again
            live.watched = None
        if live.worker is not None or not live.is_at(attempt):
            return
        if live.orphan is not None:
            outcome = await live.orphan.end(live.status)
        else:
            outcome = read_outcome(self._home.job(live.id), attempt)
        await self._finish(live, attempt, outcome)
