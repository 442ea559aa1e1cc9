"""
What a store that is locked, damaged, full, failing or old does to jobs: nothing that is not said.

Each test makes the fault itself: another process that writes, pages turned over, a file system
without room, system calls that fail, the copy of yesterday.
"""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from .daemon import DEADLINE_S, PROGRAMS, PUPPET, Daemon, Gate, ended, gone

SHOP = str(PROGRAMS / "shop.py")


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locked\n"
        yield
    finally:
        holder.communicate()


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def ask(daemon: Daemon, method: str, path: str, **options: object) -> requests.Response:
    """A request as any HTTP client makes it."""
    url = daemon.mcli("daemon", "status", "--json").stdout
    address = re.search(r'"address": "([^"]+)"', url)
    assert address is not None
    headers = {"Authorization": f"Bearer {Path(daemon.home.token).read_text().strip()}"}
    return requests.request(
        method, address[1] + path, headers=headers, timeout=DEADLINE_S, **options
    )  # type: ignore[arg-type]


def begun(daemon: Daemon) -> list[str]:
    """The job of each body that has begun; ``here`` for one in its caller's process."""
    return [start[0] for start in daemon.starts()]


def said(daemon: Daemon, words: str) -> bool:
    """Whether the log has a line with these words."""
    return words in Path(daemon.home.log).read_text()


# Locked -------------------------------------------------------------------------------------


def test_locked_store_takes_no_job(stopped: Daemon) -> None:
    """
    S1: while another process writes, a job is surely not accepted: a caller runs its body here,
    with one line that says why, a request is told ``accepted: false``. Nothing of it comes later.
    """
    daemon = stopped.start(f"--app={PUPPET}")
    job = {"app": "puppet", "command": "tell"}
    with locked(daemon.home.database):
        caller = daemon.begin_puppet("tell")
        answer = ask(daemon, "POST", "/v1/jobs", json=job)
        out, err = caller.communicate(timeout=DEADLINE_S)
    assert (answer.status_code, answer.json()["accepted"]) == (503, False)
    assert "locked" in answer.json()["detail"]
    assert (caller.returncode, out) == (0, "job None None\n")
    told = [line for line in err.splitlines() if line.startswith("mcli: ")]
    assert len(told) == 1
    assert told[0].endswith("database is locked; running here")
    assert begun(daemon) == ["here"]
    after = daemon.puppet("tell").stdout.split()[1]
    assert [job["id"] for job in daemon.jobs()] == [after]
    assert begun(daemon) == ["here", after]
