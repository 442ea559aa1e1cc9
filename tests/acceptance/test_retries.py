"""Attempts that fail and are followed by another; and those whose time is up."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .daemon import DEADLINE_S, Daemon, Gate, ended, go_on, halt, lines, readable

STUBBORN = str(Path(__file__).resolve().parents[1] / "programs" / "stubborn.py")


def begin(daemon: Daemon, *words: str, **options: Any) -> "subprocess.Popen[str]":
    return daemon.begin(sys.executable, STUBBORN, *words, **options)


def detach(daemon: Daemon, *words: str, **options: Any) -> str:
    done = daemon.run(sys.executable, STUBBORN, *words, "--detach", **options)
    return done.stdout.strip()


def told(daemon: Daemon, job_id: str) -> list[dict[str, Any]]:
    with daemon.client() as client:
        return client.attempts(job_id)


def waits(daemon: Daemon, client: "subprocess.Popen[str]") -> str:
    """The job of *client* once an attempt has failed and the next is far off."""
    assert client.stderr is not None
    assert readable(client.stderr.fileno())
    assert "trying again" in client.stderr.readline()
    job = daemon.job()
    assert (job["state"], job["pid"], job["exit_code"]) == ("scheduled", None, None)
    assert job["due_at"] is not None
    return str(job["id"])


def test_the_next_attempt_succeeds(shared: Daemon, gate: Gate) -> None:
    """Its caller sees both, is told between them, and ends as the last one does."""
    client = begin(shared, "again", gate.path)
    first = gate.arrival()
    first.do("print('one', flush=True)")
    first.tell("sys.exit(3)")
    assert lines(client, 1) == ["one\n"]
    second = gate.arrival()
    assert (second.job_id, second.attempt) == (first.job_id, "2")
    assert second.pid != first.pid
    second.do("print('two')")
    second.leave()
    out, err = client.communicate(timeout=DEADLINE_S)
    assert (client.returncode, out) == (0, "two\n")
    assert err.startswith("mcli: attempt 1 of 3 failed (exit code 3); trying again in 0.0 s\n")
    job = shared.job(first.job_id)
    assert (job["state"], job["attempt"], job["max_attempts"]) == ("succeeded", 2, 3)
    assert shared.output(first.job_id) == "one\ntwo\n"


def test_each_attempt_has_a_record(shared: Daemon, gate: Gate) -> None:
    """State, times and output of each; ``inspect`` shows them, ``logs --attempt`` its output."""
    job_id = detach(shared, "again", gate.path)
    for number, end in ((1, "sys.exit(4)"), (2, "os.kill(os.getpid(), 9)"), (3, "raise OSError")):
        inside = gate.arrival()
        inside.do(f"print('attempt', {number}, flush=True)")
        inside.tell(end)
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exception", 1)
    found = told(shared, job_id)
    assert [(each["attempt"], each["reason"], each["exit_code"]) for each in found] == [
        (1, "exit_nonzero", 4), (2, "signal", None), (3, "exception", 1),
    ]  # fmt: skip
    assert found[1]["signal"] == signal.SIGKILL
    times = [each[key] for each in found for key in ("started_at", "finished_at")]
    assert times == sorted(times)
    for number in (1, 2):
        printed = shared.mcli("logs", "--stdout", "--attempt", str(number), job_id).stdout
        assert printed == f"attempt {number}\n"
    assert "attempt 3\n" in shared.mcli("logs", "--attempt", "3", job_id).stdout
    assert "has no attempt 7; it has: 1, 2, 3" in shared.mcli(
        "logs", "--attempt", "7", job_id, code=2
    ).stderr  # fmt: skip
    table = shared.mcli("inspect", job_id).stdout.partition("ATTEMPT")[2].splitlines()[1:]
    assert [line.split()[:3] for line in table] == [
        ["1", "failed", "exit_nonzero"], ["2", "failed", "signal"], ["3", "failed", "exception"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "again"),
    [
        ("sys.exit(75)", True),
        ("raise ConnectionResetError", True),
        ("sys.exit(1)", False),
        ("raise ValueError", False),
        ("os.kill(os.getpid(), 9)", False),
    ],
)
def test_only_what_was_named_is_tried_again(
    shared: Daemon, gate: Gate, end: str, again: bool
) -> None:
    """Exit codes, and exceptions with those below them."""
    job_id = detach(shared, "picky", gate.path)
    gate.arrival().tell(end)
    if again:
        gate.arrival().leave()
    assert shared.final(job_id)["state"] == ("succeeded" if again else "failed")
    assert len(shared.starts()) == (2 if again else 1)


def test_a_job_that_waits_can_be_cancelled(shared: Daemon, gate: Gate) -> None:
    """At once, and its caller is told."""
    client = begin(shared, "slow", gate.path)
    gate.arrival().tell("sys.exit(3)")
    shared.mcli("cancel", waits(shared, client))
    client.communicate(timeout=DEADLINE_S)
    assert (client.returncode, shared.job()["state"]) == (143, "cancelled")


def test_ctrl_c_while_it_waits(shared: Daemon, gate: Gate) -> None:
    """Ends job and caller, as at any other time."""
    client = begin(shared, "slow", gate.path)
    gate.arrival().tell("sys.exit(3)")
    waits(shared, client)
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=DEADLINE_S)
    assert (client.returncode, shared.job()["state"]) == (-signal.SIGINT, "cancelled")


def test_what_was_asked_to_end_is_not_tried_again(shared: Daemon, gate: Gate) -> None:
    """However it ends."""
    job_id = detach(shared, "again", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))")
    shared.mcli("cancel", job_id)
    assert shared.final(job_id)["state"] == "cancelled"
    assert len(shared.starts()) == 1


def test_a_wait_survives_the_daemon(daemon: Daemon, gate: Gate) -> None:
    """The next one begins the attempt when its time has come."""
    client = begin(daemon, "again", gate.path)
    inside = gate.arrival()
    halt(daemon.pid)  # so that it waits for this one, and not the other way
    with ended(inside.pid):
        inside.tell("sys.exit(3)")
    daemon.kill9()
    daemon.start()
    second = gate.arrival()
    assert second.attempt == "2"
    second.do("print('two')")
    second.leave()
    assert client.communicate(timeout=DEADLINE_S)[0] == "two\n"
    assert client.returncode == 0
    assert [each["state"] for each in told(daemon, inside.job_id)] == ["failed", "succeeded"]


@pytest.mark.parametrize(("command", "attempts"), [("again", 1), ("risky", 2)])
def test_a_lost_job(daemon: Daemon, gate: Gate, command: str, attempts: int) -> None:
    """It may have run: it is tried again only if its author has said that it may be."""
    job_id = detach(daemon, command, gate.path)
    inside = gate.arrival()
    daemon.kill9()
    with ended(inside.pid):
        os.kill(inside.ppid, signal.SIGKILL)
        os.kill(inside.pid, signal.SIGKILL)
    daemon.start()
    if attempts == 2:
        gate.arrival().leave()
    job = daemon.final(job_id)
    assert job["state"] == ("succeeded" if attempts == 2 else "lost")
    assert len(daemon.starts()) == attempts
    assert told(daemon, job_id)[0]["state"] == "lost"


def test_input_from_a_file_is_read_again(shared: Daemon, tmp_path: Path) -> None:
    """From where it was when the command was called."""
    path = tmp_path / "input"
    path.write_text("first line\nrest\n")
    with path.open("rb", buffering=0) as file:
        file.seek(len("first line\n"))
        client = begin(shared, "reading", stdin=file.fileno())
        out, _ = client.communicate(timeout=DEADLINE_S)
    assert (client.returncode, out) == (0, "1 rest\n2 rest\n")


def test_input_from_a_pipe_is_not(shared: Daemon) -> None:
    """What was read is gone: half of the input would be a lie."""
    client = begin(shared, "reading", stdin=subprocess.PIPE)
    out, err = client.communicate("all\n", timeout=DEADLINE_S)
    assert (client.returncode, out) == (3, "1 all\n")
    assert "trying again" not in err


def test_a_program_says_it_of_itself(shared: Daemon, gate: Gate) -> None:
    """Where nobody has come to the command before its job: with ``mcli run``."""
    client = shared.begin(
        sys.executable, "-m", "mcli", "run", sys.executable, STUBBORN, "again", gate.path
    )
    gate.arrival().tell("sys.exit(3)")
    gate.arrival().leave()
    _, err = client.communicate(timeout=DEADLINE_S)
    assert (client.returncode, shared.job()["max_attempts"]) == (0, 3)
    assert "attempt 1 of 3 failed" in err


def test_over_http(daemon: Daemon, gate: Gate) -> None:
    """As from a command line."""
    with daemon.client() as client:
        client.add_app(STUBBORN, python=sys.executable, cwd=os.path.dirname(STUBBORN))
        job = client.submit("stubborn", "again", {"gate": gate.path})
        gate.arrival().tell("sys.exit(3)")
        gate.arrival().leave()
        assert client.wait(job["id"], DEADLINE_S)["attempt"] == 2


# Time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["tidy", "raise", "finish"])
def test_a_body_is_told_that_its_time_is_up(shared: Daemon, gate: Gate, way: str) -> None:
    """By an exception, so that it can tidy up, or even finish."""
    client = begin(shared, "timed", way, gate.path, env=shared.late())
    gate.arrival()
    go_on({shared.halted()})
    out, err = client.communicate(timeout=DEADLINE_S)
    job = shared.job()
    assert out == "tidied\n"
    if way == "finish":
        assert (client.returncode, job["state"], job["result"]) == (0, "succeeded", "in time")
    else:
        assert (client.returncode, job["state"], job["reason"]) == (124, "failed", "timeout")
        assert "was ended after its timeout of 0.2 s" in err
    assert "Traceback" not in err
    where = "in timed\n" in (job["error"] or "") and "JobTimeout: " in job["error"]
    assert where is (way == "raise")


def test_a_body_that_does_not_listen_is_killed(stopped: Daemon, gate: Gate) -> None:
    """After the grace."""
    stopped.start(MCLI_GRACE="0.1")
    client = begin(stopped, "timed", "deaf", gate.path, env=stopped.late())
    gate.arrival()
    go_on({stopped.halted()})
    client.communicate(timeout=DEADLINE_S)
    job = stopped.job()
    assert (client.returncode, job["reason"], job["signal"]) == (124, "timeout", signal.SIGKILL)


def test_cancelling_is_no_timeout(shared: Daemon, gate: Gate) -> None:
    """A command with a timeout ends of SIGTERM as one without does."""
    job_id = detach(shared, "lasting", gate.path)
    gate.arrival()
    shared.mcli("cancel", job_id)
    job = shared.final(job_id)
    assert (job["state"], job["signal"]) == ("cancelled", signal.SIGTERM)
    assert shared.output(job_id) == ""


def test_a_child_of_a_timed_body_ends_of_sigterm(shared: Daemon, gate: Gate) -> None:
    """It has inherited the handler, and is not the body."""
    job_id = detach(shared, "lasting", gate.path)
    inside = gate.arrival()
    inside.do("here, there = os.pipe()")
    inside.do("child = os.fork() or (os.write(there, b'x'), wait())")
    inside.do("os.read(here, 1)")  # Python forgets a signal that comes while it forks
    inside.do("os.kill(child, signal.SIGTERM)")
    inside.do("assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
