"""
A job that has not ended, as the daemon holds it in memory, and those who wait for it.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mcli.daemon.orphan import Orphan, Streams
from mcli.daemon.patience import Vigil
from mcli.daemon.workers import Worker
from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.settings import Settings
from mcli.states import FINAL, State
from mcli.stream import Stream

Listener = Callable[[int, dict[str, Any]], None]


class Live:
    """One job, from its submission to its end."""

    def __init__(self, job_id: str, invocation: Invocation, fds: list[int]) -> None:
        self.id = job_id
        self.info: JobInfo | None = None
        """None until it is accepted."""

        self.invocation = invocation
        self.fds = fds
        self._began_at = _position(fds[0]) if fds else None
        self.worker: Worker | None = None
        self.streams: Streams | None = None
        self.orphan: Orphan | None = None
        """What looks after it when its worker is dead."""

        self.ending = asyncio.Lock()
        """Held by whoever brings an attempt to its end: the worker may tell it while somebody finds
        out, and the store may keep both waiting."""

        self.vigil: Vigil | None = None
        """For the end of a worker that is not heard of."""

        self.watched: int | None = None
        """The attempt for the end of whose process somebody waits."""

        self.status: int | None = None
        """How its process ended, if it was ours to wait for."""

        self.starts_killed = 0
        """How often what was to begin it was killed."""

        self.begins_killed = 0
        """How often its worker, or its process, has ended before it began."""

        self.reached = False
        self.size = 0
        """Bytes in its record log, as far as is known."""

        self.listeners: set[Listener] = set()
        """Told of what happens besides output: ``PAUSED``, ``TYPED``."""

        self._changed: asyncio.Event = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.info is not None and self.info.state in (State.RUNNING, State.STOPPING)

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked for its end."""
        return self.info is not None and self.info.state is State.STOPPING

    @property
    def attempt(self) -> int:
        return self.info.attempt if self.info is not None else 0

    def is_at(self, attempt: int) -> bool:
        """Whether that attempt has not ended."""
        return self.running and self.attempt == attempt

    @property
    def priority(self) -> int:
        return self.info.priority if self.info is not None else 0

    @property
    def final(self) -> bool:
        return self.info is not None and self.info.state in FINAL

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait for the next change: output, its body reached, another state. False: too long."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def tell(self, kind: int, payload: dict[str, Any]) -> None:
        """Tell those who listen of what happens besides output."""
        for listener in list(self.listeners):
            listener(kind, payload)
        self.notify()

    def grow(self, size: int) -> None:
        """Its record log has become that long."""
        self.size = size
        self.notify()

    def reach(self) -> None:
        """Its body is reached. What it reads is needed here only if it may be tried again."""
        self.reached = True
        if not self.invocation.policy.retries:
            self.close_fds()
        self.notify()

    def note_pid(self, pid: int | None) -> None:
        """Its process is known now."""
        assert self.info is not None
        self.info = replace(self.info, pid=pid)

    def rewind(self) -> bool:
        """Whether its standard input can be read once more, from where it began."""
        if self.invocation.stdio[0] != "fd":
            return True
        if self._began_at is None or not self.fds:
            return False
        os.lseek(self.fds[0], self._began_at, os.SEEK_SET)
        return True

    def end_attempt(self) -> None:
        """Let go of what belonged to its process; another one may follow."""
        self.end_vigil()
        if self.orphan is not None:
            self.orphan.close()
        if self.streams is not None:
            self.streams.close()
        self.worker = self.streams = self.orphan = self.status = None
        self.reached = False

    def end_vigil(self) -> None:
        """Its worker is back, or does not matter any more."""
        if self.vigil is not None:
            self.vigil.close()
            self.vigil = None

    def share(self, streams: Streams) -> None:
        """Keep what its worker shares."""
        if self.streams is not None:
            self.streams.close()
        self.streams = streams

    @property
    def terminal(self) -> int | None:
        """The master of its terminal, as far as it is held here."""
        held = self.streams.fds if self.streams is not None else {}
        return next((fd for fd, stream in held.items() if stream == Stream.TTY), None)

    def output_max(self, settings: Settings) -> int | None:
        """Bytes of its output that are kept, unless its program says otherwise."""
        return self.invocation.policy.output_bytes or settings.output_max

    def close_fds(self) -> None:
        fds, self.fds = self.fds, []
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def _position(fd: int) -> int | None:
    """Where in its file *fd* is; None of what can be read only once."""
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        return None
