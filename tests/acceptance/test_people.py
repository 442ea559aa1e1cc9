"""The verbs against a real daemon: what they print, how they exit, and what becomes of the job."""

import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from mcli.attach import attach_wire
from mcli.errors import AmbiguousJob

from .daemon import DEADLINE_S, PUPPET, Daemon, Gate, ended, halt, lines, readable

FIELDS = [
    *("id", "name", "state", "reason", "exit_code", "signal", "attempt", "argv", "cwd"),
    *("created_at", "started_at", "finished_at", "run_s", "result", "error", "worker_pid", "pid"),
]


def mcli(*words: str) -> list[str]:
    return [sys.executable, "-m", "mcli", *words]


def test_run_of_a_click_program_is_warm(shared: Daemon) -> None:
    """
    run of `python app.py` uses a worker of that app, as the app's own command line does.
    """
    worker = shared.final(shared.submit("tell"))["worker_pid"]
    done = shared.mcli("run", "--", sys.executable, PUPPET, "tell", "x")
    job = shared.job()
    assert done.stdout == f"job {job['id']} 1\n"
    assert done.stderr == "aside\n"
    assert job["worker_pid"] == worker


def test_run_executes_any_program(shared: Daemon) -> None:
    """
    Streams, exit code, environment and working directory of a program are its own.
    """
    script = "echo out; echo err >&2; echo $MCLI_JOB_ID $MCLI_ATTEMPT; pwd; exit 9"
    done = shared.mcli("run", "--name", "shell", "--", "sh", "-c", script, code=9)
    job = shared.job()
    assert done.stdout == f"out\n{job['id']} 1\n{shared.cwd}\n"
    assert done.stderr == "err\n"
    assert (job["name"], job["state"], job["exit_code"]) == ("shell", "failed", 9)


def test_run_reads_standard_input(shared: Daemon) -> None:
    """
    What is piped into run comes to the program.
    """
    process = shared.begin(*mcli("run", "--", "cat"), stdin=subprocess.PIPE)
    assert (
        process.communicate("through and through", timeout=DEADLINE_S)[0] == "through and through"
    )


def test_run_of_a_program_whose_reader_goes(shared: Daemon) -> None:
    """
    It dies of SIGPIPE without a word, as in a pipeline of a shell, and so does run.
    """
    process = shared.begin(*mcli("run", "--", "yes"))
    assert process.stdout is not None
    assert process.stdout.readline() == "y\n"
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=DEADLINE_S)[1] == ""
    assert process.returncode == -signal.SIGPIPE
    job = shared.final(shared.job()["id"])
    assert (job["state"], job["signal"]) == ("failed", signal.SIGPIPE)
    assert shared.output(job["id"], "stderr") == ""


@pytest.mark.parametrize(("program", "code"), [("./no-such-program", 127), ("./plain", 126)])
def test_run_of_what_cannot_run(shared: Daemon, program: str, code: int) -> None:
    """
    As a shell has it: 127 for no such program, 126 for one that is none; one line each.
    """
    Path(shared.cwd, "plain").write_text("text")
    done = shared.mcli("run", "--", program, code=code)
    assert done.stderr.count("\n") == 1
    assert program in done.stderr


def test_run_detach(shared: Daemon, gate: Gate) -> None:
    """
    --detach prints the id and nothing else, and returns while the job runs.
    """
    words = ["run", "-d", "--name", "mine", "--", sys.executable, PUPPET, "obey", gate.path]
    done = shared.mcli(*words)
    inside = gate.arrival()
    assert (done.stdout, done.stderr) == (f"{inside.job_id}\n", "")
    assert shared.job()["name"] == "mine"


def test_run_with_an_option_that_is_none(shared: Daemon) -> None:
    """
    Before PROGRAM only mcli's own options may stand; after it everything is the program's.
    """
    done = shared.mcli("run", "--bogus", "true", code=2)
    assert "No such option" in done.stderr
    assert "--bogus" in done.stderr
    assert shared.jobs() == []
    done = shared.mcli("run", "echo", "--bogus", "-d", "--", "--name")
    assert done.stdout == "--bogus -d -- --name\n"


def test_run_without_a_daemon(stopped: Daemon) -> None:
    """
    run needs a daemon: exit 125, and one line that says how to start it.
    """
    done = stopped.mcli("run", "--", "true", code=125)
    assert done.stderr == "mcli: the daemon is not running; start it with: mcli daemon start\n"


@pytest.mark.parametrize(
    "verb", ["ps", "inspect -", "logs -", "attach -", "wait -", "cancel -", "kill -", "rerun -"]
)
def test_verb_without_a_daemon(stopped: Daemon, verb: str) -> None:
    """
    Without a daemon every verb exits 125 with one line.
    """
    done = stopped.mcli(*verb.split(), code=125)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "mcli daemon start" in done.stderr


@pytest.mark.parametrize("verb", ["inspect", "logs", "attach", "wait", "cancel", "kill", "rerun"])
def test_verb_with_an_unknown_id(shared: Daemon, verb: str) -> None:
    """
    An id that no job has: exit 2, one line that names it.
    """
    done = shared.mcli(verb, "0123abcd", code=2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "0123abcd" in done.stderr


def test_ps_and_inspect_show_the_fields(shared: Daemon, gate: Gate) -> None:
    """
    The JSON of a job has all fields of the contract, live and final.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    shared.noted(job_id)
    (live,) = json.loads(shared.mcli("ps", "--json").stdout)
    assert set(FIELDS) <= set(live)
    assert (live["id"], live["state"], live["pid"]) == (job_id, "running", inside.pid)
    assert live["worker_pid"] == inside.ppid
    assert live["argv"] == ["obey", gate.path, "--detach"]
    assert live["cwd"] == str(shared.cwd)
    assert live["finished_at"] is live["run_s"] is live["exit_code"] is None
    inside.do("answer = {'loss': 0.5}")
    inside.leave()
    shared.final(job_id)
    final = json.loads(shared.mcli("inspect", "-", "--json").stdout)
    assert (final["state"], final["exit_code"], final["reason"]) == ("succeeded", 0, None)
    assert final["result"] == {"loss": 0.5}
    assert final["run_s"] >= 0
    assert final["error"] is None


def test_inspect_of_an_exception(shared: Daemon, gate: Gate) -> None:
    """
    error holds the traceback of what ended the job.
    """
    job_id = shared.submit("obey", gate.path)
    gate.arrival().tell("raise ValueError('as it were')")
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exception", 1)
    assert job["error"].startswith("Traceback")
    assert job["error"].endswith("ValueError: as it were\n")
    assert "ValueError: as it were" in shared.mcli("inspect", "-").stdout


def test_ps_by_state(shared: Daemon, gate: Gate) -> None:
    """
    --state chooses; without it ps shows live jobs and the latest that ended; -a shows all.
    """
    shared.puppet("leave", "3", code=3)
    shared.puppet("tell")
    running = shared.submit("obey", gate.path)
    gate.arrival()
    listed = json.loads(shared.mcli("ps", "-a", "--json").stdout)
    assert [job["state"] for job in listed] == ["running", "succeeded", "failed"]
    (one,) = json.loads(shared.mcli("ps", "--state", "running", "--json").stdout)
    assert one["id"] == running
    assert running[:13] in shared.mcli("ps").stdout


def test_ids_may_be_shortened(shared: Daemon) -> None:
    """
    A unique beginning of an id is enough; one that several share is refused with exit 2.
    """
    first, second = shared.submit("tell"), shared.submit("tell")
    both = os.path.commonprefix([first, second])  # noqa: RUF071 - not a path
    for job_id in (first, second):
        short = job_id[: len(both) + 1]
        assert json.loads(shared.mcli("inspect", short, "--json").stdout)["id"] == job_id
    for verb in ("inspect", "attach"):
        done = shared.mcli(verb, both, code=2)
        assert done.stderr.count("\n") == 1
    with pytest.raises(AmbiguousJob, match="give more of it"):
        attach_wire(shared.home, both, 0)


def test_logs(shared: Daemon) -> None:
    """
    logs prints both streams in order; --stdout, --stderr, -n and -t choose and adorn.
    """
    script = "echo one; echo two >&2; echo three"
    shared.mcli("run", "--", "sh", "-c", f"for i in 1; do {script}; done")
    said = shared.mcli("logs", "-").stdout
    assert sorted(said.splitlines()) == ["one", "three", "two"]
    assert shared.mcli("logs", "-", "--stdout").stdout == "one\nthree\n"
    assert shared.mcli("logs", "-", "--stderr").stdout == "two\n"
    assert shared.mcli("logs", "-", "--stdout", "-n", "1").stdout == "three\n"
    stamped = shared.mcli("logs", "-", "--stdout", "-t").stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["one", "three"]
    assert stamped[0][:2] == "20"


def test_logs_follows_to_the_end(shared: Daemon, gate: Gate) -> None:
    """
    logs -f shows lines as they are printed, and ends with the job.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    follower = shared.begin(*mcli("logs", "-f", job_id))
    for number in range(3):
        inside.do(f"print('line', {number})")
        assert lines(follower, 1) == [f"line {number}\n"]
    inside.leave()
    assert follower.communicate(timeout=DEADLINE_S) == ("", "")
    assert follower.returncode == 0


def test_attach_shows_all_from_the_beginning(shared: Daemon, gate: Gate) -> None:
    """
    Two attached at once each see what was printed before and after, streams apart, and end
    with the job's exit code.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before')")
    attached = [shared.begin(*mcli("attach", job_id)) for _ in range(2)]
    assert [lines(each, 1) for each in attached] == [["before\n"]] * 2
    inside.do("print('after'); print('aside', file=sys.stderr)")
    inside.tell("sys.exit(5)")
    for each in attached:
        assert each.communicate(timeout=DEADLINE_S) == ("after\n", "aside\n")
        assert each.returncode == 5


def test_attach_to_an_ended_job(shared: Daemon) -> None:
    """
    Of a job that has ended attach shows all its output, and exits as it did.
    """
    shared.puppet("leave", "4", code=4)
    shared.mcli("attach", "-", code=4)


def test_attach_passes_signals_on(shared: Daemon, gate: Gate) -> None:
    """
    SIGTERM to an attached process ends the job by that signal, and the process with it.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('here')")
    attached = shared.begin(*mcli("attach", job_id))
    lines(attached, 1)
    attached.send_signal(signal.SIGTERM)
    assert attached.wait(DEADLINE_S) == -signal.SIGTERM
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "signal", signal.SIGTERM)


def test_attach_types_into_the_job(daemon: Daemon) -> None:
    """
    A job begun at a terminal can be talked to from another one.
    """
    environment = {**daemon.env, "TERM": "xterm"}
    first = pexpect.spawn(
        sys.executable,
        ["-m", "mcli", "run", "--", "sh", "-c", "echo name?; read x; echo hello $x"],
        env=environment,
        timeout=DEADLINE_S,
    )
    first.expect_exact("name?")
    second = pexpect.spawn(
        sys.executable, ["-m", "mcli", "attach", "-"], env=environment, timeout=DEADLINE_S
    )
    second.expect_exact("name?")
    second.sendline("you")
    for each in (second, first):
        each.expect_exact("hello you")
        each.expect(pexpect.EOF)
        each.close()
        assert each.exitstatus == 0


def test_wait_exits_with_the_jobs_code(shared: Daemon) -> None:
    """
    wait gives the job's own code, 0 for a good end; of several the first that is not 0.
    """
    good, bad, worse = (
        shared.submit("tell"),
        shared.submit("leave", "3"),
        shared.submit("leave", "4"),
    )
    assert shared.mcli("wait", good).stdout == f"{good}  succeeded\n"
    shared.mcli("wait", bad, code=3)
    done = shared.mcli("wait", good, worse, bad, code=4)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == [good, bad, worse]


def test_wait_for_any(shared: Daemon, gate: Gate) -> None:
    """
    wait --any returns with the first job that ends.
    """
    held = shared.submit("obey", gate.path)
    inside = gate.arrival()
    quick = shared.submit("leave", "6")
    done = shared.mcli("wait", "--any", held, quick, code=6)
    assert done.stdout == f"{quick}  failed\n"
    inside.leave()


def test_wait_gives_up(shared: Daemon, gate: Gate) -> None:
    """
    wait --timeout says so and exits 124, and the job runs on.
    """
    job_id = shared.submit("obey", gate.path)
    gate.arrival()
    done = shared.mcli("wait", job_id, "--timeout", "0.1", code=124)
    assert (done.stdout, done.stderr) == ("", f"mcli: waited 0.1 s; not ended yet: {job_id}\n")
    assert shared.job(job_id)["state"] == "running"


@pytest.mark.parametrize(("how", "code"), [("SIGKILL", 137), ("SIGTERM", 143)])
def test_wait_for_a_killed_job(shared: Daemon, gate: Gate, how: str, code: int) -> None:
    """
    wait exits with 128 + N for a job that signal N killed; kill -s sends it.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    waiting = shared.begin(*mcli("wait", job_id))
    shared.mcli("kill", "-s", how, job_id)
    assert inside.gone()
    assert waiting.wait(DEADLINE_S) == code
    assert shared.job(job_id)["reason"] == "signal"


def test_kill_sends_any_signal(shared: Daemon, gate: Gate) -> None:
    """
    kill -s USR1 reaches the job's own handler; a signal that is none is refused.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGUSR1, lambda *_: sys.exit(11))")
    shared.mcli("kill", "-s", "NONE", job_id, code=2)
    shared.mcli("kill", "-s", "usr1", job_id)
    assert shared.final(job_id)["exit_code"] == 11
    done = shared.mcli("kill", job_id, code=2)
    assert done.stderr.count("\n") == 1


def test_cancel_of_a_queued_job(stopped: Daemon, gate: Gate) -> None:
    """
    A job that has not begun is cancelled at once, and never begins.
    """
    daemon = stopped.start("--workers", "1")
    daemon.submit("obey", gate.path)
    inside = gate.arrival()
    waiting = daemon.begin_puppet("tell")
    with daemon.client() as client:
        while not (queued := list(client.jobs(states=["queued"]))):
            assert waiting.poll() is None
    assert daemon.mcli("cancel", queued[0]["id"]).stdout == f"{queued[0]['id']}  cancelled\n"
    assert waiting.wait(DEADLINE_S) == 143
    inside.leave()
    assert daemon.job(queued[0]["id"])["attempt"] == 0
    assert len(daemon.starts()) == 1
    done = daemon.mcli("cancel", queued[0]["id"], code=2)
    assert "cancelled" in done.stderr


def test_interrupt_of_a_queued_job(stopped: Daemon, gate: Gate) -> None:
    """
    A caller whose job has not begun ends by its own Ctrl-C, and the job is cancelled.
    """
    daemon = stopped.start("--workers", "1")
    daemon.submit("obey", gate.path)
    inside = gate.arrival()
    waiting = daemon.begin_puppet("tell")
    with daemon.client() as client:
        while not (queued := list(client.jobs(states=["queued"]))):
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(DEADLINE_S) == -signal.SIGINT
        assert client.job(queued[0]["id"])["state"] == "cancelled"
    inside.leave()
    assert len(daemon.starts()) == 1


REPLAYED = """
import os, sys
sys.path.insert(0, {programs!r})
import click, mcli, puppet

@click.group()
def cli():
    if "MCLI_JOB_ID" in os.environ:
        puppet.serve({gate!r})

@cli.command()
@mcli.background
def tell():
    with puppet.body():
        pass

if __name__ == "__main__":
    cli()
"""


def test_interrupt_before_the_body(shared: Daemon, gate: Gate) -> None:
    """
    Ctrl-C while the job is still on its way to the body: nobody runs it, the caller neither.
    """
    program = shared.cwd / "replayed.py"
    program.write_text(REPLAYED.format(programs=os.path.dirname(PUPPET), gate=gate.path))
    caller = shared.begin(sys.executable, str(program), "tell")
    gate.arrival()
    caller.send_signal(signal.SIGINT)
    assert caller.wait(DEADLINE_S) == -signal.SIGINT
    assert shared.final("-")["reason"] == "not_reached"
    assert shared.starts() == []


def test_replay_that_does_not_come_to_the_body(shared: Daemon, gate: Gate) -> None:
    """
    The caller runs the body instead, and says why.
    """
    program = shared.cwd / "replayed.py"
    program.write_text(REPLAYED.format(programs=os.path.dirname(PUPPET), gate=gate.path))
    caller = shared.begin(sys.executable, str(program), "tell")
    inside = gate.arrival()
    inside.tell("sys.exit(3)")
    _, err = caller.communicate(timeout=DEADLINE_S)
    job = shared.final(inside.job_id)
    said = f"mcli: job {job['id']} did not come to its command; running here\n"
    assert (caller.returncode, err, job["reason"]) == (0, said, "not_reached")
    assert [start[0] for start in shared.starts()] == ["here"]


@pytest.fixture
def typist(daemon: Daemon, gate: Gate) -> Iterator["Typist"]:
    """A job at a terminal that does not care for Ctrl-C."""
    typist = Typist(daemon, gate)
    yield typist
    typist.close()


class Typist:
    """A caller at a terminal, and whoever sits there."""

    def __init__(self, daemon: Daemon, gate: Gate) -> None:
        self._master, self._slave = os.openpty()
        self.caller = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, PUPPET, "obey", gate.path],
            stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env=daemon.env, cwd=daemon.cwd,
        )  # fmt: skip
        self.inside = gate.arrival()
        self.inside.do("signal.signal(signal.SIGINT, signal.SIG_IGN)")
        while self._cooked():  # the caller takes the keyboard when it hears of the body
            assert self.caller.poll() is None

    def _cooked(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & termios.ICANON)

    def leaves(self) -> bool:
        """Whether Ctrl-C, again and again, ends the caller and leaves the terminal as it was."""
        out = b""
        for _ in range(100):
            os.write(self._master, b"\x03")
            while readable(self._master, 0.2):
                out += os.read(self._master, 4096)
            if b"has not ended" in out:
                self.caller.wait(DEADLINE_S)
                return self._cooked()
        return False

    def close(self) -> None:
        self.caller.kill()
        self.caller.wait()
        os.close(self._master)
        os.close(self._slave)


def test_three_interrupts_at_a_terminal(daemon: Daemon, typist: Typist) -> None:
    """
    Ctrl-C three times leaves a job that ignores it; the job runs on.
    """
    assert typist.leaves()
    assert daemon.job(typist.inside.job_id)["state"] == "running"
    typist.inside.leave()
    assert daemon.final(typist.inside.job_id)["state"] == "succeeded"


def test_three_interrupts_that_nobody_hears(daemon: Daemon, typist: Typist) -> None:
    """
    They leave as well when the daemon does not answer any more.
    """
    halt(daemon.pid)
    try:
        assert typist.leaves()
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    typist.inside.leave()
    assert daemon.final(typist.inside.job_id)["state"] == "succeeded"


def test_cancel_is_sigterm_first(shared: Daemon, gate: Gate) -> None:
    """
    A running job gets SIGTERM and may clean up; it is then cancelled, whatever its code.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(3)))")
    assert shared.mcli("cancel", job_id).stdout == f"{job_id}  stopping\n"
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("cancelled", "user", 3)
    assert shared.output(job_id) == "bye\n"


TREE = (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen(['sleep', '600'], start_new_session=True);"
    "twice = subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $!'],"
    " capture_output=True, text=True);"
    "print(child.pid, twice.stdout.strip())"
)


def test_cancel_ends_the_whole_tree(stopped: Daemon, gate: Gate) -> None:
    """
    After the grace everything is killed: a job that ignores SIGTERM, a child in another
    session, and a grandchild whose parent has gone.
    """
    daemon = stopped.start(MCLI_GRACE="0.1")
    client = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do(TREE)
    child, stray = map(int, lines(client, 1)[0].split())
    with ended(inside.pid), ended(child), ended(stray):
        daemon.mcli("cancel", inside.job_id)
    job = daemon.final(inside.job_id)
    assert (job["state"], job["signal"]) == ("cancelled", signal.SIGKILL)
    assert client.wait(DEADLINE_S) == -signal.SIGKILL


def test_rerun(shared: Daemon) -> None:
    """
    rerun makes a new job with the same command line, and prints its id.
    """
    first = shared.submit("tell", "--number", "7", "x")
    shared.final(first)
    second = shared.mcli("rerun", first).stdout.strip()
    assert second != first
    again = shared.final(second)
    assert again["result"] == {"number": 7, "words": ["x"]}
    assert (again["name"], again["argv"]) == (shared.job(first)["name"], shared.job(first)["argv"])
    assert shared.output(second, "stdout") == f"job {second} 1\n"
    assert len(shared.starts()) == 2


def test_rerun_of_a_call_with_input_and_terminal(shared: Daemon) -> None:
    """
    A job that had its caller's input runs again without, and sees its end.
    """
    shared.run(sys.executable, "-m", "mcli", "run", "--", "sh", "-c", "cat; echo end")
    again = shared.mcli("rerun", "-").stdout.strip()
    assert shared.final(again)["state"] == "succeeded"
    assert shared.output(again) == "end\n"


def test_plain_mcli_is_ps(shared: Daemon) -> None:
    """
    mcli alone lists the jobs.
    """
    shared.puppet("tell")
    assert shared.mcli().stdout == shared.mcli("ps").stdout
    assert "succeeded" in shared.mcli().stdout
