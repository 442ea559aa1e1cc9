"""
A process that fails at any point of a job's life: killed, stopped for a while, or with a bug.

``CASES`` is the table. After each case the standard assertion of ``ledger`` holds; where more
can be said, the table says it: how often the body has begun, and what its caller was told.
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from mcli.failpoint import POINTS
from mcli.family import is_stopped
from mcli.ticket import lock_holder

from .daemon import DEADLINE_S, PROGRAMS, Daemon, Gate, gone, until
from .ledger import Told, ended_soon, fds, ledger, standard

SCRIBE: Final = str(PROGRAMS / "scribe.py")
ACTIONS: Final = ("kill", "stop", "raise")
KILLED: Final = -signal.SIGKILL

Caller = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One process, at one point."""

    process: str
    point: str
    action: str
    starts: int = 1
    """How often the body has begun."""

    codes: tuple[int, ...] = (0,)
    """What the caller may have been told."""

    def __str__(self) -> str:
        return f"{self.process}-{self.point}-{self.action}"


def cases(process: str, points: str, **more: object) -> list[Case]:
    """Each action at each of these points."""
    return [
        Case(process, point, action, **(more.get(action) or {}))  # type: ignore[arg-type]
        for point in points.split()
        for action in ACTIONS
    ]


ENDED: Final = {"codes": (-signal.SIGTERM,)}
CASES: Final = [
    *cases("caller", "asked", kill={"codes": (KILLED,)}, **{"raise": {"codes": (1,)}}),
    *cases(
        "caller",
        "settled",
        kill={"starts": 0, "codes": (KILLED,)},
        **{"raise": {"starts": 0, "codes": (1,)}},
    ),
    *cases("daemon", "recv post-commit replied"),
    # The store is locked by a daemon that stands still: nobody can tell, and it runs there.
    *cases("daemon", "pre-commit", stop={"codes": (75,)}),
    *cases("daemon", "claimed forked ended finished"),
    *cases("daemon", "revoked requeued"),
    *cases("daemon", "stopping", kill=ENDED, stop=ENDED, **{"raise": ENDED}),
    *cases("recovery", "revoked requeued recovered"),
    # Each one fails: its caller runs it, when some have.
    *cases("worker", "connected"),
    *cases("worker", "ordered forked shared begun heard reaped outcome-kept"),
    # A bug there is met again: its caller runs it, when twenty tries have come to nothing.
    *cases("job", "received"),
    *cases("job", "ticketed", kill={"starts": 0, "codes": (KILLED,)}),
    *cases(
        "job",
        "marked",
        kill={"starts": 0, "codes": (KILLED,)},
        **{"raise": {"starts": 0, "codes": (1,)}},
    ),
    *cases("job", "outcome-written", kill={"codes": (KILLED,)}),
]

RECOVERING: Final = ("revoked", "requeued", "recovered")
"""Points of the daemon that it passes before it serves anybody, too; the last one only then."""

PATIENCE_S: Final = 3 * DEADLINE_S
"""Seconds that only a bug can reach: twenty tries of a job take fifteen by themselves."""

PASSAGES: Final = {("daemon", "kill"): (1, 2), ("worker", "kill"): (2,), ("worker", "raise"): (2,)}
"""
Which passage of its point is the one. A job or a caller passes each once in its life. A worker
that fails at its first order would be followed by one that does, and so on.
"""

ONCE: Final = ("connected",)
"""Points that a worker, too, passes once in its life."""

HELD: Final = ("recv", "pre-commit")
"""A daemon that stands still there is let go on only when its caller has lost patience."""


class Stage:
    """Daemons, one after the other, in one state directory, and what befell their callers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.daemon = Daemon(folder, MCLI_GRACE="1", MCLI_RECONNECT="60").start()
        self.told: list[Told] = []
        self.watching = False
        """Whether something may stop itself: all processes have to be looked at."""

        self._number = count()
        self._seen: list[int] = []
        self.call()
        self.base_fds = fds(self.daemon)

    # Callers --------------------------------------------------------------------------

    def begin(self, *options: str, **env: str) -> tuple[str, Caller]:
        """A caller, with a worker of its own if it brings settings."""
        tag = f"case{next(self._number)}"
        own = env and env | {"PYTHONCASE": tag}
        words = [sys.executable, SCRIBE, tag, *options]
        return tag, self.daemon.begin(*words, env=own, start_new_session=True)

    def call(self, *options: str, **env: str) -> Told:
        """A caller to its end, whatever happens to the others meanwhile."""
        return self.end(*self.begin(*options, **env))

    def end(
        self, tag: str, caller: Caller, *, held: bool = False, kill_first: bool = False
    ) -> Told:
        """See to the other processes until *caller* has ended; how it did."""
        fd = os.pidfd_open(caller.pid)
        try:
            self.until(lambda: _readable(fd), held=held, kill_first=kill_first)
        finally:
            os.close(fd)
        self.until(lambda: True)
        out, err = caller.communicate(timeout=DEADLINE_S)
        self.told.append(Told(tag, caller.returncode, out, err))
        return self.told[-1]

    # The others -----------------------------------------------------------------------

    def until(
        self, done: Callable[[], bool], *, held: bool = False, kill_first: bool = False
    ) -> None:
        """Start the daemon when it is gone, and continue what has stopped, until *done*.

        Args:
            held: What has stopped is left alone.
            kill_first: The first that has stopped, but the daemon, is killed.
        """

        def look() -> bool:  # nobody but its parent is told that a process has stopped
            finished = done()
            pid = lock_holder(self.daemon.home.lock)
            if pid is None:
                self.daemon.start()
            for stopped in self.stopped() if self.watching and not held else []:
                first = kill_first and stopped != pid and not self._seen
                self._seen.append(stopped)
                with suppress(ProcessLookupError):
                    os.kill(stopped, signal.SIGKILL if first else signal.SIGCONT)
            return finished

        until(look, PATIENCE_S)

    def stopped(self) -> list[int]:
        """Processes of this state directory that stand still."""
        return [pid for pid in self.daemon.processes() if is_stopped(pid)]

    def clear(self) -> None:
        """What has stopped until now is forgotten."""
        self._seen.clear()

    def continued(self) -> bool:
        """Whether something has stopped since, and was continued."""
        return bool(self._seen)

    def restart(self, armed: str) -> None:
        """Another daemon, which is to fail."""
        self.daemon.kill9()
        self.daemon.start(MCLI_FAILPOINT=armed)
        self.clear()

    def judge(self) -> None:
        """The standard assertion, of all jobs; then forget them."""
        jobs = standard(self.daemon, self.told, base_fds=self.base_fds)
        with self.daemon.client() as client:
            for job in jobs:
                client.delete(job["id"])
        self.told.clear()
        self.daemon.ledger.unlink(missing_ok=True)

    def rest(self) -> None:
        """Let all jobs end; then the workers that were armed, which may yet fail."""
        self.until(lambda: True)
        ended_soon(self.daemon)
        for pid in self.daemon.processes():
            with suppress(OSError):
                if b"\0PYTHONCASE=" in Path(f"/proc/{pid}/environ").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    assert gone(pid)

    def renew(self) -> None:
        """After a case that went wrong: all anew, for the next one."""
        for pid in self.daemon.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.daemon.close()
        self.daemon = Daemon(Path(tempfile.mkdtemp(dir=self._folder)), MCLI_GRACE="1").start()
        self.told.clear()


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


# What is done at each process --------------------------------------------------------------


def fail_caller(stage: Stage, case: Case, passage: int) -> Told:
    """It fails itself. It takes the job back from a daemon that says nothing."""
    if case.point == "settled":
        stage.restart("recv:hang")
    told = stage.call(MCLI_FAILPOINT=f"{case.point}:{case.action}")
    if case.point == "settled":
        stage.daemon.kill9()
        stage.daemon.start()
    else:  # the daemon may not have read yet what a caller has sent that is gone by now
        stage.until(lambda: bool(stage.daemon.jobs()))
    return told


def fail_daemon(stage: Stage, case: Case, passage: int) -> Told:
    """It fails at the first job, or at the second."""
    stage.restart(f"{case.point}:{case.action}@{passage}")
    held = case.action == "stop" and case.point in HELD
    for _ in range(passage - 1):
        assert stage.call().code == 0
    return stage.end(*stage.begin(), held=held)


def fail_daemon_putting_back(stage: Stage, case: Case, passage: int) -> Told:
    """It fails while it puts back a job whose worker has died before it began."""
    stage.restart(f"{case.point}:{case.action}")
    return stage.end(*stage.begin(MCLI_FAILPOINT="ordered:stop"), kill_first=True)


def fail_daemon_cancelling(stage: Stage, case: Case, passage: int) -> Told:
    """It fails between the note that a job is to end and its process."""
    path = stage.daemon.cwd / "gate"
    path.unlink(missing_ok=True)
    gate = Gate(path)
    stage.restart(f"{case.point}:{case.action}")
    tag, caller = stage.begin("--gate", gate.path)
    with gate.accept():
        (job,) = stage.daemon.jobs()
        code: int | None = None
        while code != 0:  # whoever asked was told that it had not worked, and asks again
            cancel = stage.daemon.begin(sys.executable, "-m", "mcli", "cancel", job["id"])
            stage.until(lambda: cancel.poll() is not None)  # noqa: B023 - called at once
            code = cancel.returncode
            if stage.daemon.job(job["id"])["finished_at"] is not None:
                break
        told = stage.end(tag, caller)
    gate.close()
    assert stage.daemon.job(job["id"])["state"] == "cancelled"
    return told


def fail_recovery(stage: Stage, case: Case, passage: int) -> Told:
    """The next daemon fails before it is ready, with a job that was claimed and never began."""
    stage.restart("claimed:kill")
    tag, caller = stage.begin()
    while lock_holder(stage.daemon.home.lock) is not None:
        assert caller.poll() is None, caller.communicate()
    armed = {"MCLI_FAILPOINT": f"{case.point}:{case.action}"}
    failing = stage.daemon.begin(sys.executable, "-m", "mcli.daemon", "--port=0", env=armed)
    options = os.WSTOPPED | os.WEXITED | os.WNOWAIT
    assert os.waitid(os.P_PID, failing.pid, options) is not None
    return stage.end(tag, caller)


def fail_worker(stage: Stage, case: Case, passage: int) -> Told:
    """It fails at its first job, or at its second."""
    stage.clear()
    armed = {"MCLI_FAILPOINT": f"{case.point}:{case.action}@{passage}"}
    first = ""
    for _ in range(passage):
        tag, caller = stage.begin(**armed, **({"PYTHONCASE": first} if first else {}))
        first = first or tag
        told = stage.end(tag, caller)
    return told


def fail_job(stage: Stage, case: Case, passage: int) -> Told:
    """It fails itself. A caller would stop together with its job, so that one is detached.

    Without a ticket it would be begun again, and fail again: it is killed when it has stopped.
    """
    once = case.point == "received" and case.action == "kill"
    stopping = once or case.action == "stop"
    armed = {"MCLI_FAILPOINT": f"{case.point}:{'stop' if once else case.action}"}
    stage.clear()
    told = stage.end(*stage.begin(*(["--detach"] if stopping else []), **armed), kill_first=once)
    if stopping:
        stage.until(stage.continued, kill_first=once)
        stage.until(lambda: stage.daemon.job()["finished_at"] is not None)
    if (case.point, case.action) == ("received", "raise"):
        assert stage.daemon.job()["reason"] == "spawn_error"  # and was tried again until then
    return told


FAIL: Final[dict[str, Callable[[Stage, Case, int], Told]]] = {
    "caller": fail_caller,
    "daemon": fail_daemon,
    "recovery": fail_recovery,
    "worker": fail_worker,
    "job": fail_job,
    "revoked": fail_daemon_putting_back,
    "requeued": fail_daemon_putting_back,
    "stopping": fail_daemon_cancelling,
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    stage.judge()
    yield stage
    stage.daemon.kill9()
    stage.daemon.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_failing_at(stage: Stage, case: Case) -> None:
    """
    Whatever fails, the standard assertion holds: begun once, told truly, ended soon, all clean.
    """
    own = case.process == "daemon" and case.point in FAIL
    fail = FAIL[case.point if own else case.process]
    stage.watching = case.action == "stop" or fail in (fail_daemon_putting_back, fail_job)
    try:
        once = own or case.point in ONCE
        for passage in (1,) if once else PASSAGES.get((case.process, case.action), (1,)):
            told = fail(stage, case, passage)
            assert told.code in case.codes, told
            stage.rest()
            begun = [line for line in ledger(stage.daemon) if line[:2] == ("S", told.tag)]
            stage.judge()
            assert len(begun) == case.starts, begun
    except BaseException:
        stage.renew()
        raise


def passing(point: str) -> set[str]:
    """The processes that pass it, as the table of points has it; a recovery is one for itself."""
    found = set(POINTS[point].partition(":")[0].split(", or "))
    if point in RECOVERING:
        assert "daemon" in found
        found.add("recovery")
    return found - {"daemon"} if point == RECOVERING[-1] else found


def test_every_point_has_its_cases() -> None:
    """
    Each process that passes a point fails there in each way, and there is no case of another.
    """
    wanted = {
        (process, point, action)
        for point in POINTS
        for process in passing(point)
        for action in ACTIONS
    }
    assert {(case.process, case.point, case.action) for case in CASES} == wanted
