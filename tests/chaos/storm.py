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
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import quantiles
from typing import Final

from mcli.client import Client
from mcli.errors import MCLIError
from mcli.home import Home
from mcli.output import read_records
from mcli.ticket import lock_holder

from .judge import Line, Verdict, judge
from .program import expected

PROJECT: Final = Path(__file__).resolve().parents[2]
READY_S: Final = 30.0
REST_S: Final = 120.0
DISK: Final = "512m"
GAP_S: Final = 0.35
"""Seconds between two faults, on average."""


class Storm:
    """One storm in a folder of its own."""

    def __init__(self, folder: Path, seed: int, clients: int, faults: list[str]) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._home = Home(str(folder / "home"))
        self._ledger, self._notes = folder / "ledger", folder / "notes"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MCLI_")}
        self._env = kept | {
            "MCLI_HOME": self._home.root,
            "MCLI_WORKERS": "4",
            "MCLI_BACKGROUND_TIMEOUT": "60",
            "LEDGER": str(self._ledger),
            "NOTES": str(self._notes),
            "PYTHONPATH": str(PROJECT),
        }
        self._faults = list(faults)
        self._mounted = False
        self._clients: list[subprocess.Popen[bytes] | None] = [None] * clients
        self._started = 0
        self._children: list[subprocess.Popen[bytes]] = []
        self.injected: Counter[str] = Counter()
        self._hit: defaultdict[str, list[float]] = defaultdict(list)
        self._killed: set[int] = set()
        self._gone: set[str] = set()
        """Names of clients that were killed: what they ran has nobody to print to."""

        self._verdict = Verdict()

    # The storm ------------------------------------------------------------------------

    def run(self, seconds: float) -> Verdict:
        """Rage, come to rest, judge."""
        end = time.monotonic() + seconds
        try:
            self._make_home()
            self._start_daemon()
            while time.monotonic() < end:
                self._staff()
                FAULTS[self._pick()](self)
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
                self._faults.remove("fill-disk")

    def _pick(self) -> str:
        kind = self._chance.choice(self._faults)
        self.injected[kind] += 1
        self._hit[kind].append(time.time())
        return kind

    def _start_daemon(self) -> None:
        """Start one and wait until it says that it is ready; none, if one is there."""
        if lock_holder(self._home.lock) is not None:
            return
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "mcli.daemon", "--port=0"],
            env=self._env | {"MCLI_READY_FD": str(writer)},
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stderr=open(self._folder / "stderr", "ab"),  # noqa: SIM115
            start_new_session=True,
        )
        self._children.append(process)
        os.close(writer)
        if not select.select([reader], [], [], READY_S)[0]:
            self._verdict.wrong["a daemon that does not start"].append(str(process.pid))
        os.close(reader)

    def _staff(self) -> None:
        """Clients that have ended are replaced."""
        for at, client in enumerate(self._clients):
            if client is None or client.poll() is not None:
                self._started += 1
                words = ["tests.chaos.client", f"c{self._started}", str(self._started)]
                self._clients[at] = subprocess.Popen(
                    [sys.executable, "-m", *words],
                    env=self._env,
                    cwd=PROJECT,
                    stdin=subprocess.PIPE,
                    stderr=open(self._folder / "stderr", "ab"),  # noqa: SIM115
                )
        self._children = [child for child in self._children if child.poll() is None]

    # Faults ---------------------------------------------------------------------------

    def kill_daemon(self) -> None:
        pid = lock_holder(self._home.lock)
        if pid is not None:
            self._kill(pid)
        for child in self._children:
            if child.pid == pid:
                child.wait()
        self._start_daemon()

    def stop_daemon(self) -> None:
        """SIGSTOP for a while: a lid that is closed, a machine that swaps."""
        self._pause(lock_holder(self._home.lock))

    def restart_daemon(self) -> None:
        pid = lock_holder(self._home.lock)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            for child in self._children:
                if child.pid == pid:
                    child.wait(READY_S)
        self._start_daemon()

    def kill_worker(self) -> None:
        self._kill(self._one(self._workers()))

    def stop_worker(self) -> None:
        self._pause(self._one(self._workers()))

    def kill_job(self) -> None:
        self._kill(self._one(self._jobs()))

    def kill_client(self) -> None:
        client = self._chance.choice(self._clients)
        if client is not None:
            client.kill()
            client.wait()
            self._gone.add(str(client.args[3]))  # type: ignore[index]

    def fill_disk(self) -> None:
        """No room for a while in the state directory, which is a small file system of its own."""
        ballast = Path(self._home.root, "ballast")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * (1 << 20))
        with suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(b"x")
        time.sleep(self._chance.uniform(0.05, 0.5))  # for as long as it is full
        ballast.unlink()

    def _kill(self, pid: int | None) -> None:
        if pid is not None:
            self._killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pause(self, pid: int | None) -> None:
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._chance.choice((0.05, 0.2, 1.0)))  # for as long as it stands still
            os.kill(pid, signal.SIGCONT)

    def _one(self, pids: list[int]) -> int | None:
        return self._chance.choice(pids) if pids else None

    # Processes ------------------------------------------------------------------------

    def _workers(self) -> list[int]:
        daemon = lock_holder(self._home.lock)
        return [pid for pid, parent in self._ours() if parent in (daemon, 1, os.getpid())]

    def _jobs(self) -> list[int]:
        """Job processes, and children that are to become one."""
        workers = set(self._workers())
        return [pid for pid, parent in self._ours() if parent in workers]

    def _ours(self) -> Iterator[tuple[int, int]]:
        """(pid, parent) of what runs ``mcli.worker`` for this home."""
        mark = self._home.root.encode()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with suppress(OSError):
                command = Path("/proc", name, "cmdline").read_bytes()
                if b"mcli.worker\0" in command and mark in command:
                    stat = Path("/proc", name, "stat").read_text()
                    yield int(name), int(stat.rpartition(")")[2].split()[1])

    # Rest -----------------------------------------------------------------------------

    def _rest(self) -> None:
        """No more faults: clients end, a daemon is there, and all jobs come to their end."""
        for client in self._clients:
            if client is not None and client.stdin is not None:
                with suppress(OSError):
                    client.stdin.close()
                client.wait(READY_S * 4)
        self._start_daemon()
        deadline = time.monotonic() + REST_S
        with Client.connect(self._home) as http:
            for state in ("queued", "running", "stopping"):
                for job in list(http.jobs(states=[state])):
                    left = deadline - time.monotonic()
                    if left > 0:
                        http.wait(job["id"], min(left, 60))

    def _judge(self) -> Verdict:
        with Client.connect(self._home) as client:
            jobs = list(client.jobs())
        lines = [Line.parse(text) for text in self._ledger.read_text().splitlines()]
        notes = [text.split() for text in self._notes.read_text().splitlines()]
        missing = [found for job in jobs if (found := self._missing(job)) is not None]
        earlier = self._verdict.wrong
        verdict = judge(lines, notes, jobs, missing, self._killed, self._gone)
        verdict.wrong |= {kind: each for kind, each in earlier.items() if each}
        self._begun = sorted(line.time_s for line in lines if line.kind == "S")
        return verdict

    def _missing(self, job: dict[str, object]) -> tuple[str, str] | None:
        """What the log of a job that succeeded does not have of what it printed."""
        if job["state"] != "succeeded" or job["route"] != "daemon":
            return None
        tag, lines, _ = job["argv"][-3:]  # type: ignore[index]
        found, offset = b"", 0
        while block := read_records(f"{self._home.job(str(job['id']))}/output.log", offset):
            found += b"".join(record.data for record in block)
            offset = block[-1].next_offset
        wanted = expected(tag, int(lines))
        return None if found == wanted else (tag, f"{len(found)} of {len(wanted)} bytes")

    def _end(self) -> None:
        for client in self._clients:
            if client is not None:
                client.kill()
                client.wait()
        pid = lock_holder(self._home.lock)
        if pid is not None:
            with suppress(MCLIError), Client.connect(self._home) as http:
                http.shutdown(kill_jobs=True)
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(READY_S)
            child.kill()
        if self._mounted:
            shutil.copytree(self._home.root, self._folder / "kept", ignore=_sockets)
            subprocess.run(["umount", "--lazy", self._home.root], check=False)

    # The table ------------------------------------------------------------------------

    def report(self) -> list[str]:
        """The storm as a table in Markdown, and what is wrong."""
        found = self._verdict
        total = sum(self.injected.values())
        head = "| fault | injected | until the next start: p50 / p99 |\n| --- | ---: | ---: |"
        rows = [f"| {kind} | {n} | {self._recovery(kind)} |" for kind, n in self.injected.items()]
        said = [f"- {kind}: {len(each)}: {each[:5]}" for kind, each in found.wrong.items()]
        states = ", ".join(f"{count} {state}" for state, count in found.states.most_common())
        bound = f"{300 / total:.2f} %" if total else "-"
        return [
            head,
            *rows,
            "",
            f"{found.jobs} jobs ({states}), {found.accepted} accepted on request, {total} faults",
            f"wrong: {sum(map(len, found.wrong.values()))}; 95 % bound per fault: {bound}",
            *said,
        ]

    def _recovery(self, kind: str) -> str:
        """From a fault until the next job begins, in seconds."""
        waits = []
        for at in self._hit[kind]:
            later = next((time_s for time_s in self._begun if time_s > at), None)
            if later is not None:
                waits.append(later - at)
        if len(waits) < 2:
            return "-"
        cuts = quantiles(waits, n=100)
        return f"{cuts[49]:.2f} s / {cuts[98]:.2f} s"


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


FAULTS: Final[dict[str, Callable[[Storm], None]]] = {
    "kill-daemon": Storm.kill_daemon,
    "stop-daemon": Storm.stop_daemon,
    "restart-daemon": Storm.restart_daemon,
    "kill-worker": Storm.kill_worker,
    "stop-worker": Storm.stop_worker,
    "kill-job": Storm.kill_job,
    "kill-client": Storm.kill_client,
    "fill-disk": Storm.fill_disk,
}
"""What may happen, by the name that ``--faults`` knows it by."""
