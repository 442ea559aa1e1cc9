"""Keeping it tidy against a real daemon: cleanup, rm, clean, and what goes by itself."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcli import frames, queue
from mcli.daemon import removal
from mcli.errors import UnknownJob
from mcli.ids import new_id
from mcli.output import Log
from mcli.store.store import Store
from mcli.stream import Stream
from mcli.version import PROTOCOL

from .daemon import Daemon, Gate, halt, until

DAY = 86400.0

TAKEN = """
import sys, time
from mcli.store.arbiter import settle
settle(sys.argv[1], sys.argv[2], name="mine", app="mine.py", argv=["go"], cwd="/", now=time.time())
print(flush=True)
sys.stdin.read()
"""
"""A caller that runs the job itself."""


def cleanup(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    """The runs that it tells of."""
    told = json.loads(daemon.mcli("cleanup", "-o", "json", *words).stdout)
    assert told["dry_run"] is ("--no-dry-run" not in words)
    found: list[dict[str, Any]] = told["runs"]
    return found


# Runs ---------------------------------------------------------------------------------------


def test_a_run_that_lives_is_only_listed(shared: Daemon, gate: Gate) -> None:
    """
    With its start, its last sign of life and how much it has printed; and it runs on.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('so far', flush=True)")
    until(lambda: shared.output(job_id) == "so far\n")
    (run,) = cleanup(shared, "--no-dry-run")
    assert (run["job"]["id"], run["action"], run["alive"]) == (job_id, "keep", True)
    assert run["output_bytes"] > len("so far\n")
    assert run["job"]["started_at"] <= run["last_sign_at"]
    assert shared.job(job_id)["state"] == "running"
    inside.do("pass")
    assert cleanup(shared, "--stale-hours", "1") == []


def test_a_run_without_a_sign_of_life(daemon: Daemon, gate: Gate) -> None:
    """
    With --stale-hours only those that have neither begun nor printed anything for so long.
    """
    silent, lively = (daemon.submit("obey", gate.path) for _ in range(2))
    for inside in (gate.arrival(), gate.arrival()):
        inside.do("print('so far', flush=True)")
        until(partial(daemon.output, inside.job_id))
    ago = time.time() - 2 * 3600
    os.utime(Path(daemon.home.job(silent), "output.log"), (ago, ago))
    with closing(sqlite3.connect(daemon.home.database)) as store, store:
        store.execute("UPDATE jobs SET created_at = ?, queued_at = ?, started_at = ?", [ago] * 3)
    (run,) = cleanup(daemon, "--stale-hours", "1")
    assert (run["job"]["id"], run["action"]) == (silent, "keep")
    assert {run["job"]["id"] for run in cleanup(daemon)} == {silent, lively}
    assert cleanup(daemon, "--stale-hours", "3") == []


def test_table_has_what_people_need(shared: Daemon, gate: Gate) -> None:
    """
    Id, what would be done, start, last sign, progress and command; nothing to add when all live.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    done = shared.mcli("cleanup")
    titles, row = done.stdout.splitlines()
    assert titles.split() == ["JOB", "ACTION", "STARTED", "LAST", "SIGN", "PROGRESS", "COMMAND"]
    assert row.startswith(f"{job_id[:13]}  keep ")
    assert "puppet.py obey" in row
    assert " 0 B " in row
    assert done.stderr == ""
    inside.leave()


def test_a_run_whose_caller_is_gone(stopped: Daemon) -> None:
    """
    Taken by a caller that was killed: said at first, then ended as lost with its time.
    """
    daemon = stopped.start(MCLI_WORKER_CHECK_INTERVAL="3600")  # or it would end it by itself
    job_id = new_id()
    words = [sys.executable, "-c", TAKEN, daemon.home.database, job_id]
    with subprocess.Popen(
        words, env=daemon.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"\n"
        assert [run["action"] for run in cleanup(daemon, "--no-dry-run")] == ["keep"]
        caller.kill()
    (run,) = cleanup(daemon)
    assert (run["job"]["id"], run["action"], run["alive"]) == (job_id, "lost", False)
    done = daemon.mcli("cleanup")
    assert done.stderr == "mcli: nothing was changed; to do the 1 of them, add --no-dry-run\n"
    assert daemon.job(job_id)["state"] == "running"
    (run,) = cleanup(daemon, "--no-dry-run")
    assert (run["action"], run["job"]["state"]) == ("lost", "lost")
    job = daemon.job(job_id)
    assert (job["state"], job["reason"]) == ("lost", "client_gone")
    assert job["finished_at"]
    assert cleanup(daemon) == []


def test_a_run_whose_process_is_gone(daemon: Daemon, gate: Gate) -> None:
    """
    Its worker is held up and cannot tell: that is ended first, and how its job ended is told.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    halt(inside.ppid)
    os.kill(inside.pid, signal.SIGKILL)
    assert inside.gone()
    (run,) = cleanup(daemon, "--no-dry-run")
    assert (run["action"], run["job"]["state"], run["job"]["signal"]) == ("failed", "failed", 9)
    assert run["job"]["finished_at"]
    assert daemon.job(job_id) == run["job"]


def test_older_than_removes_what_has_ended(shared: Daemon, gate: Gate) -> None:
    """
    Only with --no-dry-run, only what is that old, and never what lives.
    """
    old = shared.submit("tell")
    shared.final(old)
    live = shared.submit("obey", gate.path)
    gate.arrival()
    done = shared.mcli("cleanup", "--older-than", "0s")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(old[:13])]
    assert row.split()[1] == "remove"
    assert "succeeded" in row
    assert "to do the 1 of them" in done.stderr
    assert {job["id"] for job in shared.jobs()} == {old, live}
    shared.mcli("cleanup", "--older-than", "1h", "--no-dry-run")
    assert {job["id"] for job in shared.jobs()} == {old, live}
    told = json.loads(shared.mcli("cleanup", "--older-than", "0s", "--no-dry-run", "--json").stdout)
    assert [job["id"] for job in told["removed"]] == [old]
    assert [job["id"] for job in shared.jobs()] == [live]


@pytest.mark.parametrize("age", ["7", "soon", ""])
def test_what_is_no_age(shared: Daemon, age: str) -> None:
    """
    Exit 2, and what would be right.
    """
    done = shared.mcli("cleanup", "--older-than", age, code=2)
    assert f"{age!r} must be a time, such as 90s, 12h or 7d" in done.stderr


def test_cleanup_without_a_daemon(stopped: Daemon) -> None:
    """
    It says what the next start will do by itself.
    """
    done = stopped.mcli("cleanup", code=125)
    assert done.stderr.count("\n") == 1
    assert "mcli daemon start ends as lost each run whose process is gone" in done.stderr


# rm and clean -------------------------------------------------------------------------------


def test_rm_removes_what_has_ended(shared: Daemon, gate: Gate) -> None:
    """
    By id, its beginning or -; it goes on after one that lives, and exits 2 for that.
    """
    live = shared.submit("obey", gate.path)
    gate.arrival()
    first, second = shared.submit("tell"), shared.submit("tell")
    shared.final(first), shared.final(second)
    done = shared.mcli("rm", live, "-", first[:35], code=2)
    assert done.stdout == f"{second}\n{first}\n"
    assert done.stderr.count("\n") == 1
    assert "only an ended job can be removed" in done.stderr
    assert [job["id"] for job in shared.jobs()] == [live]
    assert os.listdir(shared.home.jobs) == [live]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say which: --state, --older, or --all --yes"),
        (["--yes"], "say which: --state, --older, or --all --yes"),
        (["--all"], "--all removes every job that has ended; if so, add --yes"),
        (["--all", "--yes", "--state", "failed"], "--all goes without --state and --older"),
        (["--state", "running"], "'running' is not one of"),
        (["--older", "7"], "'7' must be a time, such as"),
    ],
)
def test_clean_never_guesses(shared: Daemon, words: list[str], told: str) -> None:
    """
    Nothing is removed unless it was said what; exit 2.
    """
    job_id = shared.submit("tell")
    shared.final(job_id)
    assert told in shared.mcli("clean", *words, code=2).stderr
    assert [job["id"] for job in shared.jobs()] == [job_id]


def test_clean_by_state_and_age(shared: Daemon, gate: Gate) -> None:
    """
    What fits goes, and its id is printed; the rest stays, and so does what lives.
    """
    good, bad = shared.submit("tell"), shared.mcli("run", "-d", "--", "false").stdout.strip()
    shared.final(good), shared.final(bad)
    live = shared.submit("obey", gate.path)
    gate.arrival()
    assert shared.mcli("clean", "--older", "1h").stdout == ""
    assert shared.mcli("clean", "--state", "cancelled", "--state", "lost").stdout == ""
    assert shared.mcli("clean", "--state", "failed", "--older", "0s").stdout == f"{bad}\n"
    assert {job["id"] for job in shared.jobs()} == {good, live}
    done = shared.mcli("clean", "--all", "--yes")
    assert (done.stdout, done.stderr) == (f"{good}\n", "mcli: 1 removed\n")
    assert [job["id"] for job in shared.jobs()] == [live]


# By itself ----------------------------------------------------------------------------------


def _accept(conn: Any, /, **columns: Any) -> None:
    queue.submit(conn, **columns)


def ended(daemon: Daemon, days: float, printed: bytes = b"x") -> str:
    """A job of a daemon before this one, that ended so long ago."""
    daemon.home.create()
    job_id, at = new_id(), time.time() - days * DAY
    store = Store.open(daemon.home.database)
    given: dict[str, Any] = {"name": "x", "app": "x.py", "command": None, "argv": [], "cwd": "/"}
    store.write(_accept, now=at, job_id=job_id, invocation=b"", timeout_s=None, **given).result()
    store.write(queue.request_stop, now=at, job_id=job_id).result()
    store.close()
    os.mkdir(daemon.home.job(job_id))
    log = Log(os.path.join(daemon.home.job(job_id), "output.log"))
    for _ in range(max(1, len(printed) >> 20)):
        log.append(Stream.STDOUT, printed[: 1 << 20])
    log.close()
    return job_id


def until_gone(daemon: Daemon, job_id: str) -> None:
    """The daemon is asked until it does not know the job any more."""
    with daemon.client() as client, suppress(UnknownJob):
        until(lambda: not client.job(job_id))


def test_old_jobs_go_by_themselves(stopped: Daemon) -> None:
    """
    At a start: what is too old, and what a daemon was killed in the middle of removing.
    """
    old, young, half, other = (ended(stopped, days) for days in (8, 6, 1, 1))
    removal.put_away(stopped.home.jobs, [half, other])
    store = Store.open(stopped.home.database)
    store.write(queue.forget, other).result()
    store.close()
    stopped.start()
    until_gone(stopped, old)
    assert {job["id"] for job in stopped.jobs()} == {young, half}
    assert stopped.output(half) == "x"
    stopped.stop()  # so that what was being erased is
    assert set(os.listdir(stopped.home.jobs)) == {young, half}


@pytest.mark.parametrize("way", ["http", "attach"])
def test_not_from_under_a_reader(stopped: Daemon, way: str) -> None:
    """
    A job that ends is the occasion for others to go, the first that ended first; but for one
    that is read, however slowly. When its reader has gone it goes as well.
    """
    read, other = ended(stopped, 3, b"x" * (32 << 20)), ended(stopped, 2)
    stopped.start(MCLI_KEEP_JOBS="2", MCLI_KEEP_INTERVAL="0.01")
    with _stalled(stopped, read) if way == "http" else _attached(stopped, read):
        latest = [stopped.submit("tell") for _ in range(2)]
        until_gone(stopped, other)
        assert stopped.job(read)["id"] == read
        assert read in os.listdir(stopped.home.jobs)
    latest.append(stopped.submit("tell"))
    until_gone(stopped, read)
    assert {job["id"] for job in stopped.jobs()} == set(latest)  # too many, and too recent


def _port(daemon: Daemon) -> tuple[str, int]:
    told = json.loads(Path(daemon.home.address).read_text())
    host, _, port = told["url"].rpartition("//")[2].rpartition(":")
    return host, int(port)


def _stalled(daemon: Daemon, job_id: str) -> socket.socket:
    """Somebody who has asked for the output, and reads none of it."""
    reader = socket.create_connection(_port(daemon))
    token = Path(daemon.home.token).read_text().strip()
    host = "{}:{}".format(*_port(daemon))
    head = f"GET /v1/jobs/{job_id}/output HTTP/1.1\r\nHost: {host}\r\n"
    reader.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def _attached(daemon: Daemon, job_id: str) -> socket.socket:
    """The same as a caller."""
    reader = socket.socket(socket.AF_UNIX)
    reader.connect(daemon.home.attach_socket)
    asked = {"protocol": PROTOCOL, "id": job_id, "offset": 0}
    reader.sendall(frames.encode(frames.ATTACH, asked))
    assert reader.recv(1)
    return reader
