"""
A daemon of one test's own, and processes that a test can hold still.

``Daemon`` starts and ends it, runs programs as its clients and asks it about jobs.
``Gate`` is a socket to which a job connects: it tells the test that the job is in its
body, lets the test say what the job does next, and when the kernel says that it is gone.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from mcli import family
from mcli.cli.launch import READY_FD, end
from mcli.client import Client
from mcli.errors import InvalidTransition
from mcli.home import Home
from mcli.ids import new_id
from mcli.states import FINAL
from mcli.store.store import LOG_S
from mcli.ticket import lock_holder

from .nursery import Forked, Nursery

PROJECT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = PROJECT / "tests" / "programs"
PUPPET: Final = str(PROGRAMS / "puppet.py")

DEADLINE_S: Final = 30.0
"""Seconds that only a bug can reach."""

INTERPRETER: Final = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(PROJECT)}

LOOK_S: Final = 0.01
"""Seconds between two looks at what nobody tells."""

Document = dict[str, Any]
Done = subprocess.CompletedProcess[str]


def without_mcli() -> dict[str, str]:
    """This process's environment, without what is meant for another mcli or interpreter."""
    foreign = ("MCLI_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@cache
def the_nursery() -> Nursery:
    """That of this process: begun when the first daemon is started."""
    return Nursery(without_mcli() | INTERPRETER)


def close_nursery() -> None:
    """End it, if there is one."""
    if the_nursery.cache_info().currsize:
        the_nursery().close()
        the_nursery.cache_clear()


class Daemon:
    """A state directory, the daemon that lives there now and then, and its clients."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.home = Home(str(folder / "home"))
        self.cwd = folder
        self.ledger = folder / "ledger"
        self.env = without_mcli() | {
            "HOME": str(folder),
            "LEDGER": str(self.ledger),
            "MCLI_HOME": self.home.root,
            **INTERPRETER,
        }
        self.env |= env
        self.inside: list[str] = []
        """What the daemon is started by, to be in a world of its own."""

        self.sound = True
        """Whether its store is to be so at the end: not if a test has damaged it."""

        self.settled = False
        """Whether it was stopped with all its jobs, so that none is left."""

        self.executed = False
        """Whether it is to be a process as a user's is, also to the kernel, and not forked."""

        self._processes: list[subprocess.Popen[str]] = []
        self._daemons: list[subprocess.Popen[bytes] | Forked] = []

    # Its life -------------------------------------------------------------------------

    def start(self, *options: str, **env: str) -> Self:
        """Start it, on a free port, as ``mcli daemon start`` does but without its process."""
        self.home.create()
        reader, writer = os.pipe()
        log_fd = os.open(self.home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(reader, "rb") as ready, open(log_fd, "ab") as log:
            try:
                self._begin(["--port=0", *options], self.env | env, writer, log.fileno())
            finally:
                os.close(writer)
            assert readable(reader), "it does not start"
            told = json.loads(ready.readline() or "{}")
        assert told.get("ok"), f"it has not started: {told}"
        if told.get("apps"):
            self.apps()
        return self

    def _begin(self, words: list[str], env: dict[str, str], ready: int, log: int) -> None:
        forked = not (self.executed or self.inside) and the_nursery().fits(env)
        begin = self._fork if forked else self._execute
        self._daemons.append(begin(words, env, ready, log))

    def _fork(self, words: list[str], env: dict[str, str], ready: int, log: int) -> Forked:
        return the_nursery().fork(words, cwd=str(self.cwd), env=env, ready=ready, log=log)

    def _execute(
        self, words: list[str], env: dict[str, str], ready: int, log: int
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self.inside, sys.executable, "-m", "mcli.daemon", *words],
            env=env | {READY_FD: str(ready)},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[ready],
            start_new_session=True,
        )

    def stop(self, *, kill_jobs: bool = False) -> None:
        """Stop it, as ``mcli daemon stop`` does, and wait until it is gone."""
        end(self.home, kill_jobs=kill_jobs)
        for process in self._daemons:
            process.wait(DEADLINE_S)

    @property
    def pid(self) -> int:
        """Of the process that is the daemon now."""
        pid = lock_holder(self.home.lock)
        assert pid is not None, "no daemon runs"
        return pid

    def kill9(self) -> None:
        """End it as a crash would."""
        pid = self.pid
        with ended(pid):
            os.kill(pid, signal.SIGKILL)

    # Its clients ----------------------------------------------------------------------

    def begin(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        **options: Any,
    ) -> "subprocess.Popen[str]":
        """Start a program whose stdout and stderr the test reads."""
        process = subprocess.Popen(
            words,
            env=self.env | (env or {}),
            cwd=self.cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=options.pop("stderr", subprocess.PIPE),
            text=True,
            **options,
        )
        self._processes.append(process)
        return process

    def run(self, *words: str, code: int | None = 0, **options: Any) -> Done:
        """Run a program to its end; it has to exit with *code*."""
        process = self.begin(*words, **options)
        out, err = process.communicate(timeout=DEADLINE_S)
        done = subprocess.CompletedProcess(list(words), process.returncode, out, err)
        assert code is None or done.returncode == code, f"{done}"
        return done

    def mcli(self, *words: str, code: int | None = 0, **options: Any) -> Done:
        """Run ``mcli``."""
        return self.run(sys.executable, "-m", "mcli", *words, code=code, **options)

    def puppet(self, *words: str, code: int | None = 0, **options: Any) -> Done:
        """Run the puppet program to its end."""
        return self.run(sys.executable, PUPPET, *words, code=code, **options)

    def begin_puppet(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Start the puppet program."""
        return self.begin(sys.executable, PUPPET, *words, **options)

    def submit(self, *words: str, **options: Any) -> str:
        """Detach a command of the puppet program; the id of its job."""
        return self.puppet(*words, "--detach", **options).stdout.strip()

    def late(self) -> dict[str, str]:
        """For a caller whose job has little time: variables that have a worker of its own begin it
        and then stand still, so that the time is not over before the body has begun.

        ``go_on({daemon.halted()})`` when it has.
        """
        return {"MCLI_FAILPOINT": "begun:stop", "PYTHONCASE": new_id()}

    # Its jobs -------------------------------------------------------------------------

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client.connect(self.home) as client:
            yield client

    def until_its_log_is_empty(self) -> None:
        """The store empties its write-ahead log when it is idle."""
        log = Path(f"{self.home.database}-wal")
        until(lambda: log.stat().st_size == 0, LOG_S / 2)

    def job(self, job_id: str = "-") -> Document:
        """The job as it is now."""
        with self.client() as client:
            return client.job(job_id)

    def noted(self, job_id: str = "-") -> Document:
        """The job when its processes are noted, which may be after they have begun."""
        until(lambda: self.job(job_id)["pid"])
        return self.job(job_id)

    def apps(self) -> list[Document]:
        """The apps, when it has loaded them."""
        with self.client() as client:
            return client.apps()

    def jobs(self) -> list[Document]:
        with self.client() as client:
            return list(client.jobs())

    def final(self, job_id: str) -> Document:
        """The job when it has ended."""
        with self.client() as client:
            job = client.wait(job_id, DEADLINE_S)
        assert job["state"] in FINAL, f"it has not ended: {job}"
        return job

    def output(self, job_id: str, stream: str | None = None) -> str:
        with self.client() as client:
            return b"".join(each.data for each in client.output(job_id, stream=stream)).decode()

    def starts(self) -> list[list[str]]:
        """What the ledger says: job, attempt and pid of every beginning of a body."""
        return [line for line in self._noted() if line[0] != "E"]

    def ends(self) -> list[list[str]]:
        """And job and attempt of each end."""
        return [line[1:] for line in self._noted() if line[0] == "E"]

    def _noted(self) -> list[list[str]]:
        with suppress(FileNotFoundError):
            return [line.split() for line in self.ledger.read_text().splitlines()]
        return []

    def clear(self) -> None:
        """End all programs, end and forget all jobs, for the next test that uses this daemon."""
        self._end_programs()
        with self.client() as client:
            jobs = list(client.jobs())
            for job in jobs:
                with suppress(InvalidTransition):  # it has ended already
                    client.cancel(job["id"])
            for job in jobs:
                client.wait(job["id"], DEADLINE_S)
            assert self.drafts() == []
            for job in jobs:
                client.delete(job["id"])
        self.ledger.unlink(missing_ok=True)

    def front(self) -> Home:
        """Another state directory with the same store: a caller who is sent there asks a test that
        listens at its socket, and may find the job in the store."""
        front = Home(str(self.cwd / "front"))
        front.create()
        os.symlink(self.home.database, front.database)
        return front

    # The end --------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Every process that belongs to this state directory, and what it is."""
        root = os.fsencode(self.home.root)
        found = {each.pid: "mcli.daemon" for each in self._daemons if each.poll() is None}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                around = family.environment(pid)  # when it shows that, it shows its command, too
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if root in command or b"MCLI_HOME=" + root in around:
                    found[pid] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def drafts(self) -> list[str]:
        """Files of jobs that are in the making, or have remained so."""
        paths = Path(self.home.job("-")).parent.glob("*/*")
        return [path.name for path in paths if _DRAFT.search(path.name)]

    def standing(self) -> set[int]:
        """Those of its processes that stand still."""
        return {pid for pid in self.processes() if family.is_stopped(pid)}

    def halted(self) -> int:
        """The one of its processes that stands still, once it does: at a failpoint, say."""
        until(self.standing)
        (pid,) = self.standing()
        return pid

    def let_on(self, but: Set[int] = frozenset()) -> bool:
        """Continue those that stand still, *but* these; False, to be asked again."""
        go_on(self.standing() - but)
        return False

    def close(self) -> None:
        """End all that is left; nothing may be left after that."""
        self._end_programs()
        until(self._told)
        alone = lock_holder(self.home.lock) is None
        if not alone:
            self.stop(kill_jobs=True)
        if alone or self._crashed():  # its jobs live on, and its workers wait for the next one
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            assert self.drafts() == []
            self.settled = True
        for started in self._daemons:
            started.wait(DEADLINE_S)
        Path(self.home.ballast).unlink(missing_ok=True)  # 8 MiB, in each of some hundred homes
        left = self.processes()
        for pid in left:
            assert gone(pid), f"still there: {left[pid]}"

    def _end_programs(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.communicate()

    def _told(self) -> bool:
        """Whether none is just about to be the daemon, or, refused, to be gone."""
        pid = lock_holder(self.home.lock)
        with suppress(FileNotFoundError):
            return pid in (None, json.loads(Path(self.home.address).read_text())["pid"])
        return pid is None

    def _crashed(self) -> bool:
        """Whether one of the daemons was killed."""
        return any((process.poll() or 0) < 0 for process in self._daemons)

    def alone(self) -> bool:
        """Whether all processes but the daemon end by themselves."""
        pid = lock_holder(self.home.lock)
        return all(gone(each) for each in self.processes() if each != pid)


_DRAFT = re.compile(r"\.(start|json)\.|\.tmp$")


@contextmanager
def ended(pid: int) -> Iterator[None]:
    """Afterwards the process is gone: the kernel says so."""
    fd = os.pidfd_open(pid)
    try:
        yield
        assert readable(fd), f"process {pid} has not ended"
    finally:
        os.close(fd)


def gone(pid: int) -> bool:
    """Whether *pid* ends, if it has not yet."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return readable(fd)
    finally:
        os.close(fd)


def halt(pid: int) -> None:
    """Stop *pid*, and wait until it stands still: it is told so thread by thread."""
    os.kill(pid, signal.SIGSTOP)
    task = f"/proc/{pid}/task"
    until(lambda: all(family.is_stopped(int(thread)) for thread in os.listdir(task)))


def files(pid: int) -> set[str]:
    """What its descriptors are of."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return found


def go_on(pids: Set[int]) -> None:
    """Continue these processes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def readable(fd: int, timeout_s: float = DEADLINE_S) -> bool:
    """Wait until *fd* has something to say."""
    return bool(select.select([fd], [], [], timeout_s)[0])


def until(
    true: Callable[[], object],
    within_s: float = DEADLINE_S,
    *,
    instead: Callable[[], object] = lambda: "it does not come about",
) -> None:
    """Look again and again: only for what neither the kernel nor the daemon can tell.

    The kernel tells of the end of a process (``readable`` of a pidfd), and the daemon of that of a
    job (``final``). Nobody tells that a process of somebody else's has stopped, which is to go on
    meanwhile; that a job which has not ended has another state, or a process by now; or what stands
    in a file.

    Args:
        instead: What there is if it never comes.
    """
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, instead()
        time.sleep(LOOK_S)


class Inside:
    """A job that stands at the gate, from the test's side."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(DEADLINE_S)
        self._connection = connection
        self._lines = connection.makefile(encoding="utf-8")
        told = json.loads(self._lines.readline())
        self.pid: int = told["pid"]
        self.ppid: int = told["ppid"]
        self.job_id: str = told["job_id"]
        self.attempt: str = told["attempt"]

    def tell(self, code: str) -> None:
        """Have the job run a line of Python, without waiting for it."""
        self._connection.sendall(json.dumps(code).encode() + b"\n")

    def do(self, code: str) -> None:
        """Have the job run a line of Python, and wait until it has."""
        self.tell(code)
        assert self._lines.readline() == ".\n", f"it did not come to the end of: {code}"

    def leave(self) -> None:
        """Let the body return."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def gone(self) -> bool:
        """The kernel says that no process has the other end any more."""
        try:
            return self._lines.readline() == ""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


class Gate:
    """Where the jobs of a test arrive."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.arrivals: list[Inside] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(128)
        self._listening.settimeout(DEADLINE_S)

    def accept(self) -> socket.socket:
        """The next that connects, and says nothing."""
        return self._listening.accept()[0]

    def arrival(self) -> Inside:
        """The next job that comes."""
        inside = Inside(self._listening.accept()[0])
        self.arrivals.append(inside)
        return inside

    def quiet(self) -> bool:
        """Whether nobody stands before it now."""
        return not readable(self._listening.fileno(), 0)

    def close(self) -> None:
        """Let everybody go."""
        for inside in self.arrivals:
            inside.leave()
            inside.close()
        self._listening.close()


def lines(process: "subprocess.Popen[str]", count: int) -> Sequence[str]:
    """The next lines of a process's stdout."""
    assert process.stdout is not None
    assert readable(process.stdout.fileno()), "it says nothing"
    return [process.stdout.readline() for _ in range(count)]
