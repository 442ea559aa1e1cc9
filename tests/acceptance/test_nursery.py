"""The daemons of the tests are forked: they are as those that are executed."""

import os
import re
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from .daemon import DEADLINE_S, INTERPRETER, Daemon, files, the_nursery, until, without_mcli
from .nursery import Nursery

ROWS: Final = ("Umask", "NoNewPrivs", "SigBlk", "SigIgn", "SigCgt", "CapEff", "Seccomp")


def loaded(daemon: Daemon) -> None:
    """Wait until it has loaded all that it loads after its start."""
    until(lambda: "daemon.loaded" in Path(daemon.home.log).read_text())


def seen(daemon: Daemon) -> dict[str, Any]:
    """What the kernel tells of the daemon's process, but its command line and its variables."""
    pid = daemon.pid
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rows = dict(line.split(":", 1) for line in status)
    return {
        "status": {row: rows[row] for row in ROWS},
        "limits": Path(f"/proc/{pid}/limits").read_text(),
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "0, 1, 2": [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)],
        "files": {re.sub(r"\d+", "N", name) for name in files(pid)},
        "leads": os.getsid(pid) == os.getpgid(pid) == pid,
        "shares": {name for name in files(pid) & files(nursery_pid()) if "[" in name[4:]}
        - {"anon_inode:[eventpoll]", "anon_inode:[pidfd]"},
    }


def nursery_pid() -> int:
    return the_nursery()._process.pid


def test_forked_is_as_executed(tmp_path: Path) -> None:
    """
    Signals, limits, files, session and directory; and how it has ended when it was stopped and
    when it was killed. No socket or pipe of the nursery is open in it.
    """
    found = []
    for executed in (True, False):
        folder = tmp_path / "here"
        folder.mkdir()
        daemon = Daemon(folder, CLUE="kept")
        daemon.executed = executed
        try:
            daemon.start(MORE="too")
            loaded(daemon)
            daemon.puppet("tell")
            first = seen(daemon)
            daemon.stop()
            daemon.start()
            daemon.kill9()
            codes = [each.wait(DEADLINE_S) for each in daemon._daemons]
            found.append((first, codes))
        finally:
            daemon.close()
        folder.rename(tmp_path / f"executed-{executed}")
    for row in found[0][0]:
        assert found[0][0][row] == found[1][0][row]
    assert found[0][1] == found[1][1]
    assert found[0][0]["shares"] == set()
    assert found[0][1] == [0, -signal.SIGKILL]


def test_point_of_one_daemon_is_not_the_next_ones(stopped: Daemon) -> None:
    """What a daemon is told to fail at is told to no other, and variables are its own."""
    stopped.start(MCLI_FAILPOINT="recv:kill", MCLI_WORKERS="3")
    assert stopped.puppet("tell", code=None).returncode == 0  # nobody has it: it runs here
    assert stopped._daemons[-1].wait(DEADLINE_S) == -signal.SIGKILL
    stopped.start()
    stopped.puppet("tell")
    with stopped.client() as client:
        assert client.status()["limit"] != 3


def test_daemon_outlives_its_nursery(stopped: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the tests end in the middle of one, its daemon goes on, as one of their own would."""
    nursery = Nursery(without_mcli() | INTERPRETER)
    monkeypatch.setattr("acceptance.daemon.the_nursery", lambda: nursery)
    stopped.start()
    pid = stopped.pid
    assert pid == stopped._daemons[-1].pid
    nursery.close()
    stopped._daemons.clear()  # nobody will tell how it has ended
    assert stopped.puppet("tell").returncode == 0
    assert stopped.pid == pid
