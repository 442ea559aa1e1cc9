"""
The workers: started per app when a job needs one, kept warm for the next.

A job goes to a worker whose imports saw the same as it would: the same interpreter and
program, and the same values of all variables that were read meanwhile.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from mcli import frames
from mcli.daemon.link import Link
from mcli.daemon.patience import LOOKS_MAX, end_silent
from mcli.family import BLANK_MARK, MARK_NAME
from mcli.home import Home
from mcli.invocation import App, Invocation, interpreter_environment
from mcli.job import encodable
from mcli.scarcity import is_scarce
from mcli.settings import Settings
from mcli.ticket import started_ticks
from mcli.version import PROTOCOL

log = logging.getLogger("mcli.workers")

READY_S: Final = 60.0
"""Seconds that an app's imports may take; then its jobs start without them."""


class Placed(Protocol):
    """What the pool needs to know of a job that waits for a worker."""

    id: str
    invocation: Invocation


@dataclass(eq=False)
class Worker:
    """A connected worker."""

    link: Link
    pid: int
    started_ticks: int | None
    key: str
    app: App
    reads: Mapping[str, str | None]
    cwd: str | None
    env: Mapping[str, str]
    jobs: set[str] = field(default_factory=set)
    strangers: dict[str, int] = field(default_factory=dict)
    """Of these the ones that the store does not know, with their processes."""

    retiring: bool = False
    unanswered: int = 0
    """Looks in a row at which it has not answered."""

    idle_since: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """Kill it, unless its number is another's by now."""
        with contextlib.suppress(OSError):
            process = os.pidfd_open(self.pid)
            if started_ticks(self.pid) == self.started_ticks:
                end_silent(self.pid, process)
            os.close(process)

    @property
    def shown(self) -> str:
        """What it runs, for people."""
        return "any program" if self.app.kind == "exec" else encodable(str(self.app))

    def fits(self, invocation: Invocation) -> bool:
        """Whether the job would have found the world as this worker's imports found it."""
        if self.retiring or self.link.closed or self.key != invocation.app.key():
            return False
        if self.app.kind == "exec":
            return True
        if self.cwd not in (None, invocation.cwd):
            return False
        env = invocation.env
        if any(env.get(key) != value for key, value in self.reads.items()):
            return False
        return self.env == interpreter_environment(env)


class Starting:
    """A worker that was started and has not reported yet, and the jobs that wait for it."""

    def __init__(self, process: "subprocess.Popen[bytes]", key: str, *, cold: bool) -> None:
        self.process = process
        self.key = key
        self.cold = cold
        self.owner: Placed | None = None
        """The job that it was started for, and fits in any case."""

        self.waiting: list[Placed] = []
        self.timer: asyncio.TimerHandle | None = None
        self.late = False
        """It was killed, as it took too long."""

    def settle(self) -> None:
        """It has reported, or ended: it is waited for no longer."""
        if self.timer:
            self.timer.cancel()
        self.process.returncode = 0  # the daemon reaps all its children itself


class Pool:
    """All workers. ``place`` finds or starts one; the callbacks tell what came of it.

    ``on_fail`` is told why, and whether it may go better later; ``on_killed`` that a worker was
    killed before it was ready.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        on_place: Callable[[Placed, Worker], None],
        on_fail: Callable[[Placed, str, bool], None],
        on_killed: Callable[[Placed, str], None],
        on_frame: Callable[[Worker, int, dict[str, Any]], None],
        on_ready: Callable[[Worker, list[dict[str, Any]]], None],
        on_lost: Callable[[Worker], None],
    ) -> None:
        self._home = home
        self._settings = settings
        self._on_place = on_place
        self._on_fail = on_fail
        self._on_killed = on_killed
        self._on_frame = on_frame
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._workers: list[Worker] = []
        self._starting: dict[int, Starting] = {}

    def __iter__(self) -> Any:
        return iter(list(self._workers))

    def warm(self, invocation: Invocation) -> None:
        """Start a worker ahead of the first job of its app."""
        self._launch(invocation, cold=False)

    # Placing --------------------------------------------------------------------------

    def place(self, job: Placed) -> None:
        """Give *job* to a worker that fits it, now or when one is ready."""
        fitting = [worker for worker in self._workers if worker.fits(job.invocation)]
        if fitting:
            self._give(job, fitting[0])
            return
        key = job.invocation.app.key()
        starting = next((s for s in self._starting.values() if s.key == key), None)
        if starting is None:
            self._start(job, cold=False)
        else:
            starting.waiting.append(job)

    def withdraw(self, job: Placed) -> bool:
        """Forget *job*, if it still waits for a worker to start; whether it did."""
        for starting in self._starting.values():
            if starting.owner is job:
                starting.owner = None
            elif job in starting.waiting:
                starting.waiting.remove(job)
            else:
                continue
            if starting.owner is None and not starting.waiting:
                starting.process.kill()
            return True
        return False

    def _give(self, job: Placed, worker: Worker) -> None:
        worker.jobs.add(job.id)
        self._on_place(job, worker)

    def _start(self, job: Placed, *, cold: bool) -> None:
        try:
            starting = self._launch(job.invocation, cold=cold)
        except OSError as error:
            why = f"cannot start {job.invocation.app.python}: {error.strerror}"
            self._on_fail(job, why, is_scarce(error))
            return
        starting.owner = job

    def _launch(self, invocation: Invocation, *, cold: bool) -> Starting:
        process = _spawn(self._home, invocation, cold=cold)
        starting = Starting(process, invocation.app.key(), cold=cold)
        starting.timer = asyncio.get_running_loop().call_later(READY_S, self._late, starting)
        self._starting[process.pid] = starting
        log.info("worker.started pid=%d app=%s cold=%s", process.pid, invocation.app, cold)
        return starting

    def _late(self, starting: Starting) -> None:
        log.warning("worker.late pid=%d", starting.process.pid)
        starting.late = True
        starting.process.kill()

    def exited(self, pid: int, *, killed: bool) -> None:
        """The child *pid* has ended. One that had not reported yet failed its jobs."""
        starting = self._starting.pop(pid, None)
        if starting is None:
            return
        starting.settle()
        owner = [starting.owner] if starting.owner is not None else []
        for job in owner + starting.waiting:
            why = f"the worker (pid {pid}) ended before it was ready"
            if not starting.cold:
                self._start(job, cold=True)
            elif killed and not starting.late:
                self._on_killed(job, why)
            else:
                self._on_fail(job, why, False)

    # Connections ----------------------------------------------------------------------

    def accept(self, connection: socket.socket) -> None:
        """A worker has connected; its first frame says which it is."""
        worker: Worker | None = None

        def on_frame(kind: int, payload: dict[str, Any]) -> None:
            nonlocal worker
            if worker is not None:
                worker.unanswered = 0
                if kind != frames.PONG:
                    self._on_frame(worker, kind, payload)
            elif kind == frames.READY and payload["protocol"] == PROTOCOL:
                worker = self._register(link, payload)
                self._employ(worker, payload["jobs"])  # it may be found dead already
            else:
                link.close()

        def on_close() -> None:
            if worker is not None:
                self._workers.remove(worker)
                self._on_lost(worker)

        link = Link(connection, on_frame, on_close)

    def _register(self, link: Link, payload: dict[str, Any]) -> Worker:
        worker = Worker(
            link=link,
            pid=payload["pid"],
            started_ticks=started_ticks(payload["pid"]),
            key=payload["key"],
            app=App(**payload["app"]),
            reads=payload["reads"],
            cwd=payload["cwd"],
            env=payload["env"],
            jobs={facts["job"] for facts in payload["jobs"]},
        )
        for failed in payload["failed"]:
            log.warning(
                "worker.import_failed pid=%d app=%s error=%r", worker.pid, worker.app, failed
            )
        self._workers.append(worker)
        return worker

    def _employ(self, worker: Worker, jobs: list[dict[str, Any]]) -> None:
        """It brings *jobs*, and is given those that have waited for it."""
        self._on_ready(worker, jobs)
        starting = self._starting.pop(worker.pid, None)
        if starting is not None:
            starting.settle()
            if starting.owner is not None and not worker.link.closed:
                self._give(starting.owner, worker)  # it was started with this one's environment
            elif starting.owner is not None:
                self.place(starting.owner)
            for job in starting.waiting:
                self.place(job)

    def look(self) -> None:
        """See whether those that have jobs answer. Who does not for too long is ended."""
        self.catch_up()
        for worker in [worker for worker in self._workers if worker.jobs]:
            worker.unanswered += 1
            if worker.unanswered > LOOKS_MAX:
                worker.unanswered = 0  # if it cannot be ended now, it is tried again
                worker.end()
            worker.link.send(frames.PING, {})

    def catch_up(self) -> None:
        """Hear all that workers have told until now."""
        for worker in list(self._workers):
            worker.link.catch_up()

    def strangers(self) -> str | None:
        """What is to be told of jobs that the store does not know; None if there are none."""
        found = [each for worker in self._workers for each in worker.strangers.items()]
        if not found:
            return None
        (job_id, pid), *more = found
        others = f" and {len(more)} more" if more else ""
        return (
            f"job {job_id} (pid {pid}){others} runs, begun with a state directory or store that "
            f"was removed or replaced: nobody keeps what it prints, and only kill {pid} ends it"
        )

    def done(self, worker: Worker, job_id: str) -> None:
        """*worker* has nothing to do with that job any more."""
        worker.jobs.discard(job_id)
        worker.strangers.pop(job_id, None)
        worker.idle_since = time.monotonic()

    def retire(self, worker: Worker) -> None:
        """Let *worker* end when its jobs have."""
        if not worker.retiring:
            worker.retiring = True
            worker.link.send(frames.RETIRE, {})

    def trim(self) -> None:
        """Retire workers that have been idle for too long, or are too many."""
        idle = sorted((w for w in self._workers if not w.jobs and not w.retiring), key=_idle)
        surplus = max(0, len(idle) - self._settings.workers_warm_max)
        now = time.monotonic()
        for number, worker in enumerate(idle):
            if number < surplus or now - worker.idle_since > self._settings.worker_idle_s:
                self.retire(worker)

    def close(self) -> None:
        """The daemon ends: idle workers end too, the others when their jobs have."""
        for worker in list(self._workers):
            self.retire(worker)
        for starting in self._starting.values():
            starting.process.kill()


def _idle(worker: Worker) -> float:
    return worker.idle_since


def _spawn(home: Home, invocation: Invocation, *, cold: bool) -> "subprocess.Popen[bytes]":
    """``<the app's python> -m mcli.worker``, with the caller's environment and its mcli."""
    app = invocation.app
    config = {
        "home": home.root,
        "key": app.key(),
        "app": asdict(app),
        "cwd": invocation.cwd if os.path.isdir(invocation.cwd) else "/",
        "log": home.log,
        "cold": cold,
    }
    return subprocess.Popen(
        [app.python, *app.flags, "-m", "mcli.worker", json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=app.mcli_root or None,
        env=invocation.env | {MARK_NAME: BLANK_MARK},
        start_new_session=True,
    )
