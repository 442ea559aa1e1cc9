"""Signals to the daemon: what it does then, and what it leaves."""

import json
import os
import signal
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from mcli import frames
from mcli.ids import new_id
from mcli.store.database import BUSY_S
from mcli.version import PROTOCOL

from .daemon import DEADLINE_S, PUPPET, Daemon, Gate, ended, readable, until

KEPT = {"ballast", "daemon.lock", "daemon.log", "jobs", "mcli.db", "token", "webhook-secret"}
"""What is in a state directory whose daemon has stopped."""


def left(daemon: Daemon) -> set[str]:
    return set(os.listdir(daemon.home.root))


def code(daemon: Daemon) -> int:
    """The exit code of its process."""
    return daemon._daemons[-1].wait(DEADLINE_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_leaves_nothing_behind(daemon: Daemon, number: int) -> None:
    """
    No socket, no address, no temporary file, no log of the store; exit 0.
    """
    daemon.puppet("tell")
    with ended(daemon.pid):
        os.kill(daemon.pid, number)
    assert code(daemon) == 0
    assert left(daemon) == KEPT
    assert daemon.alone()


def test_quit_stops_now(daemon: Daemon, gate: Gate) -> None:
    """
    Nothing is in the next daemon's way, which takes over the job: the same process.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    with ended(daemon.pid):
        os.kill(daemon.pid, signal.SIGQUIT)
    assert code(daemon) == 1
    assert left(daemon) <= KEPT | {"mcli.db-wal", "mcli.db-shm"}
    daemon.start()
    assert daemon.job(job_id)["pid"] == inside.pid
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"


def test_second_time_is_now(daemon: Daemon) -> None:
    """
    A daemon that waits for its disk, as it stops, is ended by a second SIGTERM.
    """
    other = sqlite3.connect(daemon.home.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(DEADLINE_S)
        caller.connect(daemon.home.attach_socket)
        asked = {"protocol": PROTOCOL, "id": new_id()}
        caller.sendall(frames.encode(frames.CANCEL, asked) + frames.encode(frames.PING, asked))
        assert caller.recv(1)  # to the second: the first waits to be written
        pid = daemon.pid
        process = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        until_refused(daemon)
        os.kill(pid, signal.SIGTERM)
        assert readable(process, BUSY_S / 2), "it waits until the store gives up"
        os.close(process)
    other.close()
    assert code(daemon) == 1
    assert left(daemon) <= KEPT | {"mcli.db-wal", "mcli.db-shm"}


def test_stacks_are_told(stopped: Daemon) -> None:
    """
    SIGUSR1: what each thread does stands in the log, and the daemon goes on.
    """
    stopped.executed = True  # so that its main thread begins where a user's does
    daemon = stopped.start()
    os.kill(daemon.pid, signal.SIGUSR1)
    for words in ("_run_module_as_main", "run_forever", "store.py"):
        until_logged(daemon, words)
    assert daemon.puppet("tell").returncode == 0


def test_hangup_is_no_end(daemon: Daemon) -> None:
    """
    SIGHUP changes nothing; the log says how settings are read anew.
    """
    os.kill(daemon.pid, signal.SIGHUP)
    until_logged(daemon, "mcli daemon restart")
    assert daemon.puppet("tell").returncode == 0


def test_systemd_is_told(stopped: Daemon, tmp_path: Path) -> None:
    """
    READY=1 when it listens, STOPPING=1 when it stops; no worker is told of that socket.
    """
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(path)
        stopped.start("--app", PUPPET, NOTIFY_SOCKET=path)
        assert readable(told.fileno())
        assert told.recv(100) == b"READY=1"
        others = set(stopped.processes()) - {stopped.pid}
        assert others
        for pid in others:
            with suppress(FileNotFoundError, ProcessLookupError):
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        stopped.stop()
        assert told.recv(100) == b"STOPPING=1"


def log(daemon: Daemon) -> str:
    return Path(daemon.home.log).read_text()


def until_logged(daemon: Daemon, words: str) -> None:
    """Read its log until these words stand there."""
    until(lambda: words in log(daemon), instead=lambda: log(daemon))


def until_refused(daemon: Daemon) -> None:
    """Knock at its port until nobody listens there any more."""
    host, _, port = json.loads(Path(daemon.home.address).read_text())["url"][7:].partition(":")
    with suppress(ConnectionError):
        while True:
            socket.create_connection((host, int(port)), DEADLINE_S).close()
