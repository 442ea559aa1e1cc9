"""
Jobs on their way: accepted, claimed, given to a worker, followed to their end.

Lives in the daemon's event loop. Every change goes through ``queue`` and is told to others
only after its commit. What a job's process does is told by its worker; the outcome file is
the truth, the row follows.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal as signals
import sys
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from mcli import failpoint, family, frames, queue
from mcli.card import card_of, has_begun, read_pipes
from mcli.daemon import recovery
from mcli.daemon.acceptance import acceptance
from mcli.daemon.ballast import Ballast
from mcli.daemon.lane import Lane, lanes
from mcli.daemon.live import Live
from mcli.daemon.orphan import Streams
from mcli.daemon.orphans import SETTLE_S, Orphans
from mcli.daemon.patience import AGAIN_S, insist, pause_s, persist
from mcli.daemon.ports import Figures
from mcli.daemon.readers import Readers
from mcli.daemon.troubles import Troubles
from mcli.daemon.verdict import Ending, ending_of
from mcli.daemon.workers import Placed, Pool, Worker
from mcli.errors import (
    InvalidTransition,
    Refused,
    RequestError,
    StoreError,
    StoreFull,
    UnknownJob,
)
from mcli.home import Home
from mcli.ids import new_id
from mcli.invocation import App, Invocation, Stdio
from mcli.job import AttemptInfo, JobInfo, timestamp
from mcli.outcome import Outcome, read_outcome
from mcli.output import log_size
from mcli.scarcity import is_full, is_scarce
from mcli.settings import Settings
from mcli.states import State
from mcli.store.store import Store
from mcli.ticket import REVOKED_CODE, clear, is_held, is_over, is_taken, revoke
from mcli.version import PROTOCOL, __version__

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("mcli.jobs")

DUE_MAX: Final = 500
"""Jobs that are queued in one transaction because their time has come."""

STARTS_MAX: Final = 4
"""Times that a job is put off because what was to begin it was killed."""

BEGINS_MAX: Final = 20
"""How often a job is put back whose process, or worker, has ended before it began."""

BEGINS_KILLED: Final = "its process, or its worker, dies before it begins, again and again"


class Dispatcher:
    """The daemon's one place where jobs move."""

    def __init__(self, home: Home, settings: Settings, store: Store) -> None:
        self.home = home
        self.settings = settings
        self.url = ""
        self.draining = False
        self.readers = Readers()
        self.leaving = False
        """It ends now, and nobody is let wait any longer."""

        self.troubles = Troubles()
        self.stop_requested: Callable[[], None] = lambda: None
        self._store = store
        self._ballast = Ballast(home.ballast)
        self._started_at = time.time()
        self._live: dict[str, Live] = {}
        self._lanes = lanes()
        self.ended: list[Callable[[JobInfo], None]] = []
        """Told of each job that has ended, after the commit."""

        self._log_bytes = 0
        """In the record logs of jobs that have ended."""

        self._chance = Random()  # noqa: S311 - nobody gains by guessing it
        self._tasks: set[asyncio.Task[object]] = set()
        self._orphans = Orphans(
            home, settings, finish=self._finish, requeue=self._requeue, spawn=self.spawn
        )
        self.pool = Pool(
            home,
            settings,
            on_place=self._placed,
            on_fail=self._unplaced,
            on_killed=self._killed,
            on_frame=self._frame,
            on_ready=self._ready,
            on_lost=self._worker_lost,
        )

    # Accepting and claiming -----------------------------------------------------------

    async def submit(
        self,
        invocation: Invocation,
        *,
        job_id: str,
        fds: list[int] | None = None,
        priority: int = 0,
        key: str | None = None,
        request: bytes = b"",
    ) -> Live:
        """Accept a job: when this returns, it survives whatever happens to the daemon.

        Args:
            priority: Higher is begun first; from ``CALL_PRIORITY`` on it has slots of its own.
            key: Idempotency key of the request, kept for a day.
            request: Digest of the request, which its repetitions share.

        Returns:
            The job; with another id than *job_id* if that key has brought it before.

        Raises:
            Refused: The daemon is stopping.
            RequestError: Not a job id, or it is another job's.
            KeyReused: The key is another request's.
        """
        live, _ = await self._submit(
            invocation, job_id, fds or [], priority=priority, key=key, request=request or None
        )
        return live

    async def accept(
        self,
        invocation: Invocation,
        *,
        job_id: str,
        priority: int = 0,
        key: str | None = None,
        request: bytes = b"",
    ) -> queue.Accepted:
        """``submit``, for those who want to know whether it is a repetition."""
        _, accepted = await self._submit(
            invocation, job_id, [], priority=priority, key=key, request=request or None
        )
        return accepted

    def earlier(self, *, job_id: str, key: str | None, request: bytes) -> JobInfo | None:
        """The job that the same request has made before, if it has.

        Raises:
            Conflict, KeyReused: The id or the key is another request's.
        """
        now = time.time()
        return self._store.read(queue.earlier, now=now, job_id=job_id, key=key, request=request)

    async def _submit(
        self, invocation: Invocation, job_id: str, fds: list[int], **sent: Any
    ) -> tuple[Live, queue.Accepted]:
        known = self._live.get(job_id)
        new = Live(job_id, invocation, fds)
        live = known or new
        try:
            if self.draining:
                raise Refused("the daemon is stopping and takes no more jobs")
            self._ballast.check()
            failpoint.reach("recv")
            self._live[job_id] = live
            written = self._store.write(
                _accept, now=time.time(), job_id=job_id, **sent, **self._columns(invocation)
            )
            self._queued(sent["priority"])
            self.pump()  # in the same transaction, when there is room
            accepted = await acceptance(written, job_id)
        except BaseException:
            if known is None:
                self._live.pop(job_id, None)
                new.close_fds()
            raise
        finally:
            if known is not None:
                new.close_fds()  # it has those of the first request
        failpoint.reach("post-commit")
        if accepted.job.id != job_id:
            if known is None:
                del self._live[job_id]
            return self._replayed(accepted.job, live), accepted
        if live.info is None:
            live.info = accepted.job
        if live.final:
            self._live.pop(job_id, None)
            live.close_fds()
        log.info("job.accepted job_id=%s name=%r", job_id, invocation.name)
        return live, accepted

    def _replayed(self, info: JobInfo, unused: Live) -> Live:
        """The job that the key of this request has brought before."""
        unused.close_fds()
        live = self._live.get(info.id)
        if live is None:
            live = Live(info.id, unused.invocation, [])
            live.info = info
        return live

    def _queued(self, priority: int) -> None:
        """A job of that priority may be in the queue, and no claim under way will find it."""
        for lane in self._lanes:
            lane.queued = lane.queued or lane.holds(priority)

    def _columns(self, invocation: Invocation) -> dict[str, Any]:
        told, replay = invocation.timeout_s, invocation.replay
        return {
            "name": invocation.name,
            "app": str(invocation.app),
            "command": " ".join(replay.path) if replay else invocation.command,
            "argv": invocation.shown(),
            "cwd": invocation.cwd,
            "invocation": invocation.body(),
            "queue_max": self.settings.queue_max,
            "timeout_s": told if told is not None else self.settings.timeout_s,
            "source": invocation.source,
            "on_finish": invocation.on_finish,
            "max_attempts": 1 + invocation.policy.retries,
        }

    def pump(self) -> None:
        """Claim what there is room for. Called at every event that makes room or work."""
        for lane in self._lanes:
            if not lane.queued or self.draining:
                continue
            running = sum(
                live.running and lane.holds(live.priority) for live in self._live.values()
            )
            room = self.settings.workers - running - lane.claiming
            if room > 0:
                self._claim(lane, room)

    def _claim(self, lane: Lane, room: int) -> None:
        lane.queued = False
        lane.claiming += room
        claimed = self._store.write(
            queue.claim, now=time.time(), limit=room, least=lane.least, below=lane.below
        )
        self.spawn(self._begin(lane, room, claimed))

    def look(self) -> None:
        """Claim even if no event has told of work: one may have been missed, or failed."""
        if self.counts()[State.SCHEDULED]:
            self._look_for_due()
        for info in self._store.read(queue.local):
            if not self.caller_lives(info):
                self.spawn(self.settle(info.id))
        for lane in self._lanes:
            lane.queued = True
        self.pump()

    async def _begin(self, lane: Lane, room: int, claimed: "Future[list[JobInfo]]") -> None:
        try:
            jobs = await asyncio.wrap_future(claimed)
        except StoreError as error:
            log.error("job.unclaimed %s", error)
            lane.queued = True  # for the next look: what was not claimed has not begun
            return
        finally:
            lane.claiming -= room
        if jobs:
            failpoint.reach("claimed")
        if len(jobs) == room:
            lane.queued = True
        for info in jobs:
            live = self._live.get(info.id) or self._load(self.get(info.id))
            if live is None:
                self._give_up(info, "what it was to run")
                continue
            if not live.is_at(info.attempt):  # else it is newer: somebody has asked for its end
                live.info = info
            live.notify()
            if is_taken(self.home.job(info.id), info.attempt):
                self._overtaken(live)
            elif live.stopping:
                self._never_begins(live, Outcome(reached=False, reason="user"))
            elif live.invocation.stdio[0] == "fd" and not live.fds:
                self._give_up(info, "its standard input")
            else:
                self.pool.place(live)
        self.pump()  # what came meanwhile has found all room taken by this claim

    def _load(self, info: JobInfo) -> Live | None:
        """A job of an earlier daemon. What was passed to that one is gone with it."""
        body = self._store.read(queue.invocation, info.id)
        if body is None:
            return None
        live = self._live[info.id] = Live(info.id, Invocation.parse(json.loads(body)), [])
        live.info = info
        return live

    def _overtaken(self, live: Live) -> None:
        """This attempt has begun before: the store is an old copy, which did not know."""
        assert live.info is not None
        log.warning("job.overtaken job_id=%s attempt=%d", live.id, live.info.attempt)
        del self._live[live.id]
        info = recovery.settle(live.id, self._store, self.home)
        if info.state in (State.RUNNING, State.STOPPING):
            self.adopt(info)
        live.info = self.get(live.id)
        live.notify()
        self.look()

    def _give_up(self, info: JobInfo, what: str) -> None:
        error = f"{what} was lost when the daemon was restarted, before the job began"
        outcome = Outcome(reached=False, reason="input_lost", error=error)
        live = self._live.get(info.id)
        attempt = info.attempt
        self.spawn(self._finish(live, attempt, outcome) if live else self._lose(info, outcome))

    async def _lose(self, info: JobInfo, outcome: Outcome) -> None:
        self._tell_ended(await self._finish_row(info, ending_of(info, outcome)))

    # Workers --------------------------------------------------------------------------

    def _placed(self, job: Placed, worker: Worker) -> None:
        live = self._live[job.id]
        info = live.info
        if info is None or not live.running:
            self.pool.done(worker, job.id)
            return
        try:
            # Copies: the worker may find its imports stale, and another one needs them then.
            fds = [os.dup(fd) for fd in live.fds]
        except OSError as error:
            self.pool.done(worker, job.id)
            why = f"cannot hand over its standard input: {error.strerror}"
            self._unplaced(job, why, is_scarce(error))
            return
        live.worker = worker
        payload = {
            "job": live.id,
            "attempt": info.attempt,
            "invocation": live.invocation.document(),
            "timeout_s": info.timeout_s,
            "grace_s": self.settings.grace_s,
            "output_max": live.output_max(self.settings),
            "card": card_of(info),
            "fds": len(live.fds),
        }
        worker.link.send(frames.START, payload, fds)
        if live.stopping:
            self._tell_stop(live)

    def _unplaced(self, job: Placed, why: str, again: bool) -> None:
        """It was not begun, says a worker: true if its ticket is free to be taken away."""
        if again:
            self._put_off(self._live[job.id], why)
            return
        outcome = Outcome(reached=False, reason="spawn_error", error=why)
        self._never_begins(self._live[job.id], outcome)

    def _killed(self, job: Placed, why: str) -> None:
        """What was to begin it was killed: by chance perhaps, but not again and again."""
        live = self._live[job.id]
        live.starts_killed += 1
        self._unplaced(job, why, live.starts_killed <= STARTS_MAX)

    def _put_off(self, live: Live, why: str) -> None:
        """The system has no room for its process just now: back to the queue, in a moment."""
        self.troubles.tell("processes", why)
        assert live.info is not None
        put_back = partial(self._put_back, live, live.attempt)
        asyncio.get_running_loop().call_later(pause_s(live.info.revoked), insist, put_back)

    def _put_back(self, live: Live, attempt: int) -> None:
        if live.is_at(attempt) and self._take_back(live, attempt):
            self.spawn(self._requeue(live, attempt))

    def _never_begins(self, live: Live, outcome: Outcome) -> None:
        live.close_fds()
        insist(partial(self._revoke, live, live.attempt, outcome))

    def _revoke(self, live: Live, attempt: int, outcome: Outcome) -> None:
        if self._take_back(live, attempt, ends=True):
            self.spawn(self._finish(live, attempt, outcome))
        else:
            self._orphans.watch(live, attempt)

    def _take_back(self, live: Live, attempt: int, *, ends: bool = False) -> bool:
        """Take away its ticket; False if somebody has it. What ends has the room that is held."""
        try:
            return revoke(self.home.job(live.id), attempt)
        except OSError as error:
            if is_full(error) and (ends or live.stopping):
                self._ballast.give()
            raise

    def _frame(self, worker: Worker, kind: int, payload: dict[str, Any]) -> None:
        if kind == frames.RETIRING:
            worker.retiring = True
            return
        live = self._live.get(payload["job"])
        streams: Streams | None = None
        if kind == frames.FORKED:  # whatever becomes of it, the next frame's are not these
            fds = worker.link.take_fds(len(payload["streams"]))
            streams = Streams(fds, payload["streams"], payload["unmute"].encode())
        if kind == frames.ENDED:
            self._ended(worker, live, payload)
        elif live is None or not _concerns(worker, payload, live):
            if payload["job"] not in worker.strangers:
                log.info("worker.outdated pid=%d job_id=%s", worker.pid, payload["job"])
            if kind == frames.RETURNED:
                self.pool.done(worker, payload["job"])
            if streams is not None:
                streams.close()
        elif streams is not None:
            failpoint.reach("forked")
            self.troubles.tell("processes", None)
            if streams.fds:
                live.share(streams)
            else:  # they could not be sent, or there are none
                streams.close()
                self._orphans.inherit(live, read_pipes(self.home.job(live.id)))
            self._note_process(live, payload["pid"], worker.pid)
        elif kind == frames.REACHED:
            live.reach()
        elif kind == frames.GREW:
            live.size = payload["size"]
            live.notify()
        elif kind == frames.RETURNED:
            self._returned(worker, live, payload)
        elif kind in (frames.PAUSED, frames.MODE, frames.TYPED):
            live.tell(kind, payload)

    def _note_process(self, live: Live, pid: int, worker_pid: int) -> None:
        assert live.info is not None
        live.info = replace(live.info, pid=pid, worker_pid=worker_pid)
        if live.listeners:
            live.tell(frames.PIPES, self.pipes(live))
        self._store.write(
            queue.started,
            job_id=live.id,
            attempt=live.info.attempt,
            pid=pid,
            worker_pid=worker_pid,
        )

    def pipes(self, live: Live) -> dict[str, Any]:
        """Where its caller finds those that it prints to: here, or in the job's process."""
        assert live.info is not None
        here = live.streams.fds.items() if live.streams is not None else ()
        paths = {stream: f"/proc/{os.getpid()}/fd/{fd}" for fd, stream in here}
        there = f"/proc/{live.info.pid}/fd"
        inodes: dict[int, int] = {}
        with contextlib.suppress(OSError):
            inodes = read_pipes(self.home.job(live.id)).inodes
        return {
            "pipes": {
                stream: (paths.get(stream, f"{there}/{stream}"), inode)
                for stream, inode in inodes.items()
            }
        }

    def _returned(self, worker: Worker, live: Live, payload: dict[str, Any]) -> None:
        """The worker did not begin: its imports are stale, or it cannot fork."""
        log.info("job.returned job_id=%s why=%s", live.id, payload["why"])
        self.pool.done(worker, live.id)
        live.worker = None
        if payload["stale"]:
            worker.retiring = True
            self.pool.place(live)
        else:
            self._unplaced(live, payload["why"], payload.get("again", False))

    def _ended(self, worker: Worker, live: Live | None, payload: dict[str, Any]) -> None:
        self.pool.done(worker, payload["job"])
        if live is not None and live.is_at(payload["attempt"]):
            live.size = payload["size"]
            self.spawn(self._finish(live, payload["attempt"], Outcome.parse(payload["outcome"])))
        self.pump()

    def _ready(self, worker: Worker, jobs: list[dict[str, Any]]) -> None:
        """A worker is here, perhaps one that has seen another daemon end."""
        log.info("worker.ready pid=%d jobs=%d", worker.pid, len(jobs))
        for facts in jobs:
            live = self._live.get(facts["job"])
            if live is None:
                self._meet(worker, facts)
                continue
            if not live.is_at(facts["attempt"]):
                continue
            live.worker = worker
            live.end_vigil()
            if live.orphan is not None:
                live.orphan.close()
                live.orphan = None
            live.reached = facts["reached"]
            live.size = facts["size"]
            self._note_process(live, facts["pid"], worker.pid)
            if live.stopping:
                self._tell_stop(live)
            live.notify()
        for live in list(self._live.values()):
            if live.vigil is not None and live.vigil.pid == worker.pid:
                self._orphans.forsake(live)

    def _meet(self, worker: Worker, facts: dict[str, Any]) -> None:
        """It has a job that is not under way: perhaps one that was begun with another store."""
        with contextlib.suppress(StoreError):  # it cannot be looked at: nothing is said then
            try:
                self._store.read(queue.get, facts["job"])
            except UnknownJob:
                worker.strangers[facts["job"]] = facts["pid"]

    def _worker_lost(self, worker: Worker) -> None:
        """A connection has ended: with its worker, or before it comes back."""
        for live in [live for live in self._live.values() if live.worker is worker]:
            live.worker = None
            self._orphans.bereave(live, worker.pid)

    def look_at_workers(self) -> None:
        """End those that do not answer, or do not come back: their jobs go on without them."""
        self.pool.look()
        self.troubles.tell("jobs", self.pool.strangers())
        for live in self._live.values():
            if live.vigil is not None:
                live.vigil.look()

    def reaped(self, pid: int, status: int) -> None:
        """A child has ended, or stopped: a worker, or a job that its worker has left behind."""
        if os.WIFSTOPPED(status):
            for live in self._live.values():
                if live.info is not None and live.info.pid == pid and live.orphan is not None:
                    asyncio.get_running_loop().call_soon(live.orphan.tell_paused)
            return
        self.pool.exited(pid, killed=os.WIFSIGNALED(status))
        self.pool.catch_up()  # a job is our child once its worker is dead, which told of it before
        for live in self._live.values():
            if live.info is not None and live.info.pid == pid:
                live.status = status
                live.notify()

    # The end --------------------------------------------------------------------------

    async def _finish(self, live: Live, attempt: int, outcome: Outcome | None) -> None:
        """Commit how an attempt ended (None: it cannot be known), then tell."""
        async with live.ending:
            await persist(partial(self._try_to_finish, live, attempt, outcome))

    async def _try_to_finish(self, live: Live, attempt: int, outcome: Outcome | None) -> None:
        if not live.is_at(attempt):
            return
        assert live.info is not None
        told = outcome is not None and (outcome.complete or outcome.reason is not None)
        if not told and await self._never_began(live, attempt, outcome):
            waits = outcome is not None and outcome.exit_code == REVOKED_CODE
            await self._back_to_queue(live, attempt, killed=not waits)
            return
        if not live.is_at(attempt):
            return
        ending = ending_of(live.info, outcome, live.invocation, self._chance)
        if ending.again_s is not None and live.rewind():
            await self._retry(live, ending, ending.again_s)
        else:
            await self._end(live, live.info, ending)
        live.notify()
        self.pump()

    async def _end(self, live: Live, info: JobInfo, ending: Ending) -> None:
        live.info = await self._finish_row(info, ending)
        if live.final:
            if self._live.pop(live.id, None) is not None:  # else it has been told already
                self._log_bytes += live.size
                self._tell_ended(live.info)
            live.end_attempt()
            live.close_fds()

    async def _retry(self, live: Live, ending: Ending, again_s: float) -> None:
        """It is tried again; unless somebody has asked for its end meanwhile."""
        assert live.info is not None
        before, now = live.info, time.time()
        size = log_size(self.home.job(live.id))
        clear(self.home.job(live.id))
        info = await self._written(
            queue.retry,
            now=now,
            job_id=live.id,
            attempt=before.attempt,
            due_at=now + again_s,
            max_attempts=ending.max_attempts,
            output_end=size,
            **ending.columns(result=False),
        )
        live.info = info
        if info.state is not State.SCHEDULED:
            await self._end(live, before, ending)
            return
        live.end_attempt()
        log.info("job.retries job_id=%s attempt=%d in_s=%.1f", info.id, info.attempt, again_s)
        live.tell(frames.AGAIN, {"size": size, "message": ending.said(info.tried)})
        asyncio.get_running_loop().call_later(again_s, self._look_for_due, info.due_at)

    def _look_for_due(self, due_at: float | None = None) -> None:
        """Queue what was to wait until now; and until *due_at*, though the clock was set back."""
        if not self.draining:
            self.spawn(self._queue_due(max(time.time(), due_at or 0.0)))

    async def _queue_due(self, now: float) -> None:
        try:
            come = await asyncio.wrap_future(self._store.write(queue.due, now=now, limit=DUE_MAX))
        except StoreError as error:
            log.error("job.waits %s", error)  # for the next look
            return
        for info in come:
            live = self._live.get(info.id)
            if live is not None:
                live.info = info
                live.notify()
            self._queued(info.priority)
        if len(come) == DUE_MAX:
            self._look_for_due()
        self.pump()

    async def _never_began(self, live: Live, attempt: int, outcome: Outcome | None) -> bool:
        """Whether its process ended without the ticket, which nobody can take any more."""
        assert live.info is not None
        folder = self.home.job(live.id)
        code = outcome.exit_code if outcome is not None else None
        if live.info.pid is not None and has_begun(folder, attempt, code):
            return False
        again_s = pause_s(live.info.revoked)
        while live.is_at(attempt) and not is_held(folder, attempt):
            await asyncio.sleep(again_s)
            again_s = AGAIN_S
            try:
                free = self._take_back(live, attempt)
            except OSError as error:
                log.error("job.waits job_id=%s: %s", live.id, error)
                continue
            return free
        return False

    async def _requeue(self, live: Live, attempt: int, *, killed: bool = False) -> None:
        """The attempt never began, and never will: it is not counted.

        Args:
            killed: Its process, or its worker, has died, and may do so each time.
        """
        async with live.ending:
            await self._back_to_queue(live, attempt, killed=killed)

    async def _back_to_queue(self, live: Live, attempt: int, *, killed: bool) -> None:
        if not live.is_at(attempt):
            return
        assert live.info is not None
        if live.stopping:
            await self._try_to_finish(live, attempt, Outcome(reached=False, reason="user"))
            return
        live.begins_killed += killed
        if live.begins_killed > BEGINS_MAX:
            dead = Outcome(reached=False, reason="spawn_error", error=BEGINS_KILLED)
            await self._try_to_finish(live, attempt, dead)
            return
        failpoint.reach("revoked")
        clear(self.home.job(live.id))
        live.info = await self._written(
            queue.revoke, now=time.time(), job_id=live.id, attempt=attempt
        )
        failpoint.reach("requeued")
        if live.stopping:  # somebody has asked for its end meanwhile
            await self._try_to_finish(live, attempt, Outcome(reached=False, reason="user"))
            return
        live.end_attempt()
        log.info("job.requeued job_id=%s", live.id)
        self._queued(live.priority)
        live.notify()
        self.pump()

    def _tell_ended(self, info: JobInfo) -> None:
        for told in self.ended:
            told(info)

    async def _finish_row(self, info: JobInfo, ending: Ending) -> JobInfo:
        failpoint.reach("ended")
        clear(self.home.job(info.id))  # before the commit: after it nobody comes here again
        done = await self._written(
            queue.finish,
            now=time.time(),
            job_id=info.id,
            attempt=info.attempt,
            **ending.columns(),
        )
        failpoint.reach("finished")
        log.info(
            "job.finished job_id=%s state=%s reason=%s attempt=%d run_s=%.3f",
            done.id, done.state, done.reason, done.attempt, done.run_s or 0.0,
        )  # fmt: skip
        return done

    async def _written(self, change: Callable[..., JobInfo], **columns: Any) -> JobInfo:
        """Commit what has happened already; when that cannot be done, as soon as it can."""
        while True:
            try:
                return await self._write(change, **columns)
            except StoreError as error:
                log.error("job.unwritten job_id=%s: %s", columns["job_id"], error)
                await asyncio.sleep(AGAIN_S)

    async def _write(self, change: Callable[..., JobInfo], **columns: Any) -> JobInfo:
        """Commit what ends a job: in the room that is held for it, if there is no other."""
        try:
            return await asyncio.wrap_future(self._store.write(change, **columns))
        except StoreFull:
            if not self._ballast.give():
                raise
            return await asyncio.wrap_future(self._store.write(change, **columns))

    async def cancel(self, job_id: str, *, begun: bool = True) -> JobInfo:
        """Ask a job to end: at once if it waits; else SIGTERM, grace, SIGKILL.

        Args:
            begun: Whether one that was claimed is to end, too.

        Raises:
            UnknownJob, InvalidTransition: See ``queue.request_stop``.
        """
        info = await self._write(queue.request_stop, now=time.time(), job_id=job_id, begun=begun)
        if not (begun or info.is_final):
            return info
        failpoint.reach("stopping")
        if info.is_final:
            self._tell_ended(info)
        live = self._live.get(job_id)
        if live is not None and live.info is not None:
            live.info = replace(info, pid=live.info.pid, worker_pid=live.info.worker_pid)
            if live.final:
                self._live.pop(job_id, None)
                live.close_fds()
            elif self.pool.withdraw(live):
                self._never_begins(live, Outcome(reached=False, reason="user"))
            else:
                self._tell_stop(live)
            live.notify()
        return info

    async def interrupt(self, live: Live, payload: dict[str, Any]) -> bool:
        """Cancel a job that nobody has begun. If somebody has meanwhile, it gets this signal.

        Args:
            payload: Of the frame ``SIGNAL``.

        Returns:
            Whether it is cancelled.
        """
        try:
            if (await self.cancel(live.id, begun=False)).is_final:
                return True
            if live.worker is not None or live.orphan is not None:
                self.tell(live, frames.SIGNAL, payload)
                return False
            waited = self.pool.withdraw(live)  # before the commit: a worker may be ready meanwhile
            try:
                await self.cancel(live.id)
            finally:
                if waited:
                    self._never_begins(live, Outcome(reached=False, reason="user"))
        except InvalidTransition:
            return False  # it has ended
        return True

    def _tell_stop(self, live: Live) -> None:
        if live.orphan is not None:
            live.orphan.stop(self.settings.grace_s)
        elif live.worker is not None:
            payload = {"job": live.id, "grace_s": self.settings.grace_s}
            live.worker.link.send(frames.STOP, payload)

    async def signal(self, job_id: str, number: int) -> JobInfo:
        """Send a signal to a running job's process group.

        Raises:
            UnknownJob: No such job.
            InvalidTransition: It is not running.
            RequestError: Not a signal.
        """
        if number not in signals.valid_signals():
            raise RequestError(f"{number} is not a signal; kill -l lists them")
        live = self._live.get(job_id)
        if live is None or not live.running or live.info is None:
            info = self._store.read(queue.get, job_id)
            raise InvalidTransition(f"job {job_id} is not running: it is {info.state.value}")
        self.tell(live, frames.SIGNAL, {"signal": number, "group": True})
        return live.info

    def tell(self, live: Live, kind: int, payload: dict[str, Any]) -> None:
        """Pass something on to the worker of *live*, if it has one now."""
        if kind == frames.CLOSED and live.invocation.by_line:
            return  # it is nobody's pipe: this one only looked on
        if live.orphan is not None:
            self._orphans.tell(live.orphan, kind, payload)
        elif kind == frames.CLOSED and live.streams is not None:
            live.streams.shut(payload["stream"])
        if live.worker is not None:
            live.worker.link.send(kind, {**payload, "job": live.id})

    def give_terminal(self, live: Live | None, masters: list[int]) -> None:
        """The caller of *live* has held the master of its terminal; perhaps nobody else has."""
        for master in masters:
            if live is None or not self._orphans.take_terminal(live, master):
                os.close(master)

    async def settle(self, job_id: str) -> JobInfo:
        """End a run whose process is gone: from what it has left, else as ``lost``.

        One that lives is left alone.

        Raises:
            UnknownJob: No such job.
        """
        live = self._live.get(job_id)
        if live is None:
            info = await asyncio.to_thread(recovery.settle, job_id, self._store, self.home)
            if info.is_final:
                self._tell_ended(info)
            elif job_id not in self._live and info.route == "daemon":
                self.adopt(info)
            live = self._live.get(job_id)
            self.look()  # it may be queued again
        if live is None:
            return self.get(job_id)
        attempt, folder = live.attempt, self.home.job(job_id)
        deadline = time.monotonic() + SETTLE_S

        def is_gone() -> bool:
            return live.is_at(attempt) and is_over(folder, attempt)

        while is_gone() and (left := deadline - time.monotonic()) > 0:
            await live.changed(left)  # whoever looks after it is about to tell its end
        if is_gone():
            await self._finish(live, attempt, read_outcome(folder, attempt))
        return self.get(job_id)

    def caller_lives(self, info: JobInfo) -> bool:
        """Whether the process that has taken the job to run it itself still does."""
        return recovery.caller_lives(info, self._store, self.home)

    async def forget(self, job_id: str) -> None:
        """Remove a job that has ended; its files are the caller's to remove.

        Raises:
            UnknownJob: No such job.
            InvalidTransition: It has not ended.
        """
        await asyncio.wrap_future(self._store.write(queue.forget, job_id))

    async def rerun(
        self, job_id: str, *, key: str | None = None, request: bytes = b""
    ) -> queue.Accepted:
        """Submit the same invocation as a new job, without terminal or input.

        Raises:
            UnknownJob: No such job.
            InvalidTransition: What it ran is not known any more.
        """
        info = self._store.read(queue.get, job_id)
        body = self._store.read(queue.invocation, job_id)
        if body is None:
            raise InvalidTransition(f"what job {info.id} ran is not kept; it cannot be run again")
        invocation = Invocation.parse(json.loads(body)).again(os.environ)
        _, out, err = invocation.stdio
        plugs: tuple[Stdio, Stdio, Stdio] = (
            "null",
            "closed" if out == "closed" else "pipe",
            "closed" if err == "closed" else "pipe",
        )
        again = replace(invocation, stdio=plugs, terminal=None, by_line=True)
        return await self.accept(again, job_id=new_id(), key=key, request=request)

    # Looking --------------------------------------------------------------------------

    def live(self, job_id: str) -> Live | None:
        """The job while it has not ended; None also for one that its own caller runs."""
        live = self._live.get(job_id)
        if live is None:
            info = self.get(job_id)
            if not info.is_final and info.route == "daemon":
                return self._load(info)
        return live

    def adopt(self, info: JobInfo) -> None:
        """Take over a running job of an earlier daemon."""
        live = self._load(info) or self._nameless(info)
        live.worker = next((worker for worker in self.pool if info.id in worker.jobs), None)
        self._orphans.adopt(live)

    def _nameless(self, info: JobInfo) -> Live:
        """One of which the store has only what the job's directory told: it cannot be repeated."""
        app = App(kind="exec", target=info.app, python=sys.executable)
        invocation = Invocation(info.name, app, info.argv, info.cwd, {})
        live = self._live[info.id] = Live(info.id, invocation, [])
        live.info = info
        return live

    def find(self, prefix: str) -> JobInfo:
        """The job with that id, prefix of an id, or ``-`` for the newest."""
        return _seen(self._store.read(queue.find, prefix))

    def get(self, job_id: str) -> JobInfo:
        return self._store.read(queue.get, job_id)

    def attempts(self, job_id: str) -> list[AttemptInfo]:
        return self._store.read(queue.attempts, job_id)

    def page(
        self, *, states: Collection[State] | None, limit: int, before: str | None, **only: Any
    ) -> list[JobInfo]:
        found = self._store.read(queue.page, states=states, limit=limit, before=before, **only)
        return [_seen(info) for info in found]

    def counts(self) -> dict[State, int]:
        return self._store.read(queue.counts)

    async def wait(self, job_id: str, timeout_s: float) -> JobInfo:
        """The job when it has ended, or as it is after *timeout_s* seconds, or when this daemon
        ends."""
        deadline = time.monotonic() + timeout_s
        while (live := self.live(job_id)) is not None and not live.final:
            left = deadline - time.monotonic()
            if self.leaving or left <= 0 or not await live.changed(left):
                break
        return self.get(job_id)

    async def changed(self, job: JobInfo, offset: int, timeout_s: float) -> JobInfo:
        """Wait until the record log is longer than *offset*, or the state is not that of *job*.

        Returns:
            The job as it is then, or after *timeout_s* seconds.
        """
        folder = self.home.job(job.id)
        deadline = time.monotonic() + timeout_s
        while (live := self.live(job.id)) is not None and live.info is not None:
            left = deadline - time.monotonic()
            if live.info.state is not job.state or log_size(folder) > offset or left <= 0:
                return live.info
            await live.changed(left)
        return self.get(job.id)

    def figures(self) -> Figures:
        """What is counted, as it is now."""
        return Figures(
            jobs=self.counts(),
            workers=sum(1 for _ in self.pool),
            commits=self._store.commits,
            wal_bytes=self._store.log_bytes,
            log_bytes=self._log_bytes + sum(live.size for live in self._live.values()),
        )

    def status(self) -> dict[str, Any]:
        """What ``mcli daemon status`` shows."""
        return {
            "running": True,
            "pid": os.getpid(),
            "address": self.url,
            "home": self.home.root,
            "version": __version__,
            "protocol": PROTOCOL,
            "started_at": timestamp(self._started_at),
            "workers": [{"pid": w.pid, "app": w.shown, "jobs": len(w.jobs)} for w in self.pool],
            "jobs": {state.value: count for state, count in self.counts().items()},
            "limit": self.settings.workers,
            "troubles": self.troubles.shown(),
            "notes": self.troubles.notes(),
        }

    def drain(self) -> None:
        """Take no more jobs, and let nobody wait for what this daemon will not see."""
        self.draining = self.leaving = True
        for live in self._live.values():
            live.notify()

    async def shutdown(self, kill_jobs: bool) -> None:
        """Stop the daemon; with *kill_jobs* end all jobs first."""
        self.draining = True
        if kill_jobs:
            await self._end_all()
        self.stop_requested()

    async def _end_all(self) -> None:
        for info in self._store.read(queue.live):
            with contextlib.suppress(InvalidTransition):
                await self.cancel(info.id)
        for live in list(self._live.values()):
            while not live.final:
                await live.changed()

    def spawn(self, work: "Coroutine[Any, Any, object]") -> None:
        """Run *work* in the background; what it raises is logged, or ends the daemon."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            told = {"message": "task.failed", "exception": task.exception(), "task": task}
            asyncio.get_running_loop().call_exception_handler(told)


def _seen(info: JobInfo) -> JobInfo:
    """The job with what only a look at its process tells."""
    if info.pid is None or info.state not in (State.RUNNING, State.STOPPING):
        return info
    return replace(info, condition=family.condition(info.pid))


def _accept(conn: "Connection", /, **columns: Any) -> queue.Accepted:
    accepted = queue.accept(conn, **columns)
    failpoint.reach("pre-commit")
    return accepted


def _concerns(worker: Worker, told: dict[str, Any], live: Live) -> bool:
    """Whether what *worker* has told is of the attempt that is under way: not of an earlier one,
    which it was given by the daemon before.
    """
    return live.worker is worker and live.is_at(told.get("attempt", live.attempt))
