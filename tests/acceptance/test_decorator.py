"""What the decorator promises its commands, each as a real process with a real daemon."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mcli.attach import Wire
from mcli.errors import StoreUnreadable, UnknownJob
from mcli.handle import Job
from mcli.home import Home
from mcli.status import PATIENT_S, is_background_available
from mcli.version import PROTOCOL

from .daemon import DEADLINE_S, PROGRAMS, PUPPET, Daemon, Gate, go_on, halt, lines

SHOP = str(PROGRAMS / "shop.py")


def ask(daemon: Daemon, code: str) -> Any:
    """The answer of a program that holds the commands of the shop."""
    process = daemon.begin(sys.executable, SHOP, stdin=subprocess.PIPE)
    out, err = process.communicate(code, timeout=DEADLINE_S)
    assert process.returncode == 0, err
    return json.loads(out)


def test_detach_prints_the_id_alone(shared: Daemon) -> None:
    """
    --detach prints the job's id on stdout, nothing else anywhere, and exits 0; MCLI_DETACH=1
    does the same.
    """
    for words, env in ((["--detach"], {}), ([], {"MCLI_DETACH": "1"})):
        done = shared.puppet("leave", "3", *words, env=env)
        assert done.stderr == ""
        job_id = done.stdout.removesuffix("\n")
        assert shared.final(job_id)["exit_code"] == 3


def test_detach_variable_that_is_neither(shared: Daemon) -> None:
    """
    A wrong MCLI_DETACH is one line and exit 2, as other settings; nothing is run. false is false.
    """
    done = shared.puppet("leave", "3", env={"MCLI_DETACH": "bogus"}, code=2)
    assert (done.stdout, done.stderr) == (
        "",
        "mcli: MCLI_DETACH is 'bogus'; it must be true or false\n",
    )
    assert shared.jobs() == []
    shared.puppet("leave", "3", env={"MCLI_DETACH": "no"}, code=3)


def test_detach_without_a_daemon(stopped: Daemon) -> None:
    """
    --detach is not quietly run here: exit 125, and nothing has been run.
    """
    done = stopped.puppet("tell", "--detach", code=125)
    assert done.stderr.count("\n") == 1
    assert "mcli daemon start" in done.stderr
    assert stopped.starts() == []


def test_detached_job_keeps_its_input(shared: Daemon) -> None:
    """
    What is piped into a detached job comes to it, also after its caller has ended.
    """
    read, write = os.pipe()
    job_id = shared.mcli("run", "-d", "--", "cat", stdin=read).stdout.strip()
    os.close(read)
    os.write(write, b"later")
    os.close(write)
    assert shared.final(job_id)["state"] == "succeeded"
    assert shared.output(job_id) == "later"


def test_no_automatic_routing(shared: Daemon) -> None:
    """
    auto_route=False runs here unless --detach is given; command_name is the name in lists.
    """
    assert shared.puppet("manual").stdout == "here\n"
    assert shared.jobs() == []
    job_id = shared.submit("manual")
    assert shared.final(job_id)["name"] == "by hand"
    assert shared.output(job_id) == "in a job\n"


def test_switched_off(shared: Daemon) -> None:
    """
    MCLI_BACKGROUND_ENABLED=false runs here, without a word.
    """
    done = shared.puppet("tell", env={"MCLI_BACKGROUND_ENABLED": "false"})
    assert (done.stdout, done.stderr) == ("job None None\n", "aside\n")
    assert shared.jobs() == []


def test_fallback_is_silent(stopped: Daemon) -> None:
    """
    Without a daemon a command runs here as if mcli were not there.
    """
    done = stopped.puppet("tell")
    assert (done.stdout, done.stderr) == ("job None None\n", "aside\n")
    assert len(stopped.starts()) == 1


def test_no_fallback(stopped: Daemon, gate: Gate) -> None:
    """
    fallback_to_local=False without a daemon: one line that says how to start it, exit 125.
    """
    done = stopped.puppet("strict", gate.path, code=125)
    assert done.stderr == "mcli: the daemon is not running; start it with: mcli daemon start\n"
    assert gate.quiet()


def test_timeout(shared: Daemon, gate: Gate) -> None:
    """
    A job that runs longer than timeout= is ended: exit 124, failed, reason timeout.
    """
    client = shared.begin_puppet("brief", gate.path, env=shared.late())
    inside = gate.arrival()
    go_on({shared.halted()})
    assert inside.gone()
    _, err = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 124
    assert "timeout of 0.2 s" in err
    job = shared.job()
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "timeout", 124)
    assert job["timeout_s"] == 0.2
    shared.mcli("wait", job["id"], code=124)


def test_timeout_of_a_program(shared: Daemon, gate: Gate) -> None:
    """
    A command's own timeout= holds as well when its program is run by mcli run.
    """
    words = [sys.executable, str(PUPPET), "brief", gate.path]
    client = shared.begin(sys.executable, "-m", "mcli", "run", "--", *words, env=shared.late())
    gate.arrival()
    go_on({shared.halted()})
    client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 124
    (job,) = shared.jobs()
    assert (job["state"], job["reason"]) == ("failed", "timeout")


def test_timeout_setting_of_the_caller(shared: Daemon, gate: Gate) -> None:
    """
    MCLI_BACKGROUND_TIMEOUT in a caller's environment is the limit of its job.
    """
    env = {"MCLI_BACKGROUND_TIMEOUT": "0.25"} | shared.late()
    client = shared.begin_puppet("obey", gate.path, env=env)
    gate.arrival()
    go_on({shared.halted()})
    client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 124
    assert [job["timeout_s"] for job in shared.jobs()] == [0.25]


def test_hidden_answers_are_forgotten(daemon: Daemon) -> None:
    """
    What was typed unseen reaches the job, and is not in the store when that has ended.
    """
    secret = "s3cr3t-and-unusual"
    # In a session of its own there is no terminal to read a password from but standard input.
    client = daemon.begin_puppet("login", stdin=subprocess.PIPE, start_new_session=True)
    out, err = client.communicate(f"{secret}\nada\n", timeout=DEADLINE_S)
    assert out.endswith(f"ada {len(secret)}\n"), err
    daemon.stop()  # it writes what waits, and clears the write-ahead log
    kept = Path(daemon.home.database).read_bytes()
    assert b"ada" in kept
    assert secret.encode() not in kept


def test_timeout_setting_gives_way(stopped: Daemon, gate: Gate) -> None:
    """
    MCLI_BACKGROUND_TIMEOUT holds for commands without a timeout of their own.
    """
    daemon = stopped.start(MCLI_BACKGROUND_TIMEOUT="0.3")
    job_id = daemon.submit("obey", gate.path, env=daemon.late())
    gate.arrival()
    go_on({daemon.halted()})
    job = daemon.final(job_id)
    assert (job["reason"], job["timeout_s"]) == ("timeout", 0.3)
    job = daemon.final(daemon.submit("brief", gate.path))
    assert (job["reason"], job["timeout_s"]) == ("timeout", 0.2)


def test_command_within_a_job_runs_in_it(shared: Daemon) -> None:
    """
    A background command that a job calls runs in that job's processes.
    """
    assert shared.puppet("nest").stdout == "True\n"
    assert len(shared.jobs()) == 1


def test_job_knows_itself(shared: Daemon) -> None:
    """
    A job finds MCLI_JOB_ID and MCLI_ATTEMPT in its environment.
    """
    done = shared.puppet("tell")
    assert done.stdout == f"job {shared.job()['id']} 1\n"


@pytest.mark.parametrize(
    ("call", "result", "name"),
    [
        ("above.submit(times=2, words=['--times', 'b c'])", ["--times", "b c"] * 2, "above"),
        ("mcli.submit(below, flag=False)", False, "below"),
        ("below.submit()", True, "below"),
        ("deep.submit(number=-4)", -3, "deep one"),
        ("typed.submit(name='ab', count=2)", "abab", "typed"),
        ("calling.submit()", "outer of False", "calling"),
    ],
)
def test_submit(shared: Daemon, call: str, result: object, name: str) -> None:
    """
    submit takes parameters, and the job's result is what the command returned.
    """
    assert ask(shared, f"answer = {call}.result(20)") == result
    assert shared.job()["name"] == name


def test_submit_checks_first(shared: Daemon) -> None:
    """
    A value that the command's own types refuse is refused before anything is sent.
    """
    code = """
answer = []
for call in (lambda: above.submit(times=10), lambda: above.submit(colour=1),
             lambda: deep.submit(), lambda: group.submit()):
    try:
        call()
    except (click.UsageError, TypeError) as error:
        answer.append(type(error).__name__)
"""
    assert ask(shared, code) == ["BadParameter", "TypeError", "MissingParameter", "TypeError"]
    assert shared.jobs() == []


def test_handle(shared: Daemon) -> None:
    """
    A handle waits, gives output and result, and tells a failure.
    """
    code = """
job = above.submit(words=["x"])
document = job.wait(20)
bad = failing.submit()
try:
    bad.result(20)
except Exception as error:
    answer = [document["state"], document["id"] == job.id, job.output().decode(),
              job.result(), type(error).__name__, str(error).split(maxsplit=2)[2]]
"""
    assert ask(shared, code) == [
        "succeeded",
        True,
        "x\n",
        ["x"],
        "JobFailed",
        "failed (exception): RuntimeError: out of stock",
    ]


def test_a_result_that_was_not_kept(shared: Daemon) -> None:
    """
    What is not JSON or larger than 1 MiB is no result: the stand-in for it is never returned.
    """
    code = """
answer = [large.submit(size=-1).result(20), len(large.submit(size=1000).result(20))]
for size in (0, 1 << 20):
    try:
        answer.append(large.submit(size=size).result(20))
    except mcli.errors.JobFailed as error:
        answer.append(str(error).split(maxsplit=2)[2])
"""
    assert ask(shared, code) == [
        {"repr": "x", "truncated": True},
        1000,
        "succeeded, but what it returned is not JSON",
        "succeeded, but what it returned is larger than 1 MiB",
    ]


@pytest.mark.parametrize("job_id", ["nope", "../..", "", "01932c5e-0000-7000-8000-000000000000"])
def test_output_of_no_job(stopped: Daemon, job_id: str) -> None:
    """
    An id that the state directory does not know has no output, not an empty one.
    """
    with pytest.raises(UnknownJob, match="no job has the id"):
        Job(job_id, home=stopped.home).output()


def test_output_of_a_job_that_waits(daemon: Daemon, gate: Gate) -> None:
    """
    A job that has been accepted and not begun is known, and has printed nothing.
    """
    daemon.stop()
    daemon.start("--workers", "1")
    daemon.submit("obey", gate.path)
    gate.arrival()
    assert ask(daemon, "answer = above.submit(words=['x']).output().decode()") == ""


def test_output_from_a_store_that_cannot_be_read(stopped: Daemon) -> None:
    """
    A damaged store is told as such, and not as an unknown job.
    """
    Path(stopped.home.root).mkdir(mode=0o700, exist_ok=True)
    Path(stopped.home.database).write_text("no database" * 100)
    stopped.sound = False
    with pytest.raises(StoreUnreadable, match="cannot use the store"):
        Job("01932c5e-0000-7000-8000-000000000000", home=stopped.home).output()


def test_handle_cancels(shared: Daemon, gate: Gate) -> None:
    """
    cancel ends the job; a wait that is too short says so and leaves it alone.
    """
    code = f"""
job = waiting.submit(gate={gate.path!r})
try:
    job.wait(0.05)
except TimeoutError as error:
    early = str(error)
    job.cancel()
answer = [job.wait(20)["state"], "runs on" in early]
"""
    assert ask(shared, code) == ["cancelled", True]


def test_submit_without_a_daemon(stopped: Daemon) -> None:
    """
    submit never runs here: it raises.
    """
    code = """
try:
    below.submit()
except mcli.errors.DaemonNotRunning as error:
    answer = str(error)
"""
    assert "mcli daemon start" in str(ask(stopped, code))


CHECKS = """
answer = [mcli.is_background_available(), mcli.status_check(), mcli.health_check()]
"""


def test_checks(shared: Daemon) -> None:
    """
    The three questions about the daemon have their documented keys.
    """
    there, status, health = ask(shared, CHECKS)
    assert there is True
    assert status["running"] is True
    assert status["pid"] == shared.pid
    assert set(status) == {
        "running", "version", "home", "inside_job", "pid", "address", "daemon_version",
        "started_at", "limit", "workers", "jobs",
    }  # fmt: skip
    assert health["healthy"] is True
    assert set(health["checks"]) == {"home", "daemon", "version"}


def test_background_is_not_available_when_switched_off(daemon: Daemon) -> None:
    """
    With MCLI_BACKGROUND_ENABLED=false no command would go to the daemon, and that is the answer.
    """
    daemon.env["MCLI_BACKGROUND_ENABLED"] = "false"
    assert ask(daemon, "answer = mcli.is_background_available()") is False


def test_a_daemon_that_does_not_answer(shared: Daemon) -> None:
    """
    Of a stopped daemon it is not waited for: the answer is no, at once.
    """
    code = """
import time
begun = time.monotonic()
answer = [mcli.is_background_available(), time.monotonic() - begun]
"""
    pid = shared.pid
    halt(pid)
    try:
        there, took_s = ask(shared, code)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert there is False
    assert took_s < PATIENT_S / 2  # 50 ms: tests/benchmarks/available.py


def test_a_daemon_that_is_too_busy_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that is there, and has not come to answer in 50 ms, is there: a command waits for it.
    """
    monkeypatch.setenv("MCLI_HOME", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(Home(str(tmp_path)).attach_socket)
        listener.listen()
        assert is_background_available() is True


def test_an_answer_in_pieces_does_not_stretch_the_deadline(tmp_path: Path) -> None:
    """
    The time for an answer is counted from its beginning, and not anew for each byte of it.
    """
    home = Home(str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(home.attach_socket)
        listener.listen()
        wire = Wire(home)
        peer, _ = listener.accept()
        with peer:
            peer.send(b"\0")  # the beginning of a frame
            wire.deadline = time.monotonic() - 1
            with pytest.raises(TimeoutError):
                wire.receive()
        wire.close()


def test_checks_without_a_daemon(stopped: Daemon) -> None:
    """
    Without a daemon the same questions have answers, and none raises.
    """
    there, status, health = ask(stopped, CHECKS)
    assert there is False
    assert set(status) == {"running", "version", "home", "inside_job", "error"}
    assert status["running"] is health["healthy"] is False
    assert health["checks"]["daemon"]["ok"] is False


def test_limit(stopped: Daemon, gate: Gate) -> None:
    """
    MCLI_WORKERS jobs run at once; the next waits until one has ended.
    """
    daemon = stopped.start(MCLI_WORKERS="2")
    ids = [daemon.submit("obey", gate.path) for _ in range(3)]
    first, second = gate.arrival(), gate.arrival()
    assert {first.job_id, second.job_id} == set(ids[:2])
    assert daemon.job(ids[2])["state"] == "queued"
    assert gate.quiet()
    second.leave()
    assert gate.arrival().job_id == ids[2]
    first.leave()


# Daemons of another version -----------------------------------------------------------------

FAKE = """
import json, os, socket, sys
from mcli import frames
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print("listening", flush=True)
while True:
    wire, _ = listening.accept()
    wire.recv(1 << 18)
    refusal = {"code": "protocol_mismatch", "message": "the daemon speaks protocol 0; restart it"}
    wire.sendall(frames.encode(frames.REFUSED, refusal))
    wire.close()
"""


def test_daemon_of_another_version(stopped: Daemon, gate: Gate) -> None:
    """
    A daemon that speaks another protocol takes nothing: a command says so and runs here, one
    without fallback fails with 125 and one line, and so does a detached one.
    """
    stopped.home.create()
    fake = stopped.begin(sys.executable, "-c", FAKE, stopped.home.attach_socket)
    lines(fake, 1)
    done = stopped.puppet("tell")
    assert done.stdout == "job None None\n"
    assert done.stderr == "mcli: the daemon speaks protocol 0; restart it; running here\naside\n"
    for words in (["strict", gate.path], ["tell", "--detach"]):
        done = stopped.puppet(*words, code=125)
        assert done.stderr == "mcli: the daemon speaks protocol 0; restart it\n"
    assert len(stopped.starts()) == 1
    assert gate.quiet()


def test_caller_of_another_version(shared: Daemon) -> None:
    """
    A daemon answers a caller of another protocol with how to mend it, and accepts nothing.
    """
    code = "import mcli.attach, mcli.version\nmcli.attach.PROTOCOL = 99\nbelow.submit()"
    process = shared.begin(sys.executable, SHOP, stdin=subprocess.PIPE)
    _, err = process.communicate(code, timeout=DEADLINE_S)
    last = err.splitlines()[-1]
    assert f"speaks protocol {PROTOCOL}" in last
    assert "mcli daemon restart" in last
    assert shared.jobs() == []


def test_verbs_of_a_daemon_of_another_version(daemon: Daemon) -> None:
    """
    The verbs refuse a daemon of another protocol with exit 125, and say what mends it.
    """
    path = Path(daemon.home.address)
    path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": 0}))
    done = daemon.mcli("ps", code=125)
    assert done.stderr.count("\n") == 1
    assert "mcli daemon restart" in done.stderr
    daemon.mcli("daemon", "restart", "--port", "0")
    daemon.mcli("ps")


# What stands behind a command ---------------------------------------------------------------


def write(path: Path, body: str) -> Path:
    head = "import click, mcli\n@click.command()\n@mcli.background\ndef main():\n"
    path.write_text(f"{head}    {body}\nif __name__ == '__main__':\n    main()\n")
    return path


def test_new_code_runs(shared: Daemon) -> None:
    """
    A program that was edited runs as it is now, though a warm worker has its old self.
    """
    program = write(shared.cwd / "edited.py", "print('old')")
    assert shared.run(sys.executable, str(program)).stdout == "old\n"
    write(program, "print('new one')")
    assert shared.run(sys.executable, str(program)).stdout == "new one\n"
    assert {job["state"] for job in shared.jobs()} == {"succeeded"}


def test_edited_module_is_loaded_anew(daemon: Daemon, gate: Gate) -> None:
    """
    The same for a module it imports; a job that runs already is not disturbed.
    """
    program, module = daemon.cwd / "main.py", daemon.cwd / "part.py"
    module.write_text("def run():\n    print('old')\n")
    body = f"import part; from puppet import serve; serve({gate.path!r}); part.run()"
    write(program, body).write_text("import part\n" + program.read_text())
    env = {"PYTHONPATH": f"{daemon.env['PYTHONPATH']}:{PROGRAMS}"}
    first = daemon.begin(sys.executable, str(program), env=env)
    before = gate.arrival()
    module.write_text("def run():\n    print('brand new')\n")
    second = daemon.begin(sys.executable, str(program), env=env)
    after = gate.arrival()
    assert before.ppid != after.ppid
    for inside, client, said in ((after, second, "brand new\n"), (before, first, "old\n")):
        inside.leave()
        assert client.communicate(timeout=DEADLINE_S) == (said, "")


def test_environment_that_an_import_read(shared: Daemon) -> None:
    """
    A variable that a module reads when it is imported has, in each run, that run's value.
    """
    for colour in ("red", "blue", "red", "none"):
        env = {"COLOUR": colour} if colour != "none" else {}
        done = shared.run(sys.executable, str(PROGRAMS / "asker.py"), env=env)
        assert done.stdout == f"{colour}\n"
    assert {job["state"] for job in shared.jobs()} == {"succeeded"}


def test_import_that_starts_a_thread(shared: Daemon) -> None:
    """
    An app whose imports leave a thread running is never forked with it: its jobs import anew.
    """
    program = str(PROGRAMS / "threading_app.py")
    for _ in range(3):
        assert shared.run(sys.executable, program).stdout == "locked True threads 2\n"
    assert [job["state"] for job in shared.jobs()] == ["succeeded"] * 3


BROKEN = {
    "raises": "raise RuntimeError('broken app')",
    "exits": "import sys; sys.exit(3)",
    "dies": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("how", BROKEN)
def test_app_that_fails_at_import(shared: Daemon, how: str) -> None:
    """
    A command whose app cannot be loaded fails, with its traceback, and is not tried for ever.
    """
    (shared.cwd / "part.py").write_text(
        f"import os\nif os.environ.get('BREAK'):\n    {BROKEN[how]}\n"
    )
    program = write(shared.cwd / "broken.py", "print('fine')")
    program.write_text("import part\n" + program.read_text())
    code = (
        "import os, runpy, sys; sys.path.insert(0, os.getcwd())\n"
        "import broken; os.environ['BREAK'] = '1'; print(broken.main.submit().wait(20)['id'])"
    )
    job = shared.job(shared.run(sys.executable, "-c", code).stdout.strip())
    assert job["state"] == "failed"
    assert job["attempt"] == 1
    if how == "raises":
        assert "RuntimeError: broken app" in job["error"]
    if how == "exits":
        assert job["exit_code"] == 3
    assert shared.puppet("tell").returncode == 0


def test_app_that_hangs_at_import(stopped: Daemon, gate: Gate) -> None:
    """
    A job whose app never finishes its import can be cancelled, and ends with its timeout.
    """
    daemon = stopped.start(MCLI_GRACE="0.1")
    (daemon.cwd / "part.py").write_text(
        "import os\nif os.environ.get('BREAK'):\n"
        f"    from puppet import serve; serve({gate.path!r})\n"
    )
    program = write(daemon.cwd / "broken.py", "print('fine')")
    program.write_text("import part\n" + program.read_text())
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "import broken; os.environ['BREAK'] = '1'; print(broken.main.submit().id)"
    )
    env = {"PYTHONPATH": f"{daemon.env['PYTHONPATH']}:{PROGRAMS}"}
    job_id = daemon.run(sys.executable, "-c", code, env=env).stdout.strip()
    inside = gate.arrival()
    daemon.mcli("cancel", job_id)
    assert daemon.final(job_id)["state"] == "cancelled"
    assert inside.gone()
