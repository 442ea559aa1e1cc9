"""
What nobody would do on purpose: odd results, numbers, files and moments. The job ends as it has
ended, and the daemon and its verbs go on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from .daemon import DEADLINE_S, PUPPET, Daemon, Gate, ended, until

PROGRAM = """
import collections, os, sys
import click, mcli

class Own(list):
    def __init__(self, one, two):
        super().__init__([one, two])

def nest(depth):
    return [nest(depth - 1)] if depth else []

@click.command()
@mcli.background(retries=2, retry_delay=0)
def main():
    print("ran", flush=True)
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(5000)
    {body}

main()
"""


def program(daemon: Daemon, body: str) -> str:
    """A script whose body is that."""
    path = daemon.cwd / "odd.py"
    path.write_text(PROGRAM.replace("{body}", body))
    return str(path)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("collections.Counter('aab')", {"a": 2, "b": 1}),
        ("collections.defaultdict(int, a=1)", {"a": 1}),
        ("Own(1, 2)", [1, 2]),
        ("nest(99)", None),
        ("nest(480)", "not kept"),
        ("nest(2000)", "not kept"),
        ("10**5000", "not kept"),
        ("['[' * 200, 10**4000]", None),
    ],
)
def test_a_result_is_kept_as_anybody_can_read_it(shared: Daemon, value: str, kept: object) -> None:
    """
    W12: whatever a body returns, it has succeeded, is not run again, and can be listed.
    """
    done = shared.run(sys.executable, program(shared, f"return {value}"))
    assert (done.stdout, done.stderr) == ("ran\n", "")
    (job,) = shared.jobs()
    assert (job["state"], job["exit_code"], job["attempt"]) == ("succeeded", 0, 1)
    if kept == "not kept":
        assert job["result"]["truncated"] is False
    elif kept is not None:
        assert job["result"] == kept
    shared.mcli("ps", "-a")
    shared.mcli("inspect", job["id"])


def test_leaving_without_a_word_is_not_tried_again(shared: Daemon) -> None:
    """
    W4: it may have done all its work.
    """
    done = shared.run(sys.executable, program(shared, "os._exit(0)"))
    assert (done.stdout, shared.job()["reason"], shared.job()["attempt"]) == (
        *("ran\n", "no_outcome"),
        1,
    )


@pytest.mark.parametrize("code", ["10**30", "-(10**30)", "2**63 - 1", "-3"])
def test_exit_codes_that_are_too_large(shared: Daemon, code: str) -> None:
    """
    W5: as in a run here.
    """
    path = program(shared, f"sys.exit({code})")
    text = Path(path).read_text().replace("retries=2, retry_delay=0", "")
    Path(path).write_text(text)
    here = shared.run(sys.executable, path, code=None, env={"MCLI_BACKGROUND_ENABLED": "false"})
    routed = shared.run(sys.executable, path, code=None)
    assert (routed.returncode, shared.job()["exit_code"]) == (here.returncode,) * 2
    assert here.returncode != 0


def test_a_timeout_of_a_month(shared: Daemon) -> None:
    """
    Its worker waits for it in parts: no call of the system's can be told to wait for so long.
    """
    started = shared.mcli("run", "--timeout", "30d", "--", "sh", "-c", "sleep 0.3; echo ran")
    assert started.stdout == "ran\n"
    first = shared.job()["worker_pid"]
    shared.mcli("run", "--timeout", "30d", "--", "sh", "-c", "sleep 0.3")
    assert shared.job()["worker_pid"] == first
    assert "Traceback" not in Path(shared.home.log).read_text()


def test_a_program_whose_path_is_no_text(shared: Daemon) -> None:
    """
    ``mcli daemon status`` spells it as far as it can.
    """
    folder = os.fsencode(shared.cwd) + b"/k\xff"
    os.mkdir(folder)
    path = os.fsdecode(folder + b"/odd.py")
    shutil.copy(program(shared, "return 1"), path)
    assert shared.run(sys.executable, path).stdout == "ran\n"
    assert "k\\udcff" in shared.mcli("daemon", "status").stdout


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, "FileNotFoundError: [Errno 2] No such file"), ("def (", "SyntaxError: invalid syntax")],
)
def test_a_program_that_is_gone_when_it_runs_again(
    shared: Daemon, text: str | None, error: str
) -> None:
    """
    Z6: the job fails with what Python says of it.
    """
    path = Path(program(shared, "return 1"))
    shared.run(sys.executable, str(path))
    path.unlink()
    if text is not None:
        path.write_text(text)
    job_id = shared.mcli("rerun", "-").stdout.strip()
    job = shared.final(job_id)
    assert job["state"] == "failed"
    assert error in shared.output(job_id)


@pytest.mark.parametrize(
    "text", ["[]", '{"exit_code": 1' + "0" * 5000 + "}", '{"exit_code": [', "\xff"]
)
def test_an_outcome_that_nobody_can_read(daemon: Daemon, gate: Gate, text: str) -> None:
    """
    S2: of one job; it is lost, and the next daemon begins all the same.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    pid = daemon.pid
    with ended(pid), ended(inside.ppid), ended(inside.pid):
        for each in (pid, inside.ppid, inside.pid):
            os.kill(each, signal.SIGKILL)
    Path(daemon.home.job(job_id), "1.outcome").write_bytes(text.encode("latin-1"))
    daemon.start()
    assert daemon.final(job_id)["state"] == "lost"
    assert daemon.puppet("tell").stdout.startswith("job 0")


def test_ctrl_z_before_there_is_a_process(stopped: Daemon, gate: Gate) -> None:
    """
    The shell has its prompt back while the job waits for its turn, and ``fg`` waits on.
    """
    stopped.start(MCLI_WORKERS="1")
    stopped.submit("obey", gate.path)
    first = gate.arrival()
    shell = ["-c", f"set -m; {sys.executable} {PUPPET} tell; echo stopped; fg"]
    environment = {**stopped.env, "TERM": "xterm"}
    with pexpect.spawn("bash", shell, env=environment, timeout=DEADLINE_S) as caller:
        until(lambda: [job["state"] for job in stopped.jobs()] == ["queued", "running"])
        caller.send("\x1a")
        caller.expect_exact("stopped")
        first.leave()
        caller.expect_exact("aside")
        caller.expect(pexpect.EOF)
    assert caller.exitstatus == 0


def test_stop_while_another_stop_waits_for_jobs(stopped: Daemon, gate: Gate) -> None:
    """
    D10: both say that it has stopped; the second one has not waited for the jobs.
    """
    stopped.start(MCLI_GRACE="60")
    stopped.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGTERM, lambda *_: os.write(3, b''))")
    words = [sys.executable, "-m", "mcli", "daemon", "stop"]
    pid = stopped.pid
    first = stopped.begin(*words, "--kill-jobs", env={"MCLI_GRACE": "60"})
    until(lambda: stopped.jobs()[0]["state"] == "stopping")
    stopped.run(*words)
    out, err = first.communicate(timeout=DEADLINE_S)
    assert (first.returncode, out, err) == (0, f"mcli daemon stopped (pid {pid})\n", "")


def test_a_directory_that_is_gone(shared: Daemon) -> None:
    """
    Verbs that need one say so.
    """
    folder = shared.cwd / "gone"
    for words in (["run", "--", "pwd"], ["verify", "--", "true"], ["apps", "add", "x.py"]):
        folder.mkdir()
        script = 'rmdir "$PWD"; exec "$@"'
        command = ["sh", "-c", script, "sh", sys.executable, "-m", "mcli", *words]
        done = subprocess.run(
            command, cwd=folder, env=shared.env, capture_output=True, text=True, check=False
        )
        said = "mcli: the current directory has been removed; go to another one\n"
        assert (done.returncode, done.stderr) == (125, said)


@pytest.mark.parametrize(
    "words",
    [
        ("clean", "--older", "9999999d"),
        ("cleanup", "--older-than", "800000d"),
        ("cleanup", "--stale-hours", "inf"),
        ("cleanup", "--stale-hours", "nan"),
        ("run", "--retries", "9223372036854775807", "--", "true"),
        ("run", "--timeout", "99999999d", "--", "true"),
    ],
)
def test_numbers_that_are_too_large(shared: Daemon, words: tuple[str, ...]) -> None:
    """
    Wrong usage, told as such; the daemon does not hear of it.
    """
    done = shared.mcli(*words, code=2)
    assert "Error: Invalid value for" in done.stderr
    assert json.loads(shared.mcli("ps", "-a", "--json").stdout) == []
