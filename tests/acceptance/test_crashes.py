"""What a crash leaves true: of the daemon, a worker, a job or a caller, at each moment."""

import json
import os
import re
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pexpect
import pytest

from mcli import family, frames
from mcli.attach import Wire, attach_wire
from mcli.card import read_attempt
from mcli.ids import new_id
from mcli.invocation import App, Invocation
from mcli.pipe import is_read
from mcli.stream import Stream
from mcli.ticket import is_taken
from mcli.version import PROTOCOL

from .daemon import (
    DEADLINE_S,
    PROGRAMS,
    PROJECT,
    PUPPET,
    Daemon,
    Gate,
    ended,
    files,
    go_on,
    gone,
    halt,
    lines,
    until,
)

ATTACH = [sys.executable, "-m", "mcli", "attach"]

# The daemon is killed -----------------------------------------------------------------------


def test_daemon_killed_with_jobs(daemon: Daemon, gate: Gate) -> None:
    """
    Jobs outlive kill -9 of the daemon; the next adopts them: the same processes, output
    without a gap, true ends, nothing begun twice. Attached callers go on with the new daemon.
    """
    callers = [daemon.begin_puppet("obey", gate.path) for _ in range(3)]
    jobs = [gate.arrival() for _ in callers]
    for number, inside in enumerate(jobs):
        inside.do(f"print('{number} before')")
    daemon.kill9()
    for number, inside in enumerate(jobs):
        inside.do(f"print('{number} between')")
    daemon.start()
    adopted = {job["id"]: job["pid"] for job in daemon.jobs()}
    assert adopted == {inside.job_id: inside.pid for inside in jobs}
    for number, inside in enumerate(jobs):
        inside.do(f"print('{number} after')")
        inside.tell(f"sys.exit({number})")
    said = {}
    for caller in callers:
        out, err = caller.communicate(timeout=DEADLINE_S)
        assert err == ""
        said[caller.returncode] = out
    assert said == {n: f"{n} before\n{n} between\n{n} after\n" for n in range(3)}
    assert Counter(job["attempt"] for job in daemon.jobs()) == {1: 3}
    assert len(daemon.starts()) == 3


def test_end_that_was_told_to_a_dead_daemon(daemon: Daemon, gate: Gate) -> None:
    """
    A worker has told the end of a job to a daemon that did not live to hear it, and comes to the
    next one without that job: it has ended all the same, and the worker goes on with its others.
    """
    told, other = (daemon.submit("obey", gate.path) for _ in range(2))
    inside = {each.job_id: each for each in (gate.arrival(), gate.arrival())}
    worker = inside[told].ppid
    assert worker == inside[other].ppid
    pid = daemon.pid
    halt(pid)
    with ended(inside[told].pid):
        inside[told].leave()
    until(lambda: not Path(f"/proc/{inside[told].pid}").exists() and is_asleep(worker))
    with ended(pid):
        os.kill(pid, signal.SIGKILL)
    daemon.start()
    assert daemon.final(told)["state"] == "succeeded"
    assert "worker.silent" not in Path(daemon.home.log).read_text()
    assert (daemon.job(other)["state"], daemon.job(other)["worker_pid"]) == ("running", worker)
    inside[other].leave()
    assert daemon.final(other)["state"] == "succeeded"


def test_daemon_killed_and_not_started_again(daemon: Daemon, gate: Gate) -> None:
    """
    A caller waits for the next daemon as long as it is told to, then exits 75 with the id;
    the job runs on.
    """
    caller = daemon.begin_puppet("obey", gate.path, env={"MCLI_RECONNECT": "0.2"})
    inside = gate.arrival()
    daemon.kill9()
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 75
    assert err.count("\n") == 1
    assert inside.job_id in err
    inside.do("print('still here')")
    inside.leave()
    assert daemon.start().final(inside.job_id)["state"] == "succeeded"
    assert daemon.output(inside.job_id) == "still here\n"


def test_next_daemon_does_not_speak_with_the_caller(daemon: Daemon, gate: Gate) -> None:
    """
    A caller whose job runs on does not run it again, whatever the next daemon says to it.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    os.unlink(daemon.home.attach_socket)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(daemon.home.attach_socket)
        listening.listen()
        with listening.accept()[0] as wire:
            wire.recv(1 << 16)
            said = {"code": "protocol_mismatch", "message": "it speaks another protocol"}
            wire.sendall(frames.encode(frames.REFUSED, said))
        _, err = caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 75
    assert inside.job_id in err
    assert len(daemon.starts()) == 1


def test_job_ends_while_no_daemon_lives(daemon: Daemon, gate: Gate) -> None:
    """
    The next daemon finishes a job from what it left, with its true code.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    with ended(inside.pid):
        inside.tell("sys.exit(7)")
    job = daemon.start().final(job_id)
    assert (job["state"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)


@pytest.mark.parametrize("seen", [True, False])
def test_draft_of_a_ticket(daemon: Daemon, gate: Gate, seen: bool) -> None:
    """
    What a process has left that was killed while it took a ticket goes at the job's end, whether
    the daemon has seen that end or finds it when it starts.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    draft = Path(daemon.home.job(job_id), "1.start.4711")
    draft.touch()
    if not seen:
        daemon.kill9()
    with ended(inside.pid):
        inside.leave()
    if not seen:
        daemon.start()
    assert daemon.final(job_id)["state"] == "succeeded"
    until(lambda: not draft.exists())


def test_draft_of_a_ticket_and_a_daemon_that_is_killed(stopped: Daemon, gate: Gate) -> None:
    """
    It is gone before the end is committed: no daemon looks there afterwards.
    """
    daemon = stopped.start(MCLI_FAILPOINT="finished:kill")
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    draft = Path(daemon.home.job(job_id), "1.start.4711")
    draft.touch()
    with ended(daemon.pid):
        inside.leave()
    assert not draft.exists()
    assert daemon.start().final(job_id)["state"] == "succeeded"


def test_job_killed_while_no_daemon_lives(daemon: Daemon, gate: Gate) -> None:
    """
    Its worker has seen the signal, and the next daemon tells of it.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    with ended(inside.pid):
        os.kill(inside.pid, signal.SIGKILL)
    job = daemon.start().final(job_id)
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "signal", 9)


def test_worker_killed_before_it_is_heard_of(daemon: Daemon) -> None:
    """
    It has said that it is ready, and is dead when the daemon hears that: another begins the job.
    """
    caller = daemon.begin_puppet("tell", env={"MCLI_FAILPOINT": "connected:stop"})
    worker = daemon.halted()
    with daemon.client() as client:
        client.status()  # it has been round its loop, and taken the connection
    halt(daemon.pid)
    go_on({worker})
    until(lambda: is_asleep(worker))
    with ended(worker):
        os.kill(worker, signal.SIGKILL)
    until(lambda: daemon.let_on() or caller.poll() is not None)
    assert caller.returncode == 0
    assert len(daemon.starts()) == 1


def is_asleep(pid: int) -> bool:
    """Whether it waits for something to happen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_workers_of_a_dead_daemon_end(daemon: Daemon) -> None:
    """
    A worker with neither daemon nor job ends by itself.
    """
    daemon.puppet("tell")
    daemon.kill9()
    assert daemon.alone()


# Each point of a job's life -----------------------------------------------------------------

HERE, ONCE = "here", "once"


def test_submission_that_the_daemon_did_not_live_to_accept(stopped: Daemon) -> None:
    """
    ``submit`` says that it was not accepted, and no later daemon runs it: it is cancelled.
    """
    stopped.start(MCLI_FAILPOINT="pre-commit:kill")
    pid = stopped.pid
    shop = str(Path(PUPPET).with_name("shop.py"))
    caller = stopped.begin(sys.executable, shop, stdin=subprocess.PIPE)
    _, err = caller.communicate("answer = below.submit()", timeout=DEADLINE_S)
    assert gone(pid)
    assert "was not accepted, and not run; submit it again" in err
    stopped.start()
    (job,) = stopped.jobs()
    assert (job["state"], job["reason"], job["route"]) == ("cancelled", "client_gone", "local")


def test_submission_that_is_withdrawn_beside_the_store(stopped: Daemon) -> None:
    """
    The same if the store is locked when that is to be noted, and the program goes on to live.
    """
    stopped.start(MCLI_FAILPOINT="pre-commit:kill")
    shop = str(Path(PUPPET).with_name("shop.py"))
    armed = {"MCLI_FAILPOINT": "settled:stop"}
    caller = stopped.begin(sys.executable, shop, stdin=subprocess.PIPE, env=armed)
    assert caller.stdin is not None
    caller.stdin.write(
        "try:\n    below.submit()\nexcept mcli.errors.MCLIError as error:\n"
        "    print(type(error).__name__, flush=True)\n"
        "    __import__('signal').pause()\nanswer = None\n"
    )
    caller.stdin.close()
    caller.stdin = None
    assert stopped.halted() == caller.pid
    with closing(sqlite3.connect(stopped.home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        go_on({caller.pid})
        assert lines(caller, 1) == ["Refused\n"]
    (job,) = stopped.start().jobs()
    assert (job["state"], job["reason"], job["route"]) == ("cancelled", "client_gone", "local")
    assert caller.poll() is None


@pytest.mark.parametrize("words", [["tell", "--detach"], ["strict", "no-gate"], ["run"]])
def test_call_that_may_not_run_here(stopped: Daemon, words: list[str]) -> None:
    """
    The daemon dies before it has accepted a job that is not to run in its caller's process: it
    is not run there, nor by a later daemon, and says so.
    """
    stopped.start(MCLI_FAILPOINT="pre-commit:kill")
    pid = stopped.pid
    if words == ["run"]:
        done = stopped.mcli("run", "--", "sh", "-c", f"echo ran > {stopped.cwd}/ran", code=125)
    else:
        done = stopped.puppet(*words, code=125)
    assert gone(pid)
    assert re.fullmatch(
        r"mcli: job \S+ was not accepted, and not run; submit it again\n", done.stderr
    )
    assert not Path(stopped.cwd, "ran").exists()
    (job,) = stopped.start().jobs()
    assert (job["state"], job["reason"], job["route"]) == ("cancelled", "client_gone", "local")
    assert stopped.starts() == []


def test_daemon_that_has_died(daemon: Daemon) -> None:
    """
    A command that counts on it says that it runs here; one that was stopped is not missed.
    """
    daemon.kill9()
    said = "mcli: the daemon has died; start it with: mcli daemon start; running here\n"
    assert daemon.puppet("tell").stderr == said + "aside\n"
    assert daemon.start().puppet("tell").stderr == "aside\n"
    daemon.stop()
    assert daemon.puppet("tell").stderr == "aside\n"


@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("recv", HERE),
        ("pre-commit", HERE),
        ("post-commit", ONCE),
        ("claimed", ONCE),
        ("forked", ONCE),
        ("finished", ONCE),
    ],
)
def test_daemon_killed_at(stopped: Daemon, point: str, outcome: str) -> None:
    """
    Killed before it has accepted, the caller runs the body itself; after that the next daemon
    sees to it that it runs, or has run. Once, in each case, and the caller is told the truth.
    """
    stopped.start(MCLI_FAILPOINT=f"{point}:kill")
    pid = stopped.pid
    caller = stopped.begin_puppet("tell")
    assert gone(pid)
    stopped.start()
    out, err = caller.communicate(timeout=DEADLINE_S)
    said = "mcli: the daemon went away before it took the job; running here\n"
    assert (caller.returncode, err) == (0, (said if outcome == HERE else "") + "aside\n")
    assert len(stopped.starts()) == 1
    (job,) = stopped.jobs()
    assert job["state"] == "succeeded"
    if outcome == HERE:
        assert out == "job None None\n"
        assert job["route"] == "local"
    else:
        assert out == f"job {job['id']} {stopped.starts()[0][1]}\n"
        assert job["route"] == "daemon"


def test_worker_killed_once_its_job_has_begun(daemon: Daemon) -> None:
    """
    Whatever a job prints, somebody reads it, though its worker died when it had just begun.
    """
    job_id = daemon.submit("tell", env={"MCLI_FAILPOINT": "begun:kill"})
    job = daemon.final(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 1)
    assert daemon.output(job_id, "stdout") == f"job {job_id} 1\n"


@pytest.mark.parametrize("point", ["ordered", "forked", "shared", "received"])
def test_killed_before_it_begins_each_time(daemon: Daemon, point: str) -> None:
    """
    Each worker, or each process, dies when it is to begin the job: after twenty it has failed. A
    caller that may not run it instead says why, and where more is told.
    """
    done = daemon.puppet("strict", "-", env={"MCLI_FAILPOINT": f"{point}:kill"}, code=125)
    job = daemon.job()
    assert (job["state"], job["reason"]) == ("failed", "spawn_error")
    assert job["error"] == "its process, or its worker, dies before it begins, again and again"
    assert done.stderr == f"mcli: {job['error']}; see: mcli inspect {job['id']}\n"
    assert daemon.starts() == []


@pytest.mark.parametrize(("program", "code"), [("echo ran", 0), ("echo ran; exit 7", 7)])
def test_worker_of_a_program_killed(daemon: Daemon, program: str, code: int) -> None:
    """
    A program whose worker died ends as it ends, and is not tried again if that was well.
    """
    words = ["run", "--detach", "--retries", "1", "--", "sh", "-c", program]
    job_id = daemon.mcli(*words, env={"MCLI_FAILPOINT": "begun:kill"}).stdout.strip()
    job = daemon.final(job_id)
    assert (job["state"], job["exit_code"]) == ("failed" if code else "succeeded", code)
    assert daemon.output(job_id) == "ran\n" * job["attempt"]
    assert job["attempt"] == (2 if code else 1)


def test_program_and_worker_gone_at_once(daemon: Daemon, tmp_path: Path) -> None:
    """
    What a program came to is known, though its worker died before it and the daemon looked later.
    """
    print_it, end = tmp_path / "print", tmp_path / "end"
    for path in (print_it, end):
        os.mkfifo(path)
    program = f"read a < {print_it}; echo ran; read b < {end}; exit 7"
    job_id = daemon.mcli("run", "--detach", "--", "sh", "-c", program).stdout.strip()
    job = daemon.noted(job_id)
    halt(daemon.pid)
    print_it.write_text("\n")
    until(lambda: (Path(daemon.home.job(job_id)) / "output.log").stat().st_size)
    with ended(job["worker_pid"]):
        os.kill(job["worker_pid"], signal.SIGKILL)
    with ended(job["pid"]):
        end.write_text("\n")
    go_on({daemon.pid})
    job = daemon.final(job_id)
    assert (job["state"], job["exit_code"]) == ("failed", 7)
    assert daemon.output(job_id) == "ran\n"


def test_end_that_only_the_worker_has_seen(stopped: Daemon) -> None:
    """
    The next daemon waits for what it tells of a program, which has written nothing itself.
    """
    words = ["run", "--detach", "--", "sh", "-c", "echo ran; exit 7"]
    armed = {"MCLI_FAILPOINT": "reaped:stop"}
    job_id = stopped.start().mcli(*words, env=armed).stdout.strip()
    worker = stopped.halted()
    stopped.kill9()
    stopped.start()
    go_on({worker})
    job = stopped.final(job_id)
    assert (job["state"], job["exit_code"]) == ("failed", 7)
    assert stopped.output(job_id) == "ran\n"


def test_end_that_only_the_daemon_has_seen(stopped: Daemon) -> None:
    """
    It is written down before anything else: the next daemon knows what a program came to whose
    worker was dead.
    """
    stopped.start(MCLI_FAILPOINT="ended:kill")
    with ended(stopped.pid):
        again = ["--retries", "1", "--retry-on", "9", "--on-lost", "retry"]
        words = ["run", "--detach", *again, "--", "sh", "-c", "echo ran; exit 7"]
        job_id = stopped.mcli(*words, env={"MCLI_FAILPOINT": "begun:kill"}).stdout.strip()
    job = stopped.start().final(job_id)
    assert (job["state"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
    assert stopped.output(job_id) == "ran\n"
    assert stopped.drafts() == []


def test_attempt_that_was_taken_back_has_no_end(stopped: Daemon) -> None:
    """
    A process that comes for its ticket too late has not begun: its job begins with the next
    daemon, whatever became of that process.
    """
    armed = {"MCLI_FAILPOINT": "forked:stop,received:stop"}
    job_id = stopped.start().submit("tell", env=armed)
    worker = stopped.halted()
    stopped.kill9()
    with pytest.raises(AssertionError, match="it has not started"):
        stopped.start(MCLI_FAILPOINT="revoked:kill")
    go_on({worker})
    late = stopped.halted()
    with ended(late):
        go_on({late})
    until(lambda: late not in family.children(worker))
    stopped.start()
    until(lambda: stopped.let_on() or stopped.job(job_id)["finished_at"])
    job = stopped.final(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert stopped.drafts() == []


def test_input_of_a_job_that_did_not_begin(daemon: Daemon, gate: Gate) -> None:
    """
    What a job is to read is kept until it has begun: its process was killed before that.
    """
    armed = {"MCLI_FAILPOINT": "received:stop"}
    caller = daemon.begin_puppet("obey", gate.path, stdin=subprocess.PIPE, env=armed)
    first = daemon.halted()
    until(lambda: daemon.jobs()[0]["pid"] == first)
    with ended(first):
        os.kill(first, signal.SIGKILL)
    until(lambda: daemon.let_on() or daemon.starts())
    inside = gate.arrival()
    inside.tell("print(sys.stdin.read().upper())")
    inside.leave()
    assert caller.communicate("one\ntwo", timeout=DEADLINE_S) == ("ONE\nTWO\n", "")
    (job,) = daemon.jobs()
    assert (job["state"], job["attempt"], job["route"]) == ("succeeded", 2, "daemon")


@pytest.mark.parametrize("point", ["shared", "received"])
def test_input_of_a_program_that_did_not_begin(daemon: Daemon, point: str) -> None:
    """
    The same of any program, whether its worker was killed or its process.
    """
    words = [sys.executable, "-m", "mcli", "run", "--", "tr", "a-z", "A-Z"]
    armed = {"MCLI_FAILPOINT": f"{point}:stop"}
    caller = daemon.begin(*words, stdin=subprocess.PIPE, env=armed)
    first = daemon.halted()
    daemon.noted()
    with ended(first):
        os.kill(first, signal.SIGKILL)
    until(lambda: daemon.let_on() or has_reached_it(daemon))
    assert caller.communicate("one\ntwo\n", timeout=DEADLINE_S) == ("ONE\nTWO\n", "")
    assert (daemon.job()["state"], daemon.job()["attempt"]) == ("succeeded", 2)


def has_reached_it(daemon: Daemon) -> bool:
    """Whether the second attempt of its one job has its ticket."""
    return is_taken(daemon.home.job(daemon.job()["id"]), 2)


@pytest.mark.parametrize("point", ["heard", "none"])
def test_input_is_not_held_by_the_daemon(daemon: Daemon, gate: Gate, point: str) -> None:
    """
    Once a job has begun, only its own side reads its input: who writes to it is told when nobody
    does any more.
    """
    reader, writer = os.pipe()
    armed = {} if point == "none" else {"MCLI_FAILPOINT": f"{point}:kill"}
    caller = daemon.begin_puppet("obey", gate.path, stdin=reader, env=armed)
    inside = gate.arrival()
    inode = os.fstat(reader).st_ino
    os.close(reader)
    until(lambda: f"pipe:[{inode}]" not in files(daemon.pid))
    os.close(writer)
    inside.leave()
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0


@pytest.mark.parametrize(("point", "starts"), [("ticketed", 0), ("outcome-written", 1)])
def test_job_killed_at(daemon: Daemon, point: str, starts: int) -> None:
    """
    A job that a signal kills failed by it, and is not run again; its caller dies the same way.
    """
    daemon.puppet("tell", env={"MCLI_FAILPOINT": f"{point}:kill"}, code=-signal.SIGKILL)
    (job,) = daemon.jobs()
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "signal", signal.SIGKILL)
    assert job["attempt"] == 1
    assert len(daemon.starts()) == starts


# Jobs, callers, workers ---------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_job_killed(daemon: Daemon, gate: Gate, number: int) -> None:
    """
    Death by a signal is failed, signal, once; the caller dies by the same signal.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('so far')")
    os.kill(inside.pid, number)
    out, _ = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, out) == (-number, "so far\n")
    (job,) = daemon.jobs()
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "signal", number)
    assert len(daemon.starts()) == 1


def test_job_that_leaves_without_a_word(daemon: Daemon, gate: Gate) -> None:
    """
    os._exit(0) is no success: nothing says that the command came to its end.
    """
    job_id = daemon.submit("obey", gate.path)
    gate.arrival().tell("os._exit(0)")
    job = daemon.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "no_outcome", 0)


def test_caller_killed(daemon: Daemon, gate: Gate) -> None:
    """
    kill -9 of the caller leaves the job running; attach shows all of it.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('one')")
    caller.kill()
    caller.wait()
    inside.do("print('two')")
    attached = daemon.begin(*ATTACH, inside.job_id)
    assert lines(attached, 2) == ["one\n", "two\n"]
    inside.leave()
    assert attached.wait(DEADLINE_S) == 0


def test_terminal_closed(daemon: Daemon, gate: Gate) -> None:
    """
    A terminal that is closed takes the caller with it, and not the job.
    """
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, PUPPET, "obey", gate.path],
        stdin=slave, stdout=slave, stderr=slave, env=daemon.env, cwd=daemon.cwd,
    )  # fmt: skip
    os.close(slave)
    inside = gate.arrival()
    os.close(master)
    process.wait(DEADLINE_S)
    inside.do("print('alone')")
    inside.leave()
    assert daemon.final(inside.job_id)["state"] == "succeeded"
    assert "alone" in daemon.output(inside.job_id)


def test_idle_worker_killed(daemon: Daemon) -> None:
    """
    The next job starts another worker, and runs once.
    """
    first = daemon.final(daemon.submit("tell"))
    with ended(first["worker_pid"]):
        os.kill(first["worker_pid"], signal.SIGKILL)
    done = daemon.puppet("tell")
    second = daemon.job()
    assert done.stdout == f"job {second['id']} {second['attempt']}\n"
    assert second["worker_pid"] != first["worker_pid"]
    assert len(daemon.starts()) == 2


MORTAL = """
import os, sys
if "mcli.worker" in sys.orig_argv:
    deaths = os.open(os.environ["DEATHS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(deaths, b"x")
    if os.fstat(deaths).st_size <= int(os.environ["MORTAL"]):
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("deaths", "state", "reason"),
    [(3, "succeeded", None), (1 << 30, "failed", "spawn_error")],
    ids=["some", "all"],
)
def test_workers_killed_before_they_are_ready(
    daemon: Daemon, deaths: int, state: str, reason: str | None
) -> None:
    """
    A worker that is killed while it starts is started again, but not for ever.
    """
    (daemon.cwd / "sitecustomize.py").write_text(MORTAL)
    counted = daemon.cwd / "deaths"
    env = {"DEATHS": str(counted), "MORTAL": str(deaths), "PYTHONPATH": f"{daemon.cwd}:{PROJECT}"}
    job = daemon.final(daemon.submit("tell", env=env))
    assert (job["state"], job["reason"]) == (state, reason)
    assert counted.stat().st_size == (4 if state == "succeeded" else 10)
    assert len(daemon.starts()) == (1 if state == "succeeded" else 0)


def test_child_in_advance_killed(daemon: Daemon) -> None:
    """
    The process that a worker has forked in advance is killed, and before the worker sees that it
    is to become a job: another one becomes it.
    """
    worker = daemon.final(daemon.submit("tell"))["worker_pid"]
    children = Path(f"/proc/{worker}/task/{worker}/children")
    until(children.read_text)
    halt(worker)
    job_id = daemon.submit("tell")
    until(lambda: daemon.job(job_id)["state"] == "running")
    os.kill(int(children.read_text()), signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    job = daemon.final(job_id)
    assert (job["state"], job["worker_pid"]) == ("succeeded", worker)
    assert len(daemon.starts()) == 2


# A worker stands still ----------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True], ids=["one daemon", "two daemons"])
@pytest.mark.parametrize(
    ("end", "code", "state", "reason"),
    [
        ("sys.exit(7)", 7, "failed", "exit_nonzero"),
        ("os.kill(os.getpid(), 9)", -9, "failed", "signal"),
    ],
)
def test_worker_that_stands_still(
    daemon: Daemon, gate: Gate, end: str, code: int, state: str, reason: str, restart: bool
) -> None:
    """
    Nobody can wait for what it does not tell: it is ended, and its job goes on without it. What
    the job has printed comes whole, and its end is the true one.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    with ended(inside.ppid):
        halt(inside.ppid)
        inside.do("print('o' * 3000)")
        inside.tell(end)
        if restart:
            daemon.kill9()
            daemon.start()
    assert caller.communicate(timeout=DEADLINE_S)[0] == "o" * 3000 + "\n"
    job = daemon.final(inside.job_id)
    known = not restart or reason != "signal"  # else only the worker could have told
    assert (job["state"], job["reason"]) == ((state, reason) if known else ("lost", "worker_lost"))
    assert caller.returncode == (code if known else 125)
    assert len(daemon.starts()) == 1
    assert daemon.puppet("tell").returncode == 0


def test_last_words_that_only_a_worker_has(stopped: Daemon, gate: Gate) -> None:
    """
    What a detached job printed last is in the pipes of a worker that stands still: the next daemon
    has them before it ends that.
    """
    faster = {"MCLI_WORKER_CHECK_INTERVAL": "0.2"}
    job_id = stopped.start(**faster).submit("obey", gate.path)
    inside = gate.arrival()
    with ended(inside.ppid):
        halt(inside.ppid)
        inside.do("print('o' * 3000, flush=True)")
        inside.tell("os.kill(os.getpid(), 9)")
        stopped.kill9()
        stopped.start(**faster)
    assert stopped.final(job_id)["error"] is None
    assert stopped.output(job_id) == "o" * 3000 + "\n"


def test_limits_under_a_worker_that_stands_still(daemon: Daemon, gate: Gate) -> None:
    """
    A job of such a worker can be cancelled, and is ended when its time is over.
    """
    limited = [sys.executable, str(PROGRAMS / "limited.py"), "timed", gate.path, "--detach"]
    timed = daemon.run(*limited, env=daemon.late()).stdout.strip()
    gate.arrival()
    assert daemon.final(timed)["reason"] == "timeout"
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    halt(inside.ppid)
    assert daemon.mcli("cancel", job_id).returncode == 0
    assert daemon.final(job_id)["state"] == "cancelled"
    assert not family.lives(inside.pid)


def test_job_for_a_worker_that_stands_still(daemon: Daemon) -> None:
    """
    One that it was given, and has not begun, is begun by another.
    """
    worker = daemon.final(daemon.submit("tell"))["worker_pid"]
    halt(worker)
    with ended(worker):
        job = daemon.final(daemon.submit("tell"))
    assert (job["state"], job["worker_pid"] != worker) == ("succeeded", True)
    assert len(daemon.starts()) == 2


def test_worker_killed_with_a_job(daemon: Daemon, gate: Gate) -> None:
    """
    The job goes on without its worker, its output too, and its end is known: the daemon has
    become its parent. The caller notices nothing.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before')")
    assert lines(caller, 1) == ["before\n"]
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    inside.do("print('after'); print('aside', file=sys.stderr)")
    assert lines(caller, 1) == ["after\n"]
    assert daemon.job()["state"] == "running"
    inside.tell("sys.exit(7)")
    assert caller.communicate(timeout=DEADLINE_S) == ("", "aside\n")
    assert caller.returncode == 7
    job = daemon.job()
    assert (job["state"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)


def at_a_terminal(daemon: Daemon, *words: str) -> "pexpect.spawn[bytes]":
    """Python with these words."""
    environment = {**daemon.env, "TERM": "xterm"}
    return pexpect.spawn(sys.executable, list(words), env=environment, timeout=DEADLINE_S)


def test_worker_killed_with_a_job_at_a_terminal(daemon: Daemon, gate: Gate) -> None:
    """
    What it prints goes on to its caller's terminal and into the log, as before; and what is
    typed, and how large the terminal is, to the job.
    """
    with at_a_terminal(daemon, PUPPET, "obey", gate.path) as caller:
        inside = gate.arrival()
        inside.do("print('one')")
        caller.expect_exact("one\r\n")  # what was read and not stored would be lost
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
        inside.do("print('two')")
        caller.expect_exact("two\r\n")
        inside.tell("print(input().upper(), flush=True)")
        caller.sendline("three")
        caller.expect_exact("three\r\nTHREE\r\n")
        inside.tell("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})")
        inside.tell("print('waits', flush=True); signal.sigwait({signal.SIGWINCH})")
        inside.tell("print(os.get_terminal_size())")
        caller.expect_exact("waits\r\n")
        caller.setwinsize(33, 77)
        caller.expect_exact("columns=77, lines=33")
        inside.tell("sys.exit(7)")
        caller.expect(pexpect.EOF)
    assert caller.exitstatus == 7
    assert daemon.output(daemon.job()["id"]).startswith("one\ntwo\nthree\nTHREE\nwaits\n")


@pytest.mark.parametrize("point", ["ticketed", "marked"])
@pytest.mark.parametrize("card", [True, False])
def test_worker_killed_before_the_body(daemon: Daemon, gate: Gate, point: str, card: bool) -> None:
    """
    Before and after it has read the mark that the body is next: the caller is given all that the
    body prints when it prints it, and nothing else.
    """
    armed = {"MCLI_FAILPOINT": f"{point}:stop"}
    caller = daemon.begin_puppet("obey", gate.path, env=armed)
    until(lambda: daemon.jobs() and stopped(daemon.job()["pid"]))
    job = daemon.job()
    if not card:
        os.unlink(Path(daemon.home.job(job["id"]), "job.json"))
    with ended(job["worker_pid"]):
        os.kill(job["worker_pid"], signal.SIGKILL)
    os.kill(job["pid"], signal.SIGCONT)
    inside = gate.arrival()
    inside.do("print('first')")
    assert lines(caller, 1) == ["first\n"]
    inside.tell("print('last'); sys.exit(7)")
    assert caller.communicate(timeout=DEADLINE_S) == ("last\n", "")
    assert caller.returncode == 7
    assert daemon.output(job["id"]) == "first\nlast\n"


def test_worker_that_comes_late(stopped: Daemon, gate: Gate) -> None:
    """
    It is about to begin an attempt that the next daemon has taken back, and begun once more
    elsewhere: it leaves that one alone.
    """
    daemon = stopped.start()
    armed = {"MCLI_FAILPOINT": "ordered:stop"}
    job_id = daemon.submit("obey", gate.path, env=armed)
    late = daemon.halted()
    daemon.kill9()
    daemon.start()
    until(lambda: daemon.let_on({late}) or daemon.starts())
    inside = gate.arrival()
    go_on({late})
    ready = f"worker.ready pid={late} "
    until(lambda: Path(daemon.home.log).read_text().count(ready) == 2)
    assert read_attempt(daemon.home.job(job_id)) == 2
    until(lambda: daemon.job(job_id)["pid"] == inside.pid)
    assert (daemon.job(job_id)["attempt"], daemon.job(job_id)["worker_pid"]) == (2, inside.ppid)
    inside.leave()
    assert daemon.final(job_id)["attempt"] == 2
    assert len(daemon.starts()) == 1


def test_process_that_comes_late(stopped: Daemon, gate: Gate) -> None:
    """
    A worker brings a process to a daemon that has taken back its attempt: it is not taken for
    that of the job, which waits until nobody else writes its log, and nothing of it stays open.
    """
    daemon = stopped.start()
    log = Path(daemon.home.log)
    armed = {"MCLI_FAILPOINT": "forked:stop,received:stop"}
    job_id = daemon.submit("obey", gate.path, env=armed)
    late = daemon.halted()
    daemon.kill9()
    daemon.start()
    until(lambda: "another process writes its log" in log.read_text())
    go_on({late})
    until(lambda: "worker.outdated" in log.read_text())
    assert daemon.job(job_id)["pid"] is None
    until(lambda: daemon.let_on() or daemon.starts())  # its process, which has no ticket, too
    inside = gate.arrival()
    assert int(inside.attempt) > 1
    until(lambda: daemon.job(job_id)["pid"] == inside.pid)
    inside.tell("print('printed')")
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert daemon.output(job_id) == "printed\n"
    assert len(daemon.starts()) == 1
    until(lambda: not pipes(daemon.pid))


def pipes(pid: int) -> list[str]:
    """The pipes that a process can read from."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(fd).startswith("pipe:") and not fd.lstat().st_mode & stat.S_IWUSR:
                found.append(fd.name)
    return found


def test_cancelled_while_it_is_put_back(daemon: Daemon, gate: Gate) -> None:
    """
    The worker of a job dies before it begins, and its end was asked for, though the store could
    not note it yet: it ends.
    """
    job_id = daemon.submit("obey", gate.path, env={"MCLI_FAILPOINT": "ordered:stop"})
    worker = daemon.halted()
    with closing(sqlite3.connect(daemon.home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        idle = threads(daemon.pid, "futex")
        cancel = daemon.begin(sys.executable, "-m", "mcli", "cancel", job_id)
        until(lambda: idle & threads(daemon.pid, "nanosleep"))  # as SQLite waits for a lock
        with ended(worker):
            os.kill(worker, signal.SIGKILL)
        until(Path(daemon.home.job(job_id), "1.start").exists)
    until(lambda: daemon.let_on() or daemon.job(job_id)["state"] == "cancelled")
    assert cancel.wait(DEADLINE_S) == 0


def threads(pid: int, where: str) -> set[str]:
    """The threads of a process that wait in that function of the kernel."""
    found = set()
    for each in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if where in (each / "wchan").read_text():
                found.add(each.name)
    return found


def test_worker_killed_of_a_job_that_has_waited_for_long(stopped: Daemon, gate: Gate) -> None:
    """
    However often a job was put off for want of room, one worker that is killed does not end it.
    """
    daemon = stopped.start(MCLI_WORKERS="1")
    daemon.submit("obey", gate.path)
    first = gate.arrival()
    armed = {"MCLI_FAILPOINT": "ordered:stop", "PYTHONCASE": "a worker of its own"}
    job_id = daemon.submit("obey", gate.path, env=armed)
    daemon.kill9()
    with closing(sqlite3.connect(daemon.home.database)) as connection, connection:
        connection.execute("UPDATE jobs SET attempt = 1100, revoked = 1100 WHERE state = 'queued'")
    daemon.start(MCLI_WORKERS="1")
    first.leave()
    worker = daemon.halted()
    with ended(worker):
        os.kill(worker, signal.SIGKILL)
    until(lambda: daemon.let_on() or daemon.starts()[1:])
    gate.arrival().leave()
    assert (daemon.final(job_id)["state"], daemon.job(job_id)["attempt"]) == ("succeeded", 1102)


def test_ctrl_c_without_a_worker(daemon: Daemon, gate: Gate) -> None:
    """
    It ends the job, as it does with one.
    """
    with at_a_terminal(daemon, PUPPET, "obey", gate.path) as caller:
        inside = gate.arrival()
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
        inside.tell("print('waits', flush=True); wait()")
        caller.expect_exact("waits")
        caller.sendintr()
        caller.expect_exact("Aborted!")
        caller.expect(pexpect.EOF)
    assert daemon.job()["exit_code"] == 1


@pytest.mark.parametrize("itself", [False, True])
def test_ctrl_z_without_a_worker(daemon: Daemon, gate: Gate, itself: bool) -> None:
    """
    It stops the job and its caller, which the shell has then; both go on with ``fg``. So it is
    when the job stops itself.
    """
    shell = ["-c", f"set -m; {sys.executable} {PUPPET} obey {gate.path}; echo stopped; fg"]
    environment = {**daemon.env, "TERM": "xterm"}
    with pexpect.spawn("bash", shell, env=environment, timeout=DEADLINE_S) as caller:
        inside = gate.arrival()
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
        inside.do("print('before')")
        caller.expect_exact("before")
        if itself:
            inside.tell("os.kill(0, signal.SIGSTOP)")
        else:
            caller.send("\x1a")
        caller.expect_exact("stopped")
        inside.do("print('after')")
        caller.expect_exact("after")
        inside.tell("sys.exit(7)")
        caller.expect(pexpect.EOF)
    assert caller.exitstatus == 7


def test_worker_and_job_killed(daemon: Daemon, gate: Gate) -> None:
    """
    With its worker gone, a job's death by a signal is seen by the daemon.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    os.kill(inside.pid, signal.SIGKILL)
    job = daemon.final(job_id)
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "signal", signal.SIGKILL)


@pytest.mark.parametrize("ends_alone", [False, True])
def test_output_with_nobody_left_to_read_it(daemon: Daemon, gate: Gate, ends_alone: bool) -> None:
    """
    What a detached job prints while daemon and worker are both dead is there in the end, whether
    it ends before the next daemon starts or after.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('one'); print('aside', file=sys.stderr)")
    with ended(inside.ppid):
        daemon.kill9()
        os.kill(inside.ppid, signal.SIGKILL)
    inside.do("print('two' * 1000)")
    if ends_alone:
        inside.leave()
        assert gone(inside.pid)
    daemon.start()
    if not ends_alone:
        inside.do("print('three', flush=True)")
        inside.leave()
    job = daemon.final(job_id)
    assert (job["state"], job["error"]) == ("succeeded", None)
    last = "" if ends_alone else "three\n"
    assert daemon.output(job_id, "stdout") == "one\n" + "two" * 1000 + "\n" + last
    assert daemon.output(job_id, "stderr") == "aside\n"


def test_last_words_with_nobody_left_to_read_them(daemon: Daemon, gate: Gate) -> None:
    """
    Daemon and worker are dead before they have read what a job that is waited for has printed:
    it sees to that itself before it ends, and its caller is shown all of it.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    halt(inside.ppid)
    inside.do(
        "sys.stdout.write('o' * 3000); sys.stdout.flush(); print('e' * 4000, file=sys.stderr)"
    )
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
        daemon.kill9()
    with ended(inside.pid):
        inside.leave()
    daemon.start()
    assert caller.communicate(timeout=DEADLINE_S) == ("o" * 3000, "e" * 4000 + "\n")
    assert caller.returncode == 0
    assert daemon.job()["state"] == "succeeded"


@pytest.mark.parametrize("again", [False, True], ids=["first", "adopted"])
def test_a_job_that_is_waited_for_outlives_daemon_and_worker(
    daemon: Daemon, gate: Gate, again: bool
) -> None:
    """
    With both dead at once it can still print, as its caller holds its pipes; the next daemon, or
    the one after that, reads on.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before', flush=True)")
    assert lines(caller, 1) == ["before\n"]
    if again:
        daemon.kill9()
        daemon.start()
        inside.do("print('between', flush=True)")
        assert lines(caller, 1) == ["between\n"]
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
        daemon.kill9()
    inside.do("print('alone', flush=True); print('aside', file=sys.stderr)")
    daemon.start()
    assert lines(caller, 1) == ["alone\n"]
    inside.tell("sys.exit(7)")
    assert caller.communicate(timeout=DEADLINE_S) == ("", "aside\n")
    assert caller.returncode == 7


@pytest.mark.parametrize("point", ["received", "ticketed"])
@pytest.mark.parametrize("program", [False, True], ids=["python", "program"])
def test_daemon_and_worker_killed_before_the_caller_holds_its_pipes(
    stopped: Daemon, gate: Gate, point: str, program: bool
) -> None:
    """
    A job that has just begun stays before its body until its caller, or a daemon, has the pipes
    that it prints to.
    """
    daemon = stopped.start(MCLI_FAILPOINT="forked:kill")  # it knows the process, and tells nobody
    first = daemon.pid
    armed = {"MCLI_FAILPOINT": f"{point}:stop", "PYTHONCASE": "a worker of its own"}
    words = ["obey", gate.path]
    if program:
        words = [sys.executable, "-m", "mcli", "run", "--", "env", sys.executable, PUPPET, *words]
        caller = daemon.begin(*words, env=armed)
    else:
        caller = daemon.begin_puppet(*words, env=armed)
    pid = daemon.halted()
    assert gone(first)
    worker = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    with ended(worker):
        os.kill(worker, signal.SIGKILL)
    go_on({pid})
    until(lambda: sleeps(pid))
    daemon.start()
    inside = gate.arrival()
    assert inside.pid == pid
    inside.do("print('printed', flush=True)")
    assert lines(caller, 1) == ["printed\n"]
    daemon.kill9()
    inside.do("print('alone', flush=True)")  # its caller holds them
    daemon.start()
    assert lines(caller, 1) == ["alone\n"]
    inside.leave()
    assert caller.communicate(timeout=DEADLINE_S)[0] == ""
    if not program:  # else nothing tells how it has ended
        assert caller.returncode == 0
    assert daemon.job()["state"] == ("lost" if program else "succeeded")


def test_stream_closed_before_the_body(daemon: Daemon, gate: Gate) -> None:
    """A job that nobody will read from, though its caller and its worker live, begins."""
    armed = {"MCLI_FAILPOINT": "asked:stop,ticketed:stop"}  # its caller holds no pipe
    caller = daemon.begin_puppet("obey", gate.path, env=armed, stderr=subprocess.STDOUT)
    until(lambda: len(daemon.standing()) == 2)
    (pid,) = daemon.standing() - {caller.pid}
    wire, _ = attach_wire(daemon.home, daemon.job()["id"], -1)
    wire.send(frames.CLOSED, {"stream": Stream.STDOUT})
    with open(f"/proc/{pid}/fd/1", "wb", buffering=0) as writer:
        until(lambda: not is_read(writer.fileno()))
    wire.close()
    go_on({pid})
    inside = gate.arrival()
    go_on({caller.pid})
    inside.tell("sys.exit(7)")
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 7


def sleeps(pid: int) -> bool:
    """Whether the process waits for a time that it has set itself."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def test_a_job_at_a_terminal_outlives_daemon_and_worker(daemon: Daemon, gate: Gate) -> None:
    """
    Its caller holds the terminal's other side meanwhile: the next daemon, and the one after
    that, reads on there, and what is typed reaches the job.
    """
    with at_a_terminal(daemon, PUPPET, "obey", gate.path) as caller:
        inside = gate.arrival()
        inside.do("print('before')")
        caller.expect_exact("before\r\n")
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
            daemon.kill9()
        inside.do("print('alone')")
        daemon.start()
        caller.expect_exact("alone\r\n")
        daemon.kill9()
        inside.do("print('between')")
        daemon.start()
        caller.expect_exact("between\r\n")
        inside.tell("print(input().upper(), flush=True)")
        caller.sendline("typed")
        caller.expect_exact("typed\r\nTYPED\r\n")
        inside.tell("print('waits', flush=True); wait()")
        caller.expect_exact("waits")
        caller.sendintr()
        caller.expect_exact("Aborted!")
        caller.expect(pexpect.EOF)
    assert caller.exitstatus == 1
    assert len(daemon.starts()) == 1
    assert daemon.output(daemon.job()["id"]).startswith("before\nalone\nbetween\ntyped\nTYPED\n")


def test_last_words_of_a_program_with_nobody_left(daemon: Daemon) -> None:
    """
    A worker that is killed when it has written how a program ended has stored before that what
    was printed until then, though a child has printed it at the last moment.
    """
    go = daemon.cwd / "go"
    os.mkfifo(go)
    words = ("run", "--", "sh", "-c", "(read go < go; printf last) & :")
    points = {"MCLI_FAILPOINT": "reaped:stop,outcome-kept:stop"}
    caller = daemon.begin(sys.executable, "-m", "mcli", *words, env=points)
    until(lambda: daemon.jobs() and stopped(daemon.job()["worker_pid"]))
    job_id, worker = daemon.job()["id"], daemon.job()["worker_pid"]
    (child,) = family.strays(daemon.job()["pid"], job_id)
    with ended(child):
        go.write_text("\n")
    os.kill(worker, signal.SIGCONT)
    until(lambda: Path(daemon.home.job(job_id), "1.outcome").exists() and stopped(worker))
    with ended(worker):
        os.kill(worker, signal.SIGKILL)
        daemon.kill9()
    daemon.start()
    assert caller.communicate(timeout=DEADLINE_S)[0] == "last"
    assert daemon.job()["state"] == "succeeded"


def test_last_words_of_a_program_that_ended_alone(daemon: Daemon) -> None:
    """
    How it ended cannot be known, but what it printed while daemon and worker were both dead can:
    its caller holds its pipes.
    """
    go = daemon.cwd / "go"
    os.mkfifo(go)
    words = ("run", "--", "sh", "-c", "echo first; read go < go; echo last")
    caller = daemon.begin(sys.executable, "-m", "mcli", *words)
    assert lines(caller, 1) == ["first\n"]
    job = daemon.noted()
    with ended(job["worker_pid"]):
        daemon.kill9()
        os.kill(job["worker_pid"], signal.SIGKILL)
    with ended(job["pid"]):
        go.write_text("\n")
    daemon.start()
    assert caller.communicate(timeout=DEADLINE_S)[0] == "last\n"
    assert daemon.job()["state"] == "lost"
    assert daemon.output(job["id"]) == "first\nlast\n"


def stopped(pid: int | None) -> bool:
    """Whether it stands still."""
    return pid is not None and family.is_stopped(pid)


@pytest.mark.parametrize("detached", [True, False])
def test_a_job_is_not_harmed_by_who_looks_on(daemon: Daemon, gate: Gate, detached: bool) -> None:
    """
    An ``mcli attach`` whose own output nobody reads any more ends, and is not the job's reader.
    """
    if detached:
        daemon.submit("obey", gate.path)
    else:
        caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('one', flush=True)")
    reader, writer = os.pipe()
    words = [sys.executable, "-m", "mcli", "attach", inside.job_id]
    onlooker = subprocess.Popen(words, env=daemon.env, stdout=writer)
    os.close(writer)
    assert os.read(reader, 4) == b"one\n"
    os.close(reader)
    inside.do("print('two', flush=True)")
    assert onlooker.wait(DEADLINE_S) == -signal.SIGPIPE
    inside.do("print('three', flush=True)")
    inside.leave()
    assert daemon.final(inside.job_id)["state"] == "succeeded"
    assert daemon.output(inside.job_id) == "one\ntwo\nthree\n"
    if not detached:
        assert caller.communicate(timeout=DEADLINE_S)[0] == "one\ntwo\nthree\n"


def test_cancel_without_a_worker(stopped: Daemon, gate: Gate) -> None:
    """
    A job whose worker was killed can still be cancelled.
    """
    daemon = stopped.start(MCLI_GRACE="0.1")
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    daemon.mcli("cancel", job_id)
    assert daemon.final(job_id)["state"] == "cancelled"
    assert gone(inside.pid)


def test_cancel_when_daemon_and_worker_were_killed(stopped: Daemon, gate: Gate) -> None:
    """
    A job that has lost its daemon and its worker can be cancelled by the next daemon.
    """
    daemon = stopped.start()
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    os.kill(inside.ppid, signal.SIGKILL)
    daemon.start(MCLI_GRACE="0.1")
    inside.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    daemon.mcli("cancel", job_id)
    assert daemon.final(job_id)["state"] == "cancelled"
    assert gone(inside.pid)


def test_worker_whose_number_is_anothers(stopped: Daemon, gate: Gate) -> None:
    """
    Daemon and worker are dead, and a stranger has the worker's number: the next daemon does not
    wait for him, and looks after the job.
    """
    job_id = stopped.start().submit("obey", gate.path)
    inside = gate.arrival()
    stopped.noted(job_id)
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
        stopped.kill9()
    stranger = stopped.begin("sleep", "600")
    card = Path(stopped.home.job(job_id), "job.json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"worker_pid": stranger.pid}))
    with closing(sqlite3.connect(stopped.home.database)) as store, store:
        store.execute("UPDATE jobs SET worker_pid = ? WHERE id = ?", [stranger.pid, job_id])
    stopped.start()
    with ended(inside.pid):
        stopped.mcli("cancel", job_id)
    assert stopped.final(job_id)["state"] == "cancelled"
    stranger.kill()


def test_process_of_a_lost_job_is_known(stopped: Daemon, gate: Gate) -> None:
    """
    Also where its daemon died before it had written down which one it was: its ticket tells.
    """
    stopped.start(MCLI_FAILPOINT="forked:kill")
    pid = stopped.pid
    job_id = stopped.submit("obey", gate.path)
    inside = gate.arrival()
    assert gone(pid)
    with ended(inside.pid):
        os.kill(inside.ppid, signal.SIGKILL)
        os.kill(inside.pid, signal.SIGKILL)
    stopped.start()
    job = stopped.final(job_id)
    assert (job["state"], job["pid"], job["worker_pid"]) == ("lost", inside.pid, inside.ppid)
    assert stopped.drafts() == []
    told = stopped.mcli("doctor", code=None).stdout
    assert "outcomes         how 1 of the jobs ended cannot be known; see: mcli ps" in told


@pytest.mark.parametrize("child", ["sleep 600", "yes"])
def test_orphan_at_a_terminal_leaves_a_child(daemon: Daemon, gate: Gate, child: str) -> None:
    """
    A job without a worker ends although a child of it holds the terminal, or prints on; the
    daemon goes on.
    """
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, PUPPET, "obey", gate.path],
        stdin=slave, stdout=slave, stderr=slave, env=daemon.env, cwd=daemon.cwd,
    )  # fmt: skip
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    os.close(slave)
    inside = gate.arrival()
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    inside.do(f"{ignore}; child = subprocess.Popen({child.split()!r}, start_new_session=True)")
    inside.do(f"open({str(daemon.cwd / 'child')!r}, 'w').write(str(child.pid))")
    inside.leave()
    try:
        assert process.wait(DEADLINE_S) == 0
        assert daemon.final(inside.job_id)["state"] == "succeeded"
    finally:
        with suppress(ProcessLookupError):
            os.kill(int((daemon.cwd / "child").read_text()), signal.SIGKILL)


def _drain(fd: int) -> None:
    with suppress(OSError):
        while os.read(fd, 1 << 16):
            pass
    os.close(fd)


# Many at once, and answers that are lost ----------------------------------------------------


def test_twenty_callers_at_once(daemon: Daemon) -> None:
    """
    Each of twenty simultaneous calls is one job, begun once.
    """
    callers = [daemon.begin_puppet("tell", str(number)) for number in range(20)]
    for caller in callers:
        caller.communicate(timeout=60)
        assert caller.returncode == 0
    jobs = daemon.jobs()
    assert [job["state"] for job in jobs] == ["succeeded"] * 20
    assert {job["argv"][1] for job in jobs} == {str(number) for number in range(20)}
    assert sorted(start[0] for start in daemon.starts()) == sorted(job["id"] for job in jobs)


class Swallower:
    """Stands before the daemon's socket: passes everything on and swallows the first answers."""

    def __init__(self, daemon: Daemon, count: int) -> None:
        front = daemon.front()
        self.env = {"MCLI_HOME": front.root}
        self._behind = daemon.home.attach_socket
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(front.attach_socket)
        self._listening.listen()
        self._left = count
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            self._left -= 1
            threading.Thread(
                target=self._pass_on, args=(caller, self._left >= 0), daemon=True
            ).start()

    def _pass_on(self, caller: socket.socket, swallow: bool) -> None:
        behind = socket.socket(socket.AF_UNIX)
        behind.connect(self._behind)
        if swallow:
            with caller, behind:
                behind.sendall(caller.recv(1 << 20))
                behind.recv(1 << 20)
            return
        back = threading.Thread(target=_copy, args=(behind, caller), daemon=True)
        back.start()
        _copy(caller, behind)
        back.join()
        caller.close()
        behind.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(1 << 16):
        target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("count", [1, 2])
def test_answer_that_is_lost(daemon: Daemon, count: int) -> None:
    """
    A caller whose answer was lost asks again with the same id, then looks into the store: the
    job is accepted, and begun, once.
    """
    proxy = Swallower(daemon, count)
    done = daemon.puppet("tell", env=proxy.env)
    (job,) = daemon.jobs()
    assert done.stdout == f"job {job['id']} 1\n"
    assert len(daemon.starts()) == 1
    proxy.close()


@pytest.mark.parametrize("request_digest", ["", "no digest"], ids=["repeated", "refused"])
def test_input_of_a_request_is_not_kept(daemon: Daemon, request_digest: str) -> None:
    """
    Of a request that is refused, or comes twice, the daemon keeps no descriptor: who writes to
    its input is told when the job has ended.
    """
    reader, writer = os.pipe()
    app = App(kind="exec", target="true", python=sys.executable)
    invocation = Invocation("true", app, [], "/", daemon.env, stdio=("fd", "pipe", "pipe"))
    submission = {"protocol": PROTOCOL, "id": new_id(), "detach": True, "fds": 1}
    submission |= {"invocation": invocation.document(), "request": request_digest}
    for _ in range(2):
        wire = Wire(daemon.home)
        wire.send(frames.SUBMIT, submission, (reader,))
        assert wire.answer()[0] == (frames.REFUSED if request_digest else frames.ACCEPTED)
        wire.close()
    os.close(reader)
    told = select.poll()
    told.register(writer, 0)  # an error is told anyway
    assert told.poll(DEADLINE_S * 1000) == [(writer, select.POLLERR)]
    os.close(writer)


@pytest.mark.parametrize("second", ["refused", "no room"])
def test_answer_that_is_lost_and_then_a_refusal(daemon: Daemon, second: str) -> None:
    """
    What the daemon says to the second question, or that it cannot be asked again, does not
    take back that it may have accepted the job the first time: it is begun once.
    """
    front, behind = daemon.front(), daemon.home.attach_socket
    path = front.attach_socket
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        caller = daemon.begin_puppet("tell", env={"MCLI_HOME": front.root})
        first, _ = listening.accept()
        with first, socket.socket(socket.AF_UNIX) as wire:
            wire.connect(behind)
            wire.sendall(first.recv(1 << 20))
            assert wire.recv(1 << 16)
            if second == "no room":
                waiting += _fill(path)
        if second == "refused":
            with listening.accept()[0] as wire:
                wire.recv(1 << 20)
                said = {"code": "refused", "message": "the daemon is stopping"}
                wire.sendall(frames.encode(frames.REFUSED, said))
        else:
            (job,) = daemon.jobs()
            daemon.final(job["id"])
    os.unlink(path)
    os.symlink(behind, path)
    for each in waiting:
        each.close()
    out, err = caller.communicate(timeout=DEADLINE_S)
    (job,) = daemon.jobs()
    assert (caller.returncode, out, err) == (0, f"job {job['id']} 1\n", "aside\n")
    assert len(daemon.starts()) == 1


def _fill(path: str) -> list[socket.socket]:
    """Connections that nobody takes, until the kernel keeps no more of them."""
    filling = []
    with suppress(BlockingIOError):
        while True:
            filling.append(socket.socket(socket.AF_UNIX))
            filling[-1].setblocking(False)
            filling[-1].connect(path)
    return filling


def test_interrupt_before_the_answer(daemon: Daemon, gate: Gate) -> None:
    """
    Ctrl-C that comes while the caller waits for the answer is for the job: it does not run on
    behind the back of somebody who was told that it was aborted.
    """
    front, behind = daemon.front(), daemon.home.attach_socket
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(front.attach_socket)
        listening.listen()
        caller = daemon.begin_puppet("obey", gate.path, env={"MCLI_HOME": front.root})
        wire, _ = listening.accept()
        submission = wire.recv(1 << 20)
        caller.send_signal(signal.SIGINT)
        with wire, socket.socket(socket.AF_UNIX) as further:
            further.connect(behind)
            further.sendall(submission)
            back = threading.Thread(target=_copy, args=(further, wire), daemon=True)
            back.start()
            _copy(wire, further)
            back.join(DEADLINE_S)
    os.unlink(front.attach_socket)
    os.symlink(behind, front.attach_socket)
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode in (1, -signal.SIGINT)
    (job,) = daemon.jobs()
    assert daemon.final(job["id"])["state"] in ("failed", "cancelled")


def test_interrupt_while_it_begins(daemon: Daemon, gate: Gate) -> None:
    """
    Ctrl-C that comes just before the beginning, and can be heeded only after it, is a Ctrl-C to
    the body, too.
    """
    armed = {"MCLI_FAILPOINT": "connected:stop"}
    caller = daemon.begin_puppet("obey", gate.path, env=armed)
    worker = daemon.halted()
    with closing(sqlite3.connect(daemon.home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        idle = threads(daemon.pid, "futex")
        caller.send_signal(signal.SIGINT)
        until(lambda: idle & threads(daemon.pid, "nanosleep"))  # as SQLite waits for a lock
        go_on({worker})
        gate.arrival()
    assert caller.communicate(timeout=DEADLINE_S) == ("", "\nAborted!\n")
    assert caller.returncode == 1
    assert (daemon.job()["state"], daemon.job()["exit_code"]) == ("failed", 1)


def test_interrupt_while_its_worker_starts(daemon: Daemon) -> None:
    """
    Nobody begins the job then, and its caller ends by its own Ctrl-C.
    """
    caller = daemon.begin_puppet("tell", env={"MCLI_FAILPOINT": "connected:stop"})
    worker = daemon.halted()
    with ended(worker):
        caller.send_signal(signal.SIGINT)
    assert caller.communicate(timeout=DEADLINE_S) == ("", "")
    assert caller.returncode == -signal.SIGINT
    assert (daemon.job()["state"], daemon.job()["reason"]) == ("cancelled", "user")
    assert daemon.starts() == []


def test_submission_that_never_came(daemon: Daemon) -> None:
    """
    A daemon that takes the bytes and does nothing: the caller takes the id in the store and
    runs the body here, once; the late submission is refused.
    """
    front = daemon.front()
    held: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(front.attach_socket)
        listening.listen()
        caller = daemon.begin_puppet("tell", env={"MCLI_HOME": front.root})
        for _ in range(2):
            wire, _ = listening.accept()
            held.append(wire.recv(1 << 20))
            wire.close()
        out, err = caller.communicate(timeout=DEADLINE_S)
    said = "mcli: the daemon went away before it took the job; running here\n"
    assert (caller.returncode, out, err) == (0, "job None None\n", said + "aside\n")
    (job,) = daemon.jobs()
    assert (job["route"], job["state"], job["exit_code"]) == ("local", "succeeded", 0)
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(daemon.home.attach_socket)
        late.sendall(held[0])
        assert b'"conflict"' in late.recv(1 << 16)
    assert len(daemon.starts()) == 1


def test_a_caller_that_runs_its_job_itself_is_killed(stopped: Daemon, gate: Gate) -> None:
    """
    While it lives its job is running; soon after its death it is lost, also without a restart.
    """
    daemon = stopped.start(MCLI_WORKER_CHECK_INTERVAL="0.05", MCLI_FAILPOINT="pre-commit:kill")
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    assert inside.pid == caller.pid
    daemon.start(MCLI_WORKER_CHECK_INTERVAL="0.05")
    (job,) = daemon.jobs()
    with daemon.client() as client:
        assert client.wait(job["id"], 0.3)["state"] == "running"
        caller.kill()
        ended = client.wait(job["id"], DEADLINE_S)
    assert (ended["state"], ended["reason"]) == ("lost", "client_gone")


def test_store_that_cannot_be_asked(daemon: Daemon) -> None:
    """
    When nobody can tell whether it was accepted, it is not run here: exit 75, and the id.
    """
    path = daemon.home.attach_socket
    os.rename(path, f"{path}.behind")
    halt(daemon.pid)  # without its database it would end
    os.rename(daemon.home.database, f"{daemon.home.database}.away")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        caller = daemon.begin_puppet("tell")
        for _ in range(2):
            listening.accept()[0].close()
        _, err = caller.communicate(timeout=DEADLINE_S)
    os.rename(f"{daemon.home.database}.away", daemon.home.database)
    os.kill(daemon.pid, signal.SIGCONT)
    assert caller.returncode == 75
    assert err.count("\n") == 1
    assert daemon.starts() == []


# No room, no descriptors --------------------------------------------------------------------


def test_end_that_cannot_be_written(daemon: Daemon, gate: Gate) -> None:
    """
    A job that ends while the store is locked is finished when the store can be written again.
    Meanwhile the daemon says what troubles it.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    store = sqlite3.connect(daemon.home.database, isolation_level=None)
    store.execute("BEGIN IMMEDIATE")
    inside.leave()
    log = Path(daemon.home.log)
    while f"job.unwritten job_id={job_id}" not in log.read_text():
        assert daemon.job(job_id)["state"] == "running"
    with daemon.client() as client:
        while not (troubles := client.status()["troubles"]):
            assert daemon.pid
    assert [each["name"] for each in troubles] == ["store"]
    assert "database is locked" in troubles[0]["text"]
    store.execute("ROLLBACK")
    store.close()
    assert daemon.final(job_id)["state"] == "succeeded"


def limited(daemon: Daemon, limit: str) -> None:
    """Start *daemon* under a limit of the shell's."""
    start = f"ulimit {limit}; exec {sys.executable} -m mcli daemon start --port 0"
    daemon.run("bash", "-c", start, env={"MCLI_WORKERS": "50"})


def test_output_that_there_is_no_room_for(stopped: Daemon, gate: Gate) -> None:
    """
    A job whose output cannot be kept ends as it would have, and what is missing is said. Its
    worker goes on with other jobs.
    """
    daemon = stopped
    limited(daemon, "-f 512")
    caller = daemon.begin_puppet("obey", gate.path)
    other = daemon.begin_puppet("obey", gate.path)
    first, second = gate.arrival(), gate.arrival()
    assert first.ppid == second.ppid
    first.do("sys.stdout.write('x' * (1 << 21))")
    for inside in (first, second):
        inside.leave()
    said = sorted(each.communicate(timeout=DEADLINE_S) for each in (caller, other))
    assert (caller.returncode, other.returncode) == (0, 0)
    assert said[0] == ("", "")
    out, err = said[1]
    assert len(out) < 1 << 20
    assert f"mcli: {(1 << 21) - len(out)} bytes of its output could not be kept" in err
    assert daemon.job(first.job_id)["state"] == "succeeded"
    assert daemon.job(first.job_id)["worker_pid"] == daemon.final(second.job_id)["worker_pid"]


def test_too_many_open_files(stopped: Daemon) -> None:
    """
    R1: with too few descriptors for its callers, the daemon lets them wait or run the body
    themselves; all of them end, each body is begun once, and the log is not flooded.
    """
    daemon = stopped
    limited(daemon, "-n 40")
    reader, writer = os.pipe()
    callers = [daemon.begin_puppet("tell", stdin=reader) for _ in range(25)]
    os.close(reader)
    os.close(writer)
    for caller in callers:
        caller.communicate(timeout=DEADLINE_S)
        assert caller.returncode == 0
    assert len(daemon.starts()) == len(callers)
    assert os.path.getsize(daemon.home.log) < 1 << 20


SLOW_WORKER = """
import os, sys
if "mcli.worker" in sys.orig_argv:
    open({fifo!r}).close()
"""


def test_callers_leave_room_for_their_worker(stopped: Daemon) -> None:
    """
    R1: callers that wait for a worker do not hold the descriptors that it needs to come: who comes
    when only those are left runs the body itself. All of them end.
    """
    daemon = stopped
    fifo = str(daemon.cwd / "fifo")
    os.mkfifo(fifo)
    (daemon.cwd / "sitecustomize.py").write_text(SLOW_WORKER.format(fifo=fifo))
    daemon.env["PYTHONPATH"] = f"{daemon.cwd}:{PROJECT}"
    limited(daemon, "-n 40")
    reader, writer = os.pipe()
    callers = [daemon.begin_puppet("tell", stdin=reader) for _ in range(25)]
    os.close(reader)
    os.close(writer)

    def told() -> int:
        accepted = Path(daemon.home.log).read_text().count("job.accepted")
        return accepted + sum(caller.poll() is not None for caller in callers)

    until(lambda: told() == len(callers))
    with open(fifo, "w"):  # its worker goes on
        outputs = [caller.communicate(timeout=DEADLINE_S)[0] for caller in callers]
    assert {caller.returncode for caller in callers} == {0}
    assert len(daemon.starts()) == len(callers)
    assert {output.startswith("job None") for output in outputs} == {True, False}


def test_http_clients_leave_room(stopped: Daemon) -> None:
    """
    R1: HTTP clients cannot hold all descriptors either: who comes when only the last are left is
    told so. Commands run meanwhile, here or there.
    """
    daemon = stopped
    limited(daemon, "-n 64")
    server = urlsplit(json.loads(Path(daemon.home.address).read_text())["url"])
    place = server.hostname, server.port
    with ExitStack() as held:
        for _ in range(64):
            last = held.enter_context(socket.create_connection(place, timeout=DEADLINE_S))
        told = last.recv(1 << 16)
        assert told.startswith(b"HTTP/1.1 503")
        assert b"too_many_connections" in told
        assert daemon.puppet("tell").stdout.startswith("job ")
    until(lambda: daemon.puppet("tell").stdout.startswith("job 0"))


@pytest.mark.parametrize("alive", [True, False], ids=["ended in the daemon", "run here"])
def test_nobody_reads_what_mcli_says(daemon: Daemon, gate: Gate, alive: bool) -> None:
    """A line of mcli's own that has no reader does not change how the command ends."""
    reader, writer = os.pipe()
    os.close(reader)
    if not alive:
        daemon.kill9()
    stubborn = str(Path(PUPPET).with_name("stubborn.py"))
    words = [stubborn, "timed", "raise", gate.path] if alive else [PUPPET, "leave", "7"]
    caller = daemon.begin(sys.executable, *words, stderr=writer)
    os.close(writer)
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == (124 if alive else 7)


def test_all_files_are_open(stopped: Daemon, gate: Gate) -> None:
    """
    R1: while a client holds all descriptors that the daemon may have, a caller is told at once,
    and runs the body itself; a job that runs ends as it ends. Then all is as before.
    """
    daemon = stopped
    daemon.env["MCLI_WORKERS"] = "1"  # so that the next job needs the place of this one
    limited(daemon, "-n 64")
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    with ExitStack() as held:
        for _ in range(64):
            wire = held.enter_context(socket.socket(socket.AF_UNIX))
            wire.connect(daemon.home.attach_socket)
        caller = daemon.puppet("tell")
        inside.leave()
        until(lambda: stored_state(daemon, job_id) == "succeeded")
    assert caller.stdout == "job None None\n"
    assert "the daemon has as many files open as it may; running here" in caller.stderr
    assert daemon.final(job_id)["state"] == "succeeded"
    assert daemon.puppet("tell").stdout.startswith("job 0")
    assert len(daemon.starts()) == 3


def stored_state(daemon: Daemon, job_id: str) -> str:
    """As the store has it: the daemon could not be asked."""
    with closing(sqlite3.connect(daemon.home.database)) as store:
        (state,) = store.execute("SELECT state FROM jobs WHERE id = ?", [job_id]).fetchone()
    return str(state)


# Nothing is left ----------------------------------------------------------------------------


def descriptors(pid: int) -> int:
    """Those of a process, but for connections of the store, which are kept for the next reader."""
    paths = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    return sum("mcli.db" not in os.path.realpath(path) for path in paths)


def test_nothing_is_left_after_fifty_jobs(daemon: Daemon) -> None:
    """
    Daemon and worker hold as many descriptors after fifty jobs as after one, and the jobs'
    directories hold nothing but their four files.
    """
    first = daemon.final(daemon.submit("tell"))
    pids = (daemon.pid, first["worker_pid"])
    before = [descriptors(pid) for pid in pids]
    code = "answer = [mcli.submit(below).wait(30)['worker_pid'] for _ in range(50)]"
    shop = daemon.begin(
        sys.executable, str(Path(PUPPET).with_name("shop.py")), stdin=subprocess.PIPE
    )
    out, err = shop.communicate(code, timeout=60)
    assert shop.returncode == 0, err
    workers = set(out.strip("[]\n").split(", "))
    assert len(workers) == 1
    for _ in range(10):
        daemon.puppet("tell")
    for _ in range(50):  # each question is a turn of the daemon, in which it closes what ended
        daemon.job()
        after = [descriptors(pid) for pid in pids]
        if all(abs(now - then) <= 2 for now, then in zip(after, before, strict=True)):
            break
    else:
        pytest.fail(f"descriptors before {before}, after {after}")
    names = Counter(path.name for path in Path(daemon.home.jobs).glob("*/*"))
    assert set(names) == {"job.json", "output.log", "1.start", "1.outcome"}
    assert set(names.values()) == {61}
