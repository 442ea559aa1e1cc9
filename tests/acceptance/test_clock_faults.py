"""
What clocks, reboots and used numbers do to jobs: no timeout depends on the clock that is set,
and no process is taken for another, or signalled in its place.

A reboot is made as it would leave the files: with another boot's id in the ticket.
"""

import ast
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from mcli.client import Client
from mcli.ids import new_id
from mcli.store.arbiter import settle
from mcli.ticket import Identity, holder, identify, lock_holder, pid_namespace, ticket_path

from .daemon import DEADLINE_S, Daemon, Gate, Inside, ended, until

DAY_S = 86400


def kill_all(daemon: Daemon, inside: Inside) -> None:
    """End the daemon and the worker of a job at once; the job itself lives."""
    pid = daemon.pid
    with ended(pid), ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)


def write(daemon: Daemon, statement: str, *values: object) -> None:
    """Change the store of a daemon that is dead."""
    with closing(sqlite3.connect(daemon.home.database)) as store, store:
        assert store.execute(statement, values).rowcount == 1


def give_ticket(daemon: Daemon, job_id: str, owner: Identity) -> None:
    """The ticket says that *owner* has it."""
    path = Path(ticket_path(daemon.home.job(job_id), 1))
    path.write_text(json.dumps(asdict(owner)))


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is nobody's business."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


CLOSE_FILES = """
for name in os.listdir("/proc/self/fd"):
    path = f"/proc/self/fd/{name}"
    if int(name) > 2 and os.path.exists(path) and "socket:" not in os.readlink(path):
        os.close(int(name))
"""
"""As a program does that makes itself a service; but for the way to the test."""


def test_lock_that_a_job_has_lost(stopped: Daemon, gate: Gate) -> None:
    """
    P2: a job that has closed all its descriptors has no lock on its ticket any more. It lives, and
    is taken over; it is neither lost nor begun again.
    """
    daemon = stopped.start()
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    ticket = ticket_path(daemon.home.job(job_id), 1)
    assert lock_holder(ticket) == inside.pid
    inside.do(CLOSE_FILES)
    assert lock_holder(ticket) is None
    kill_all(daemon, inside)
    daemon.start()
    job = daemon.job(job_id)
    assert (job["state"], job["pid"]) == ("running", inside.pid)
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert len(daemon.starts()) == 1


SETTABLE = """
import os, sys, time
if "mcli.daemon" in sys.orig_argv:
    def settable(real=time.time, path=os.environ["CLOCK"]):
        with open(path) as file:
            return real() + float(file.read())
    time.time = settable
"""
"""For a daemon with a clock of its own."""


def is_noted(client: Client, text: str) -> bool:
    """Whether the daemon's only note begins so."""
    return [each["text"].startswith(text) for each in client.status()["notes"]] == [True]


def test_clock_that_is_set(stopped: Daemon, gate: Gate) -> None:
    """
    T1: ``mcli doctor`` and the daemon's log say that the clock was set, and by how much; nothing
    else comes of it.
    """
    clock, hook = stopped.cwd / "clock", stopped.cwd / "hook"
    clock.write_text("0")
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SETTABLE)
    stopped.start(PYTHONPATH=str(hook), CLOCK=str(clock))
    job_id = stopped.submit("obey", gate.path)
    inside = gate.arrival()
    with stopped.client() as client:
        for at, told in (("86400", "+86400"), ("0", "-86400")):
            draft = stopped.cwd / "draft"
            draft.write_text(at)
            draft.replace(clock)
            until(partial(is_noted, client, f"it was set by {told} s; "))
    said = "it was set by -86400 s; what is due at a date goes by it, no timeout does ("
    assert f"note   clock            {said}" in stopped.mcli("doctor").stdout
    log = Path(stopped.home.log).read_text()
    assert log.count("WARNING note clock: it was set by ") == 2
    inside.leave()
    assert stopped.final(job_id)["state"] == "succeeded"


def test_clock_that_was_set(stopped: Daemon, gate: Gate) -> None:
    """
    T1: the clock was set by a day, forward or back, while jobs ran: a timeout comes after the
    time that it says, not at once, and not a day later.
    """
    daemon = stopped.start(MCLI_GRACE="0.1")
    forward, back = (daemon.submit("obey", gate.path) for _ in range(2))
    inside = {each.job_id: each for each in (gate.arrival(), gate.arrival())}
    kill_all(daemon, inside[forward])
    shifted = "UPDATE jobs SET started_at = started_at + ?, timeout_s = ? WHERE id = ?"
    write(daemon, shifted, -DAY_S, 60.0, forward)
    write(daemon, shifted, DAY_S, 0.5, back)
    daemon.start(MCLI_GRACE="0.1")
    assert daemon.final(back)["reason"] == "timeout"
    inside[forward].do("pass")
    inside[forward].leave()
    assert daemon.final(forward)["state"] == "succeeded"


def test_reboot(daemon: Daemon, gate: Gate, stranger: "subprocess.Popen[bytes]") -> None:
    """
    T3: after a reboot a job has ended as its outcome says, or is lost. Another process that has
    its number now is left alone, also when somebody asks for the job's end.
    """
    vanished, done = (daemon.submit("obey", gate.path) for _ in range(2))
    inside = {each.job_id: each for each in (gate.arrival(), gate.arrival())}
    kill_all(daemon, inside[vanished])
    with ended(inside[vanished].pid), ended(inside[done].pid):
        os.kill(inside[vanished].pid, signal.SIGKILL)
        inside[done].tell("sys.exit(7)")
    owner = replace(identify(stranger.pid), boot_id="00000000-0000-0000-0000-000000000000")
    for job_id in (vanished, done):
        give_ticket(daemon, job_id, owner)
        numbers = "UPDATE jobs SET pid = ?, worker_pid = ? WHERE id = ?"
        write(daemon, numbers, stranger.pid, stranger.pid, job_id)
    daemon.start()
    lost = daemon.job(vanished)
    assert (lost["state"], lost["reason"]) == ("lost", "reboot")
    assert daemon.job(done)["exit_code"] == 7
    daemon.mcli("cancel", vanished, code=None)
    daemon.mcli("kill", vanished, code=None)
    assert stranger.poll() is None
    assert len(daemon.starts()) == 2


def test_reboot_while_a_caller_ran_its_job(
    daemon: Daemon, stranger: "subprocess.Popen[bytes]"
) -> None:
    """
    T3: a job that its caller had taken to run it itself is lost with that caller, although its
    number is another's now; while that caller lives, its job is left alone.
    """
    owner = identify(stranger.pid)
    ids = {"here": owner, "gone": replace(owner, started_ticks=1)}
    for name in ids:
        told = {"name": name, "app": "a", "argv": [], "cwd": "/", "now": 1.0}
        assert settle(daemon.home.database, new_id(), **told) == "here"  # type: ignore[arg-type]
    daemon.kill9()
    for name, caller in ids.items():
        row = (caller.pid, json.dumps(asdict(caller)), json.dumps(name))
        write(daemon, "UPDATE jobs SET pid = ?, caller = ? WHERE name = ?", *row)
    daemon.start()
    states = {job["name"]: (job["state"], job["reason"]) for job in daemon.jobs()}
    assert states == {"here": ("running", None), "gone": ("lost", "client_gone")}


def test_container_that_was_started_again(
    stopped: Daemon, gate: Gate, stranger: "subprocess.Popen[bytes]"
) -> None:
    """
    T4: the same boot, and another world of numbers: what ran in the one that has ended is lost,
    whoever has its numbers now, and is not begun again.
    """
    daemon = stopped
    daemon.inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*daemon.inside, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespace can be made here: {tried.stderr.strip()}")
    daemon.start()
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    assert inside.gone()
    daemon.inside = []
    ticket = holder(daemon.home.job(job_id), 1)
    assert ticket is not None
    assert ticket.pid_namespace != pid_namespace()
    namesake = replace(identify(stranger.pid), pid_namespace=ticket.pid_namespace)
    give_ticket(daemon, job_id, namesake)
    job = daemon.start().final(job_id)
    assert (job["state"], job["reason"]) == ("lost", "worker_lost")
    assert stranger.poll() is None
    assert [start[0] for start in daemon.starts()].count(job_id) == 1


NUMBERED = """
import ctypes, os, struct, sys
number = ctypes.c_int(int(sys.argv[1]))
asked = struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(number), 1, 0)
libc = ctypes.PyDLL(None, use_errno=True)
pid = libc.syscall(435, ctypes.create_string_buffer(asked, 88), ctypes.c_size_t(88))  # clone3
if pid == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "600"])
print(pid if pid > 0 else os.strerror(ctypes.get_errno()), flush=True)
sys.stdin.read()
if pid > 0:
    ended, status = os.waitpid(pid, os.WNOHANG)
    os.kill(pid, 9)
    print("alive" if ended == 0 else status)
"""


def test_number_that_is_used_again(daemon: Daemon, gate: Gate) -> None:
    """
    T5: a job that has ended while nobody looked is lost, although there is a process of its
    number; that one gets no signal.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    kill_all(daemon, inside)
    with ended(inside.pid):
        os.kill(inside.pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while os.path.exists(f"/proc/{inside.pid}") and time.monotonic() < deadline:
        pass  # until its new parent has waited for it, its number is taken
    other = daemon.begin(sys.executable, "-c", NUMBERED, str(inside.pid), stdin=subprocess.PIPE)
    assert other.stdout is not None
    told = other.stdout.readline().strip()
    if told != str(inside.pid):
        pytest.skip(f"the number of a process cannot be chosen here: {told}")
    daemon.start()
    assert daemon.final(job_id)["state"] == "lost"
    daemon.mcli("cancel", job_id, code=None)
    daemon.mcli("kill", job_id, code=None)
    assert other.communicate(timeout=DEADLINE_S)[0] == "alive\n"


BY_DATE = {
    # Kept, or shown: when a job, a run here, an app, a trouble, a gap began or ended.
    "attach.py": {"_settle": 1, "_withdraw": 1, "note_end": 1},
    "daemon/apps.py": {"Apps._take": 1},
    "daemon/dispatch.py": {
        "Dispatcher.__init__": 1,
        "Dispatcher.earlier": 1,  # whether a key is older than a day
        "Dispatcher._submit": 1,
        "Dispatcher._claim": 1,
        "Dispatcher._back_to_queue": 1,
        "Dispatcher._finish_row": 1,
        "Dispatcher.cancel": 1,
        # Due at a date: of a wait that this daemon has seen begin, the loop's clock tells the end.
        "Dispatcher._retry": 1,
        "Dispatcher._look_for_due": 1,
    },
    "daemon/recovery.py": {"_end": 1, "_put_back": 2},
    "daemon/clock.py": {"_offset_s": 1},  # against the time since the boot
    "daemon/troubles.py": {"Troubles.tell": 1, "Troubles.note": 1},
    "ids.py": {"new_id": 1},
    "output.py": {"_head": 1, "_begins": 1},  # a record of another century is none
    "worker/journal.py": {"warn": 1},
    # How old jobs are that have ended.
    "cli/clean.py": {"ended": 1},
    "cli/cleanup.py": {"cleanup": 1},
    "cli/jobs.py": {"ps": 1, "inspect": 1},
    "daemon/cleanup.py": {"cleanup": 1},
    "daemon/retention.py": {"Retention.round": 1},
    # Told to others as a date, and held to it.
    "daemon/login.py": {"Logins.__init__": 1},
    "daemon/webhooks.py": {"Webhooks._begin": 1, "Webhooks._attempt": 1, "_post": 1},
}
"""Which functions read the clock that is set, how often, and what for."""

CLOCKS = {"time.time", "time.time_ns", "time.CLOCK_REALTIME", "datetime.now", "datetime.utcnow"}
"""The names of that clock."""

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def readings(node: ast.AST, *inside: str) -> Iterator[str]:
    """Each place where a module reads the clock that is set, called at once or handed on."""
    if isinstance(node, DEFINITIONS):
        inside = (*inside, node.name)
    if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS:
        yield ".".join(inside)
    if isinstance(node, ast.ImportFrom) and node.module == "time":
        yield "under a name of its own"
    for child in ast.iter_child_nodes(node):
        yield from readings(child, *inside)


def test_no_deadline_by_the_clock_that_is_set() -> None:
    """
    T1: what is waited for is timed by the monotonic clock. The clock that is set is read in the
    places of the table and nowhere else: for times that are kept or shown, and for dates.
    """
    package = Path(sys.modules["mcli"].__file__ or "").parent
    found = {}
    for path in package.rglob("*.py"):
        if there := Counter(readings(ast.parse(path.read_text(encoding="utf-8")))):
            found[str(path.relative_to(package))] = there
    assert found == BY_DATE
