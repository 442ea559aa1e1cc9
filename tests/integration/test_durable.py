"""What is on the disk before anybody is told: seen in the calls that a process makes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = "trace=fsync,fdatasync,write,pwrite64,link,rename"

STORE = """
from mcli import queue
from mcli.ids import new_id
from mcli.store.store import Store
store = Store.open(HOME + "/mcli.db")
def submit():
    store.write(queue.submit, now=1.0, job_id=new_id(), name="n", app="a", command=None, argv=[],
                cwd="/", invocation=b"{}", timeout_s=None).result()
submit()  # the first makes the log, which is synced in any case
told(b"begin")
submit()
told(b"end")
os._exit(0)
"""
ARBITER = """
from mcli.ids import new_id
from mcli.store import arbiter, database
database.prepare(HOME + "/mcli.db")
daemon = database.writing(HOME + "/mcli.db").connect()  # keeps the log in its place
def settle():
    arbiter.settle(HOME + "/mcli.db", new_id(), name="n", app="a", argv=[], cwd="/", now=1.0)
settle()
told(b"begin")
settle()
told(b"end")
os._exit(0)
"""
TICKET = """
from mcli.ticket import identify, take
told(b"begin")
take(HOME, 1, identify(os.getpid()))
told(b"end")
"""
OUTCOME = """
from mcli.outcome import Outcome, write_outcome
told(b"begin")
write_outcome(HOME, 1, Outcome(exit_code=0))
told(b"end")
"""
HEAD = "import os, sys; HOME = sys.argv[1]\ndef told(what): os.write(1, what)\n"


def calls(program: str, folder: Path) -> list[str]:
    """The names of the calls that *program* makes between ``begin`` and ``end``."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    log = folder / "calls"
    words = ["strace", "-f", "-e", CALLS, "-o", str(log), sys.executable, "-c", HEAD + program]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*words, str(folder)], capture_output=True, text=True, env=env)
    if "ptrace" in done.stderr:
        pytest.skip("tracing is not allowed")
    assert (done.returncode, done.stdout) == (0, "beginend"), done
    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    first = next(n for n, line in enumerate(lines) if '"begin"' in line)
    last = next(n for n, line in enumerate(lines) if '"end"' in line)
    found = [line.partition("(")[0] for line in lines[first + 1 : last] if "resumed" not in line]
    return [name for name in found if name != "write"]


@pytest.mark.parametrize("program", [STORE, ARBITER], ids=["store", "arbiter"])
def test_commit_is_on_the_disk(tmp_path: Path, program: str) -> None:
    """Before anybody is told that a job is accepted, or taken, what says so is synced."""
    made = calls(program, tmp_path)
    assert "pwrite64" in made
    assert "fdatasync" in made[made.index("pwrite64") :]


def test_ticket_is_on_the_disk(tmp_path: Path) -> None:
    """Before any of the user's code runs, the directory knows of the ticket."""
    made = calls(TICKET, tmp_path)
    assert made[made.index("link") :] == ["link", "fsync"]


def test_outcome_is_on_the_disk(tmp_path: Path) -> None:
    """An outcome is synced before it gets its name: whole or not at all."""
    assert calls(OUTCOME, tmp_path) == ["fsync", "rename"]
