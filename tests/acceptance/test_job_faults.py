"""What a job does to itself: it is told truly, and nobody else is the worse for it."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .daemon import Daemon, Gate, go_on
from .ledger import SOON_S


def test_job_that_never_lets_go_of_the_interpreter(stopped: Daemon, gate: Gate) -> None:
    """
    W9: a job that is deep in C code runs on without a sign of life, and its time limit ends it.
    """
    daemon = stopped.start(MCLI_GRACE="0.2")
    job_id = daemon.submit("brief", gate.path, "--linger", "0", env=daemon.late())
    gate.arrival().tell("__import__('re').match('(a+)+$', 'a' * 60 + 'b')")
    go_on({daemon.halted()})
    job = daemon.final(job_id)
    assert (job["state"], job["reason"]) == ("failed", "timeout")


def test_job_that_asks_nobody(shared: Daemon, gate: Gate) -> None:
    """
    W10: a job without input that reads some is told that there is none, and does not hang.
    """
    job_id = shared.submit("obey", gate.path)
    gate.arrival().tell("input()")
    job = shared.final(job_id)
    assert (job["state"], job["exit_code"]) == ("failed", 1)
    assert "Aborted!" in shared.output(job_id)  # as Click puts it


HOSTILE = """
import resource
os.chdir('/')
os.umask(0o777)
os.environ.clear()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.path.clear()
json.dumps = None
os.closerange(3, 400)
os._exit(3)
"""
LOOK = (
    "print(os.getcwd(), oct(os.umask(0o22)), sorted(os.environ.items() - {('MCLI_JOB_ID', "
    "os.environ['MCLI_JOB_ID'])}), open('/proc/self/limits').read(), sys.path, "
    "signal.getsignal(signal.SIGTERM), sorted(os.listdir('/proc/self/fd')), json.dumps({}))"
)


def test_hostile_job_leaves_the_next_alone(shared: Daemon, gate: Gate) -> None:
    """
    W11: what a job does to its directory, mask, environment, limits, signals, modules and
    descriptors is gone with it: the next one of the same worker finds what the first found.
    """
    seen, parents = [], []
    for _ in range(2):
        job_id = shared.submit("obey", gate.path)
        inside = gate.arrival()
        inside.do(LOOK)
        inside.leave()
        shared.final(job_id)
        seen.append(shared.output(job_id))
        parents.append(inside.ppid)
        hostile = shared.submit("obey", gate.path)
        gate.arrival().tell(HOSTILE)
        assert shared.final(hostile)["exit_code"] == 3
    assert seen[0] == seen[1]
    assert parents[0] == parents[1]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("type('E', (Exception,), {'__str__': lambda self: 1 / 0})()", "<exception str() failed>"),
        ("ValueError('x' * 1000000)", "x" * 1000),
        (r"ValueError('\udce4 \x00')", "ValueError"),
        ("type('E', (Exception,), {'__reduce__': lambda self: 1 / 0})('odd')", "odd"),
    ],
)
def test_exception_that_is_odd(shared: Daemon, gate: Gate, raised: str, told: str) -> None:
    """
    W13: whatever leaves the command is told as text, and never as too much of it.
    """
    job_id = shared.submit("obey", gate.path)
    gate.arrival().tell(f"raise {raised}")
    job = shared.final(job_id)
    assert (job["state"], job["reason"]) == ("failed", "exception")
    assert told in job["error"]
    assert len(job["error"]) <= 1 << 16


def test_lines_before_a_kill_are_kept(shared: Daemon, gate: Gate) -> None:
    """
    W14: each line that a detached job has printed is kept, though it is killed without warning.
    """
    job_id = shared.submit("obey", gate.path)
    gate.arrival().tell("[print(n) for n in range(100)]; os.kill(os.getpid(), signal.SIGKILL)")
    assert shared.final(job_id)["signal"] == signal.SIGKILL
    assert shared.output(job_id).split() == [str(number) for number in range(100)]


def test_child_in_advance_has_nothing_of_its_worker(shared: Daemon, gate: Gate) -> None:
    """
    A child that waits for its job holds one socket, and nothing that its worker has open: no
    other job's pipes, whose readers would wait for an end that never comes.
    """
    shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("pass")
    children: list[str] = []
    while len(children) < 2:  # it is forked when nobody waits
        children = Path(f"/proc/{inside.ppid}/task/{inside.ppid}/children").read_text().split()
    (waiting,) = (pid for pid in children if int(pid) != inside.pid)
    held = [""] * 9
    deadline = time.monotonic() + SOON_S
    while len(held) > 4 and time.monotonic() < deadline:  # it closes them as its first act
        with suppress(FileNotFoundError):
            held = [os.readlink(path) for path in Path(f"/proc/{waiting}/fd").iterdir()]
    assert len([path for path in held if path.startswith("socket:")]) == 1, held
    assert [path for path in held if "mcli.db" in path or path.endswith(".lock")] == []
    assert len(held) <= 4, held
    inside.leave()
