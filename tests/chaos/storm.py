"""
A daemon, its clients and its jobs, all of them real, and faults that hit them at random.

Each fault ends only processes that the storm has started, by id, found by its own state
directory in their environment. Afterwards all is allowed to come to rest, and judged.
"""

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from acceptance.nursery import Forked, Nursery

from mcli.client import Client
from mcli.errors import MCLIError
from mcli.home import Home
from mcli.output import read_records
from mcli.ticket import lock_holder

from .judge import Deaths, Job, Line, Verdict, judge
from .program import AGAIN_CODE, expected

PROJECT: Final = Path(__file__).resolve().parents[2]
WORKERS: Final = "12"
READY_S: Final = 30.0
REST_S: Final = 120.0
DISK: Final = "4g"
FULL_TRIES: Final = 50
"""As jobs write meanwhile, what was in use when it was looked at may no longer be all."""

GAP_S: Final = 0.2
"""Seconds between two faults, on average."""

START_S: Final = 0.3
"""Within so many seconds of its start a daemon is killed that is to die early."""

FDS: Final = 2
"""Descriptors that a daemon may have more at the end than at the beginning."""

WORKER: Final = b"\0mcli.worker\0"
"""In the command line of a worker, and of what it has forked."""

MARK: Final = b"\0MCLI_JOB_ID="
"""In the environment of what a job has executed: a program that is one itself, too."""

FORKED: Final = 0x40
"""Of a process's flags: it has executed nothing since it was forked (``PF_FORKNOEXEC``)."""


DRAFTS: Final = ("*.start.*", "*.json.*", "*.outcome.tmp")
"""Files in a job's directory that are no more when it has ended."""

ALIVE: Final = ("scheduled", "queued", "running")

Each = TypeVar("Each")


class Process(NamedTuple):
    """One that the storm may hit, or that must not be left."""

    pid: int
    parent: int
    leads: bool
    """It has a session of its own."""

    works: bool
    """It is a worker itself, not forked by one."""


class Storm:
    """One storm in a folder of its own."""

    def __init__(
        self, folder: Path, seed: int, clients: int, faults: Mapping[str, int] | None = None
    ) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._home = Home(str(folder / "home"))
        self._ledger, self._notes = folder / "ledger", folder / "notes"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MCLI_")}
        self._env = kept | {
            "MCLI_HOME": self._home.root,
            "MCLI_WORKERS": WORKERS,
            "MCLI_BACKGROUND_TIMEOUT": "60",
            "MCLI_KEEP_BYTES": "none",  # the judge wants to see all
            "LEDGER": str(self._ledger),
            "NOTES": str(self._notes),
            "PYTHONPATH": str(PROJECT),
        }
        self._faults = dict(faults or {name: each.weight for name, each in FAULTS.items()})
        self._mounted = False
        self._clients: list[subprocess.Popen[bytes] | None] = [None] * clients
        self._started = 0
        self._nursery = Nursery(self._env)
        self._daemons: list[Forked] = []
        self.hits: dict[str, list[float]] = {name: [] for name in self._faults}
        """When each kind of fault hit, in Unix seconds."""

        self.daemon_kills = 0
        self._killed: defaultdict[int, list[float]] = defaultdict(list)
        self._gone: set[str] = set()
        """Names of clients that were killed: what they ran has nobody to print to."""

        self._down: list[tuple[float, float]] = []
        self._down_since: float | None = None
        """When the last daemon was ended, if none was ready since."""

        self._calm_s = 0.0
        self._asked: set[str] = set()
        """Ids of jobs that were asked to end."""

        self._lines: dict[tuple[str, int], int] = {}
        """How many lines a job and its attempt have noted to have printed."""

        self._verdict = Verdict()
        self._stderr = open(folder / "stderr", "ab")  # noqa: SIM115 - closed at the end
        self._fds: list[str] = []

    # The storm ------------------------------------------------------------------------

    def run(self, seconds: float) -> Verdict:
        """Rage, come to rest, judge."""
        end = time.monotonic() + seconds
        try:
            self._make_home()
            self._start_daemon()
            self._fds = self._open_files()
            while time.monotonic() < end:
                self._staff()
                self._strike()
                time.sleep(self._chance.expovariate(1 / GAP_S))  # the weather
            self._rest()
            self._verdict = self._judge()
        finally:
            self._end()
        return self._verdict

    def _make_home(self) -> None:
        """On a file system of its own where that is allowed: otherwise no disk can be full."""
        os.mkdir(self._home.root, 0o700)
        if "fill-disk" in self._faults:
            words = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", self._home.root]
            self._mounted = subprocess.run(words, check=False).returncode == 0
            if not self._mounted:
                del self._faults["fill-disk"], self.hits["fill-disk"]

    def _strike(self) -> None:
        """One fault; it counts if it has hit something."""
        kind = self._chance.choices(list(self._faults), list(self._faults.values()))[0]
        at = FAULTS[kind].inject(self)
        if at is not None:
            self.hits[kind].append(at)

    def _start_daemon(self, wait_s: float = READY_S) -> None:
        """Start one and wait until it says that it is ready; none, if one is there."""
        if lock_holder(self._home.lock) is not None:
            return
        reader, writer = os.pipe()
        log = self._stderr.fileno()
        daemon = self._nursery.fork(
            ["--port=0"], cwd=str(self._folder), env=self._env, ready=writer, log=log
        )
        self._daemons.append(daemon)
        os.close(writer)
        if select.select([reader], [], [], wait_s)[0] and os.read(reader, 1):
            self._note_up()
        elif wait_s == READY_S:
            self._verdict.wrong["a daemon that does not start"].append(str(daemon.pid))
        os.close(reader)

    def _note_down(self) -> None:
        self._down_since = self._down_since or time.time()

    def _note_up(self) -> None:
        if self._down_since is not None:
            self._down.append((self._down_since, time.time()))
            self._down_since = None

    def _staff(self) -> None:
        """Clients that have ended are replaced."""
        for at, client in enumerate(self._clients):
            if client is None or client.poll() is not None:
                if client is not None:
                    self._dismiss(client)
                self._started += 1
                seed = str(self._chance.randrange(1 << 32))
                words = ["tests.chaos.client", f"c{self._started}", seed]
                self._clients[at] = subprocess.Popen(
                    [sys.executable, "-m", *words],
                    env=self._env,
                    cwd=PROJECT,
                    stdin=subprocess.PIPE,
                    stderr=self._stderr,
                )
        self._daemons = [daemon for daemon in self._daemons if daemon.poll() is None]

    # Faults: each returns when it hit, in Unix seconds; None if there was nothing to hit.

    def kill_daemon(self) -> float | None:
        at = self._end_daemon()
        self._start_daemon()
        return at

    def kill_daemon_early(self) -> float | None:
        """Before the next one is ready, that one too."""
        self._end_daemon()
        self._start_daemon(self._chance.uniform(0, START_S))
        return self.kill_daemon()

    def kill_both(self) -> float | None:
        """The daemon and a worker, before either could look after what the other has left."""
        worker = self._one(self._workers())
        at = self._end_daemon(worker)
        self._start_daemon()
        return at if worker is not None else None

    def kill_all(self) -> float | None:
        """Everything at once, as if the machine had lost power."""
        at = self._end_daemon(*[process.pid for process in self._ours()])
        self._start_daemon()
        return at

    def _end_daemon(self, *others: int | None) -> float | None:
        """And others with it; when, if there was one."""
        running = [daemon for daemon in self._daemons if daemon.poll() is None]
        self._note_down()
        times = [self._kill(daemon.pid) for daemon in running]
        for pid in others:
            self._kill(pid)
        for daemon in running:
            daemon.wait()
            self.daemon_kills += 1
        return times[0] if times else None

    def stop_daemon(self) -> float | None:
        """SIGSTOP for a while: a lid that is closed, a machine that swaps."""
        return self._pause(lock_holder(self._home.lock))

    def restart_daemon(self) -> float | None:
        pid = lock_holder(self._home.lock)
        self._note_down()
        at = self._send(pid, signal.SIGTERM)
        for daemon in self._daemons:
            if daemon.pid == pid:
                daemon.wait(READY_S)
        self._start_daemon()
        return at

    def kill_worker(self) -> float | None:
        return self._kill(self._one(self._workers()))

    def stop_worker(self) -> float | None:
        return self._pause(self._one(self._workers()))

    def stop_job(self) -> float | None:
        return self._pause(self._one(self._jobs()))

    def kill_job(self) -> float | None:
        return self._kill(self._one(self._jobs()))

    def cancel_job(self) -> float | None:
        """One that has not ended, as far as is known."""
        with suppress(MCLIError), Client.connect(self._home) as http:
            job_id = self._one([job["id"] for job in http.jobs(states=ALIVE)])
            if job_id is not None:
                self._asked.add(job_id)  # whatever the answer is
                http.cancel(job_id)
                return time.time()
        return None

    def kill_client(self) -> float | None:
        client = self._client()
        if client is None:
            return None
        at = self._send(client.pid, signal.SIGKILL)
        self._dismiss(client)
        self._gone.add(str(client.args[3]))  # type: ignore[index]
        return at

    def stop_client(self) -> float | None:
        client = self._client()
        return self._pause(client.pid if client is not None else None)

    def _client(self) -> "subprocess.Popen[bytes] | None":
        """One that has not ended."""
        return self._one([each for each in self._clients if each and each.poll() is None])

    def _dismiss(self, client: "subprocess.Popen[bytes]") -> None:
        client.kill()
        client.communicate()

    def fill_disk(self) -> float | None:
        """No room for a while in the state directory, which is a file system of its own."""
        if not any(self._resize(self._used()) for _ in range(FULL_TRIES)):
            return None
        at = time.time()
        time.sleep(self._chance.uniform(0.05, 0.5))  # for as long as it is full
        assert self._resize(DISK)
        return at

    def _used(self) -> str:
        """Bytes of the file system that are in use."""
        found = os.statvfs(self._home.root)
        return str((found.f_blocks - found.f_bfree) * found.f_frsize)

    def _resize(self, size: str) -> bool:
        """Whether the file system has that size now: not if more than that is in use."""
        words = ["mount", "-o", f"remount,size={size}", self._home.root]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def _kill(self, pid: int | None) -> float | None:
        at = self._send(pid, signal.SIGKILL)
        if pid is not None and at is not None:
            self._killed[pid].append(at)
        return at

    def _pause(self, pid: int | None) -> float | None:
        at = self._send(pid, signal.SIGSTOP)
        if at is not None:
            time.sleep(self._chance.choice((0.05, 0.2, 1.0)))  # for as long as it stands still
            self._send(pid, signal.SIGCONT)
        return at

    def _send(self, pid: int | None, number: int) -> float | None:
        """When it was sent; None if there is no such process."""
        if pid is None:
            return None
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return None
        return time.time()

    def _one(self, each: list[Each]) -> Each | None:
        return self._chance.choice(each) if each else None

    # Processes ------------------------------------------------------------------------

    def _workers(self) -> list[int]:
        return [each.pid for each in self._ours() if each.works]

    def _jobs(self) -> list[int]:
        """Job processes, and children that are to become one; not what a job has started."""
        return [each.pid for each in self._ours() if each.leads and not each.works]

    def _ours(self) -> Iterator["Process"]:
        """What runs ``mcli.worker`` for this home, and what was executed by a job of it."""
        home = self._home.root.encode()
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                command, environment, stat = (
                    Path("/proc", name, of).read_bytes() for of in ("cmdline", "environ", "stat")
                )
                is_worker, is_marked = WORKER in command, MARK in b"\0" + environment
                if (is_worker or is_marked) and home in command + environment:
                    _, parent, _, session, _, _, flags, *_ = stat.rpartition(b")")[2].split()
                    works = is_worker and not int(flags) & FORKED
                    yield Process(int(name), int(parent), name.encode() == session, works)

    # Rest -----------------------------------------------------------------------------

    def _rest(self) -> None:
        """No more faults: clients end, a daemon is there, and all jobs come to their end."""
        for client in self._clients:
            if client is not None and client.stdin is not None:
                with suppress(OSError):
                    client.stdin.close()
                client.wait(READY_S * 4)
        self._start_daemon()
        self._note_up()
        self._calm_s = time.time()
        deadline = time.monotonic() + REST_S
        with Client.connect(self._home) as http:
            for state in (*ALIVE, "stopping"):
                for job in list(http.jobs(states=[state])):
                    left = deadline - time.monotonic()
                    if left > 0:
                        http.wait(job["id"], min(left, 60))

    def _judge(self) -> Verdict:
        lines = [Line.parse(text) for text in self._ledger.read_text().splitlines()]
        notes = [text.split() for text in self._notes.read_text().splitlines()]
        deaths = Deaths(self._killed, self._gone, self._asked, self._down, self._calm_s)
        self._lines = {(line.job, line.attempt): line.lines for line in lines}
        verdict = judge(lines, notes, self._jobs_told(deaths), deaths)
        for kind, each in (*self._verdict.wrong.items(), *self._left()):
            verdict.wrong[kind] += each
        return verdict

    def _jobs_told(self, deaths: Deaths) -> Iterator[Job]:
        with Client.connect(self._home) as client:
            for job in client.jobs():
                attempts = client.attempts(job["id"])
                yield Job(job, attempts, self._missing(job, attempts, deaths))

    def _missing(
        self, job: dict[str, Any], attempts: list[dict[str, Any]], deaths: Deaths
    ) -> str | None:
        """What the log does not have of what its attempts have printed, or has and they have not.

        One that came to its end has printed all. One that was ended has printed what it has
        noted, or more; what of that nobody had read yet is gone if all who read had died before.
        """
        tag, lines, _ = job["argv"][-3:]
        wanted = expected(tag, int(lines))
        for attempt in attempts if job["route"] == "daemon" else ():
            found = self._printed(job["id"], attempt["output_start"], attempt["output_end"])
            whole = attempt["state"] == "succeeded" or attempt["exit_code"] == AGAIN_CODE
            noted = self._lines.get((job["id"], attempt["attempt"]), 0)
            least = 0 if deaths.unread(attempt) else len(expected(tag, noted))
            ended = wanted.startswith(found) and len(found) >= least
            if not (found == wanted if whole else ended):
                return f"attempt {attempt['attempt']}: {len(found)} of {len(wanted)} bytes"
        return None

    def _printed(self, job_id: str, offset: int, end: int | None) -> bytes:
        found = b""
        while block := read_records(f"{self._home.job(job_id)}/output.log", offset):
            for record in block:
                if end is not None and record.offset >= end:
                    return found
                found += record.data
            offset = block[-1].next_offset
        return found

    def _left(self) -> Iterator[tuple[str, list[str]]]:
        """What should not be there any more."""
        yield "processes left", self._processes_left()
        jobs = Path(self._home.jobs)
        yield "files left", [str(path) for draft in DRAFTS for path in jobs.glob(f"*/{draft}")]
        files = self._open_files()
        more = len(files) - len(self._fds) - 2 * len(self._workers())
        yield "descriptors left", [f"{more} of {files}"] if more > FDS else []
        with sqlite3.connect(f"file:{self._home.database}?mode=ro", uri=True) as store:
            said = store.execute("PRAGMA quick_check").fetchone()[0]
        yield "store damaged", [] if said == "ok" else [said]

    def _processes_left(self) -> list[str]:
        """All but the daemon's workers, and the one child that each has forked in advance."""
        with Client.connect(self._home) as client:
            workers = {worker["pid"] for worker in client.status()["workers"]}
        spares: set[int] = set()
        left = []
        for pid, parent, *_ in self._ours():
            if parent in workers and parent not in spares:
                spares.add(parent)
            elif pid not in workers:
                left.append(f"{pid} of {parent}")
        return left

    def _open_files(self) -> list[str]:
        """Of the daemon, but those of the store: as many as read at once."""
        found = []
        for fd in Path(f"/proc/{lock_holder(self._home.lock)}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(fd))
        return sorted(name for name in found if not name.startswith(self._home.database))

    def _end(self) -> None:
        for client in self._clients:
            if client is not None:
                self._dismiss(client)
        pid = lock_holder(self._home.lock)
        if pid is not None:
            with suppress(MCLIError), Client.connect(self._home) as http:
                http.shutdown(kill_jobs=True)
        for daemon in self._daemons:
            try:
                daemon.wait(READY_S)
            except subprocess.TimeoutExpired:
                self._kill(daemon.pid)
                daemon.wait()
        self._nursery.close()
        self._stderr.close()
        if self._mounted:
            if not self._verdict.clean:
                shutil.copytree(self._home.root, self._folder / "kept", ignore=_sockets)
            subprocess.run(["umount", "--lazy", self._home.root], check=False)


class Fault(NamedTuple):
    """What may happen, and how often against the others."""

    inject: Callable[[Storm], float | None]
    weight: int


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


FAULTS: Final = {
    "kill-daemon": Fault(Storm.kill_daemon, 8),
    "kill-daemon-early": Fault(Storm.kill_daemon_early, 2),
    "stop-daemon": Fault(Storm.stop_daemon, 1),
    "restart-daemon": Fault(Storm.restart_daemon, 1),
    "kill-worker": Fault(Storm.kill_worker, 2),
    "stop-worker": Fault(Storm.stop_worker, 1),
    "kill-job": Fault(Storm.kill_job, 2),
    "stop-job": Fault(Storm.stop_job, 1),
    "cancel-job": Fault(Storm.cancel_job, 2),
    "kill-client": Fault(Storm.kill_client, 1),
    "stop-client": Fault(Storm.stop_client, 1),
    "kill-both": Fault(Storm.kill_both, 1),
    "kill-all": Fault(Storm.kill_all, 1),
    "fill-disk": Fault(Storm.fill_disk, 1),
}
"""By the name that ``--faults`` knows it by."""
