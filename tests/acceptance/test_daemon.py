"""The daemon's own life: starting, stopping, and what becomes of jobs meanwhile."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcli import queue
from mcli.ids import new_id
from mcli.store import database
from mcli.ticket import lock_holder

from .daemon import DEADLINE_S, PROGRAMS, PUPPET, Daemon, Gate, ended


def test_start_returns_when_it_listens(stopped: Daemon) -> None:
    """
    start prints where the daemon is, and a request right after it is answered.
    """
    said = stopped.mcli("daemon", "start", "--port", "0").stdout
    status = json.loads(stopped.mcli("daemon", "status", "--json").stdout)
    assert f"{status['address']} (pid {status['pid']}" in said
    assert status["pid"] == stopped.pid
    port = int(status["address"].removeprefix("http://localhost:"))
    socket.create_connection(("127.0.0.1", port)).close()


def test_status_tells_all(daemon: Daemon, gate: Gate) -> None:
    """
    status --json holds pid, address, home, version, started_at, workers and jobs by state.
    """
    daemon.submit("obey", gate.path)
    inside = gate.arrival()
    status = json.loads(daemon.mcli("daemon", "status", "--json").stdout)
    assert status["home"] == daemon.home.root
    assert status["version"] == "0.1.0"
    assert status["started_at"].endswith("Z")
    assert [worker["pid"] for worker in status["workers"]] == [inside.ppid]
    assert status["jobs"]["running"] == 1
    text = daemon.mcli("daemon", "status").stdout
    assert str(daemon.pid) in text
    assert "1 running" in text


def test_status_without_a_daemon(stopped: Daemon) -> None:
    """
    status says in one line that no daemon runs; its exit code is 125.
    """
    done = stopped.mcli("daemon", "status", code=125)
    assert done.stderr.count("\n") == 1
    assert "mcli daemon start" in done.stderr


def test_second_start_says_that_one_runs(daemon: Daemon) -> None:
    """
    A second start changes nothing, says where the first is, and exits 0.
    """
    pid = daemon.pid
    done = daemon.mcli("daemon", "start", "--port", "0")
    assert "already running" in done.stdout
    assert str(pid) in done.stdout
    assert daemon.pid == pid


def test_twenty_starts_leave_one(stopped: Daemon) -> None:
    """
    Of twenty starts at once one becomes the daemon; all exit 0 and name the same process.
    """
    words = [sys.executable, "-m", "mcli", "daemon", "start", "--port", "0"]
    starts = [stopped.begin(*words) for _ in range(20)]
    said = [start.communicate(timeout=60)[0] for start in starts]
    assert [start.returncode for start in starts] == [0] * 20
    assert all(f"(pid {stopped.pid}," in line for line in said)
    assert sum("started" in line for line in said) == 1
    assert stopped.alone()


def test_stop_leaves_jobs_running(daemon: Daemon, gate: Gate) -> None:
    """
    stop ends the daemon, a job goes on, and the next daemon adopts it:
    the same process, its output without a gap, its true exit code.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before')")
    daemon.mcli("daemon", "stop")
    assert lock_holder(daemon.home.lock) is None
    inside.do("print('between')")
    daemon.start()
    assert (daemon.job(job_id)["state"], daemon.job(job_id)["pid"]) == ("running", inside.pid)
    inside.do("print('after')")
    inside.tell("sys.exit(7)")
    job = daemon.final(job_id)
    assert (job["state"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
    assert daemon.output(job_id) == "before\nbetween\nafter\n"
    assert len(daemon.starts()) == 1


def test_job_that_ends_between_two_daemons(daemon: Daemon, gate: Gate) -> None:
    """
    A job that ends while no daemon lives is finished from what it left.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.stop()
    inside.do("print('alone'); answer = [1, 2]")
    with ended(inside.ppid):  # its worker retires when it has nothing left to do
        inside.leave()
    job = daemon.start().final(job_id)
    assert (job["state"], job["exit_code"], job["result"]) == ("succeeded", 0, [1, 2])
    assert daemon.output(job_id) == "alone\n"


def test_stop_retires_idle_workers(daemon: Daemon) -> None:
    """
    With no job left, stop leaves no process behind.
    """
    daemon.puppet("tell")
    assert len(daemon.processes()) >= 2
    daemon.stop()
    assert daemon.alone()


def test_stop_kill_jobs(daemon: Daemon, gate: Gate) -> None:
    """
    stop --kill-jobs ends the jobs too, and they count as cancelled.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    with ended(inside.pid):
        daemon.mcli("daemon", "stop", "--kill-jobs")
    daemon.start()
    assert daemon.job(job_id)["state"] == "cancelled"


def test_stop_without_a_daemon(stopped: Daemon) -> None:
    """
    There is nothing to stop, which is said and is no failure.
    """
    assert "not running" in stopped.mcli("daemon", "stop").stderr


def test_stop_with_open_answers(daemon: Daemon, gate: Gate) -> None:
    """
    Twenty followers of a job's output do not keep the daemon from ending. Only the end of that job
    ends their answers, and it still stands at the gate when the daemon is gone: a daemon that
    waited for them would not have ended, and ``stop`` would have said so.
    """
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('one')")
    words = [sys.executable, "-m", "mcli", "logs", "-f", job_id]
    env = {"MCLI_RECONNECT": "0.2"}  # another daemon is not waited for
    followers = [daemon.begin(*words, env=env) for _ in range(20)]
    for follower in followers:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "one\n"
    assert [follower.poll() for follower in followers] == [None] * 20
    daemon.stop()
    inside.do("pass")
    for follower in followers:
        out, err = follower.communicate(timeout=DEADLINE_S)
        assert (follower.returncode, out) == (125, ""), err


def test_restart_is_another_process(daemon: Daemon, gate: Gate) -> None:
    """
    restart leaves jobs running and takes them over.
    """
    before = daemon.pid
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.mcli("daemon", "restart", "--port", "0")
    assert daemon.pid != before
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"


def test_restart_keeps_the_options_of_the_start(stopped: Daemon) -> None:
    """
    What was given at the start holds until it is given anew; no variable takes its place.
    """
    env = {"MCLI_WORKERS": "7", "MCLI_BACKGROUND_PORT": "1"}
    stopped.start("--workers", "3", **env)  # and --port=0
    for words, workers in (((), 3), (("--workers", "2"), 2)):
        stopped.mcli("daemon", "restart", *words, env=env)
        with stopped.client() as client:
            assert client.status()["limit"] == workers


def test_restart_without_a_daemon_starts_one(stopped: Daemon) -> None:
    """
    restart needs no daemon to begin with.
    """
    stopped.mcli("daemon", "restart", "--port", "0")
    assert stopped.pid


def test_logs_shows_and_follows_its_log(daemon: Daemon) -> None:
    """
    logs prints the daemon's log, -n its last lines, -f what is added.
    """
    assert "daemon.ready" in daemon.mcli("daemon", "logs").stdout
    assert daemon.mcli("daemon", "logs", "-n", "1").stdout.count("\n") == 1
    follower = daemon.begin(sys.executable, "-m", "mcli", "daemon", "logs", "-f", "-n", "1")
    assert follower.stdout is not None
    assert follower.stdout.readline()  # it is there now
    job_id = daemon.submit("tell")
    while job_id not in follower.stdout.readline():
        assert follower.poll() is None


def test_foreground_runs_here(stopped: Daemon) -> None:
    """
    start --foreground is the daemon itself: it logs to stderr and ends with SIGTERM.
    """
    words = [sys.executable, "-m", "mcli", "daemon", "start", "--foreground", "--port", "0"]
    process = stopped.begin(*words)
    assert process.stderr is not None
    while "daemon.ready" not in process.stderr.readline():
        assert process.poll() is None
    assert stopped.pid == process.pid
    stopped.puppet("tell")
    process.terminate()
    assert process.wait(DEADLINE_S) == 0


def test_port_from_the_environment(stopped: Daemon) -> None:
    """
    MCLI_BACKGROUND_PORT says where it listens, as --port does.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stopped.mcli("daemon", "start", env={"MCLI_BACKGROUND_PORT": str(port)})
    assert json.loads(stopped.mcli("daemon", "status", "--json").stdout)["address"].endswith(
        f":{port}"
    )


def test_taken_port_names_the_way_out(stopped: Daemon) -> None:
    """
    A port that another program has is a clear error: exit 125, one line, --port.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = stopped.mcli("daemon", "start", "--port", str(port), code=125)
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert stopped.alone()
    assert lock_holder(stopped.home.lock) is None


def test_stale_files_of_a_dead_daemon(daemon: Daemon) -> None:
    """
    Sockets and daemon.json of a killed daemon, even with a living stranger's pid in it, are
    in nobody's way, and the stranger is left alone.
    """
    daemon.kill9()
    stranger = daemon.begin("sleep", "60")
    address = Path(daemon.home.address)
    address.write_text(json.dumps({**json.loads(address.read_text()), "pid": stranger.pid}))
    daemon.mcli("ps", code=125)
    daemon.mcli("daemon", "stop")
    assert stranger.poll() is None
    daemon.start()
    assert daemon.puppet("tell").stdout.startswith("job")


def test_home_that_others_can_write(stopped: Daemon) -> None:
    """
    A state directory that others can write to is refused, with the command that mends it.
    """
    os.mkdir(stopped.home.root)
    os.chmod(stopped.home.root, 0o777)
    done = stopped.mcli("daemon", "start", "--port", "0", code=125)
    assert done.stderr.count("\n") == 1
    assert f"chmod 700 {stopped.home.root}" in done.stderr
    assert stopped.processes() == {}


@pytest.mark.parametrize("verb", [("daemon", "start", "--port", "0"), ("daemon", "stop"), ("ps",)])
def test_unusable_home(stopped: Daemon, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """
    A state directory that cannot be made is one line that names it and MCLI_HOME.
    """
    (tmp_path / "file").touch()
    home = str(tmp_path / "file" / "home")
    done = stopped.mcli(*verb, code=125, env={"MCLI_HOME": home})
    assert done.stderr.count("\n") == 1
    assert home in done.stderr
    assert "MCLI_HOME" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("MCLI_BACKGROUND_PORT", "many", "65535"),
        ("MCLI_BACKGROUND_PORT", "70000", "65535"),
        ("MCLI_WORKERS", "0", "a whole number from 1"),
        ("MCLI_BACKGROUND_TIMEOUT", "-1", "above 0"),
        ("MCLI_WORKER_CHECK_INTERVAL", "0", "above 0"),
        ("MCLI_BACKGROUND_ENABLED", "perhaps", "true or false"),
        ("MCLI_BACKGROUND_HOST", "a b", "localhost"),
    ],
)
def test_bad_setting(stopped: Daemon, variable: str, value: str, right: str) -> None:
    """
    A bad value is one line with the variable, the value and what would be right; exit 2.
    The daemon refuses to start, and a command to run.
    """
    for done in (
        stopped.mcli("daemon", "start", code=2, env={variable: value}),
        stopped.puppet("tell", code=2, env={variable: value}),
    ):
        assert done.stderr.count("\n") == 1
        assert all(word in done.stderr for word in (variable, value, right))
    assert stopped.starts() == []


@pytest.mark.parametrize("content", ["port = ", "colour = 1", "port = 'x'"])
def test_corrupt_settings_file(stopped: Daemon, content: str) -> None:
    """
    A settings file that is not TOML, or sets what there is not, is named in one line.
    """
    stopped.home.create()
    path = Path(stopped.home.root, "config.toml")
    path.write_text(content)
    for done in (stopped.mcli("daemon", "start", code=2), stopped.puppet("tell", code=2)):
        assert done.stderr.count("\n") == 1
        assert str(path) in done.stderr


def test_settings_file_is_obeyed(stopped: Daemon) -> None:
    """
    config.toml in the home sets what the environment does not.
    """
    stopped.home.create()
    Path(stopped.home.root, "config.toml").write_text("port = 0\nworkers = 3\n")
    stopped.mcli("daemon", "start")
    assert json.loads(stopped.mcli("daemon", "status", "--json").stdout)["limit"] == 3


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_every_host_is_served(stopped: Daemon, host: str) -> None:
    """
    Where the daemon was told to listen, the verbs reach it.
    """
    stopped.start("--host", host)
    status = json.loads(stopped.mcli("daemon", "status", "--json").stdout)
    assert host in status["address"]


def test_queue_is_looked_at_without_an_event(stopped: Daemon) -> None:
    """
    A job that came into the queue without the daemon's knowledge is claimed at its next look.
    """
    stopped.start(MCLI_WORKER_CHECK_INTERVAL="0.1")
    first = stopped.final(stopped.submit("tell"))
    engine = database.writing(stopped.home.database)
    with engine.begin() as connection:
        body = queue.invocation(connection, first["id"])
        assert body is not None
        columns = {key: first[key] for key in ("name", "app", "command", "argv", "cwd")}
        again = queue.submit(
            connection, now=1.0, job_id=new_id(), invocation=body, timeout_s=None, **columns
        )
    engine.dispose()
    assert stopped.final(again.id)["state"] == "succeeded"


def test_app_is_loaded_in_advance(stopped: Daemon) -> None:
    """
    start --app has a worker ready before the first job.
    """
    stopped.start("--app", PUPPET)
    log = stopped.begin(sys.executable, "-m", "mcli", "daemon", "logs", "-f")
    assert log.stdout is not None
    while "worker.ready" not in log.stdout.readline():
        assert log.poll() is None
    status = json.loads(stopped.mcli("daemon", "status", "--json").stdout)
    job = stopped.final(stopped.submit("tell"))
    assert [worker["pid"] for worker in status["workers"]] == [job["worker_pid"]]


def test_nothing_of_the_daemon_is_inherited(daemon: Daemon, gate: Gate) -> None:
    """
    A job has none of the daemon's or the worker's descriptors: no socket, no database, no lock.
    """
    daemon.submit("obey", gate.path)
    inside = gate.arrival()
    folder = Path(f"/proc/{inside.pid}/fd")
    held = [os.readlink(path) for path in folder.iterdir()]
    assert not [path for path in held if "mcli.db" in path or path.endswith((".lock", ".sock"))]
    assert sum(path.startswith("socket:") for path in held) == 1  # the gate itself


TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
gates = sys.argv[1:]
with ThreadPoolExecutor(len(gates)) as pool:
    answer = [job.id for job in pool.map(lambda gate: waiting.submit(gate=gate), gates)]
"""


def test_jobs_that_come_together_begin_together(stopped: Daemon, gate: Gate) -> None:
    """
    A job that comes while others are being claimed begins as soon as they are: neither the end
    of one of them is waited for, nor the back-stop.
    """
    stopped.start("--workers", "8", MCLI_WORKER_CHECK_INTERVAL="1000")
    shop = str(PROGRAMS / "shop.py")
    process = stopped.begin(sys.executable, shop, *[gate.path] * 8, stdin=subprocess.PIPE)
    out, err = process.communicate(TOGETHER, timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert {gate.arrival().job_id for _ in range(8)} == set(json.loads(out))
