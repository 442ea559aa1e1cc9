"""
What befalls the daemon and the worker, and the ground they stand on.

Each test names its row of docs/explanation/reliability.md.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from mcli.daemon import rounds
from mcli.home import Home
from mcli.ticket import lock_holder

from .daemon import (
    DEADLINE_S,
    PROJECT,
    PUPPET,
    Daemon,
    Document,
    Gate,
    ended,
    halt,
    readable,
    until,
)
from .ledger import fds, until_fds_are_back

CRASHED: Final = 70


def exit_code(daemon: Daemon) -> int:
    """How the newest process that was the daemon has ended."""
    return daemon._daemons[-1].wait(DEADLINE_S)


def log(daemon: Daemon) -> str:
    return Path(daemon.home.log).read_text()


def start_changed(daemon: Daemon, code: str, **env: str) -> None:
    """Start it with *code* run before it."""
    hook = daemon.cwd / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        f"import sys\nif 'mcli.daemon' in sys.orig_argv:\n{textwrap.indent(code, '    ')}"
    )
    daemon.start(PYTHONPATH=f"{PROJECT}:{hook}", **env)


# An ordinary user -----------------------------------------------------------------------------

READ = "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"


class Somebody(Daemon):
    """A daemon of an ordinary user, whom limits bind; of ourselves, if we are one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        uid = os.getuid() or 60000 + os.getpid() % 5000
        os.chown(folder, uid, -1)
        become = ["setpriv", "--reuid", str(uid), "--clear-groups", *READ]
        self._become = [] if os.getuid() else become

    def begin(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        return super().begin(*self._become, *words, **options)

    def status(self) -> Document:
        told: Document = json.loads(self.mcli("daemon", "status", "--json").stdout)
        return told

    def close(self) -> None:
        self.mcli("daemon", "stop", "--kill-jobs", code=None)
        super().close()


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    with TemporaryDirectory(prefix="mcli-z3-") as folder:
        somebody = Somebody(Path(folder))
        yield somebody
        somebody.close()


# D11: memory -----------------------------------------------------------------------------------


def test_kernel_picks_the_job(shared: Daemon, gate: Gate) -> None:
    """
    D11: short of memory, the kernel ends a job before the daemon or the worker.
    """
    shared.submit("obey", gate.path)
    inside = gate.arrival()
    marks = [
        int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        for pid in (inside.pid, inside.ppid, shared.pid)
    ]
    assert marks[0] >= 500
    assert max(marks[1:]) < marks[0]


# D12: a bug, a hang ---------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["recv", "claimed"])
def test_exception_in_the_event_loop(stopped: Daemon, point: str) -> None:
    """
    D12: an exception that nobody has foreseen ends the daemon with code 70 and its traceback in
    the log. The next one carries on: the job runs, once.
    """
    stopped.start(MCLI_FAILPOINT=f"{point}:raise")
    caller = stopped.begin_puppet("tell")
    assert exit_code(stopped) == CRASHED
    said = log(stopped)
    assert "daemon.crashed" in said
    assert f"RuntimeError: failpoint {point}" in said
    stopped.start()
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0
    assert len(stopped.starts()) == 1


def test_writer_that_has_died(stopped: Daemon) -> None:
    """
    D12: the thread that writes the store does not die alone: nobody would be answered any more.
    """
    start_changed(
        stopped,
        "from mcli.store.store import Store\n"
        "def fail(self):\n"
        "    raise MemoryError\n"
        "Store._empty_log = fail\n",
    )
    stopped.begin_puppet("tell")
    assert exit_code(stopped) == CRASHED
    assert "the thread mcli-store has died" in log(stopped)


def test_loop_that_hangs(stopped: Daemon) -> None:
    """
    D12: a daemon whose loop hangs ends with code 70, and its log tells where it hung. The caller
    finds out from the store that it has to run the body itself.
    """
    stopped.start(MCLI_FAILPOINT="recv:hang", MCLI_WATCHDOG="1")
    caller = stopped.begin_puppet("tell")
    assert exit_code(stopped) == CRASHED
    said = log(stopped)
    assert "daemon.hung" in said
    assert "failpoint.py" in said
    out, err = caller.communicate(timeout=DEADLINE_S)
    said = "mcli: the daemon went away before it took the job; running here\n"
    assert (caller.returncode, out, err) == (0, "job None None\n", said + "aside\n")
    assert [start[0] for start in stopped.starts()] == ["here"]


STUBBORN = """
import asyncio
from mcli.daemon.dispatch import Dispatcher

async def go_on():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

def pump_and_go_on(self, pump=Dispatcher.pump):
    pump(self)
    self.spawn(go_on())

Dispatcher.pump = pump_and_go_on
"""


def test_task_that_goes_on(stopped: Daemon) -> None:
    """
    D10: a daemon that was told to stop ends, whatever is under way in it and does not heed that.
    """
    start_changed(stopped, STUBBORN)
    stopped.puppet("tell")
    stopped.stop()
    assert exit_code(stopped) == 0


BUSY = """
import asyncio
from mcli.daemon.dispatch import Dispatcher

async def begin_late(self, lane, room, claimed, begin=Dispatcher._begin):
    for info in await asyncio.wrap_future(claimed):
        while self.get(info.id).state == "running":
            await asyncio.sleep(0)
    await begin(self, lane, room, claimed)

Dispatcher._begin = begin_late
"""


@pytest.mark.parametrize("earlier", [False, True])
def test_cancel_before_it_is_known_what_was_claimed(
    stopped: Daemon, gate: Gate, earlier: bool
) -> None:
    """
    A busy loop hears of a claim when the job is to end already: it is not begun. The same for a job
    of an earlier daemon, which is known by the claim alone.
    """
    if earlier:
        stopped.start(MCLI_WORKERS="1").submit("obey", gate.path)
        gate.arrival()
        job_id = stopped.submit("tell")
        stopped.kill9()
        start_changed(stopped, BUSY, MCLI_WORKERS="2")
    else:
        start_changed(stopped, BUSY)
        job_id = stopped.submit("tell")
    until(lambda: stopped.job(job_id)["state"] == "running")
    stopped.mcli("cancel", job_id)
    job = stopped.final(job_id)
    assert (job["state"], job["reason"]) == ("cancelled", "user")
    assert job_id not in {start[0] for start in stopped.starts()}


def test_loop_that_lets_nobody_else_run(stopped: Daemon) -> None:
    """
    D12: a loop that hangs in C code keeps the watchdog from looking too: the kernel ends it.
    """
    start_changed(
        stopped,
        "import re\n"
        "from mcli import failpoint\n"
        "failpoint.reach = lambda name: name == 'recv' and re.match('(a+)+$', 'a' * 60 + 'b')\n",
        MCLI_WATCHDOG="1",
    )
    caller = stopped.begin_puppet("tell")
    assert exit_code(stopped) == -signal.SIGPROF
    assert "<lambda>" in log(stopped)
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0
    assert len(stopped.starts()) == 1


def test_stopped_is_not_hung(stopped: Daemon) -> None:
    """
    D8, D12: time in which the daemon was stopped does not count, however long it was.
    """
    stopped.start(MCLI_WATCHDOG="0.6")
    pid = stopped.pid
    process = os.pidfd_open(pid)
    try:
        for _ in range(2):
            halt(pid)
            assert not readable(process, 0.9)
            os.kill(pid, signal.SIGCONT)
            assert not readable(process, 0.7)
    finally:
        os.close(process)
    stopped.puppet("tell")
    assert stopped.pid == pid


def test_stopped_for_longer_than_a_caller_waits(daemon: Daemon) -> None:
    """
    D8: a caller that has asked twice and heard nothing takes its job in the store, says why, and
    runs the body here. The daemon goes on, reads what it was sent, and does not run it again.
    """
    with closing(sqlite3.connect(daemon.home.database, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")  # it does not write: nobody could take anything then
        halt(daemon.pid)
    try:
        caller = daemon.puppet("tell")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    said = "mcli: the daemon has not answered in 5 s; running here\n"
    assert (caller.stdout, caller.stderr) == ("job None None\n", said + "aside\n")
    after = daemon.submit("tell")
    daemon.final(after)  # it has read what it was sent before
    job = daemon.jobs()[-1]
    assert (job["route"], job["state"], job["exit_code"]) == ("local", "succeeded", 0)
    assert [start[0] for start in daemon.starts()] == ["here", after]


# D16: sockets, directories --------------------------------------------------------------------


def _inode(path: str) -> int | None:
    with suppress(FileNotFoundError):
        return os.stat(path).st_ino
    return None


def test_sockets_that_are_removed(shared: Daemon) -> None:
    """
    D16: a tmp cleaner takes the sockets of a running daemon, or another process puts its own in
    their place: within a second they are there again, for its own user alone. Still one daemon;
    commands, and new workers, find it.
    """
    pid = shared.pid
    for path in (shared.home.attach_socket, shared.home.worker_socket):
        os.unlink(path)
        until(partial(os.path.exists, path), within_s=1.0)
        assert os.stat(path).st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as thief:
            os.rename(path, f"{path}.away")
            thief.bind(path)
            stolen = os.stat(path).st_ino
            until(lambda: stolen != _inode(path), within_s=1.0)  # noqa: B023 - here and now
            os.unlink(f"{path}.away")
        until(partial(os.path.exists, path), within_s=1.0)
    out = shared.puppet("tell", env={"PYTHONHASHSEED": "1"}).stdout  # no worker fits: a new one
    (job,) = shared.jobs()
    assert out == f"job {job['id']} 1\n"
    assert shared.pid == pid


def test_runtime_directory_that_is_wiped(tmp_path: Path) -> None:
    """
    D16: at logout the directory of the sockets goes. The lock is elsewhere: still one daemon,
    and it makes directory and sockets anew, for its own user alone.
    """
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    daemon = Daemon(folder, XDG_RUNTIME_DIR=str(runtime))
    try:
        daemon.start()
        pid = daemon.pid
        assert sorted(path.name[-11:] for path in (runtime / "mcli").iterdir()) == [
            "attach.sock",
            "worker.sock",
        ]
        shutil.rmtree(runtime)
        until(lambda: len(list((runtime / "mcli").glob("*.sock"))) == 2, within_s=1.0)
        assert os.stat(runtime / "mcli").st_mode & 0o077 == 0
        daemon.puppet("tell")
        assert [job["route"] for job in daemon.jobs()] == ["daemon"]
        assert daemon.pid == pid
        assert "already running" in daemon.mcli("daemon", "start", "--port", "0").stdout
    finally:
        daemon.close()


def test_start_in_a_deleted_directory(stopped: Daemon) -> None:
    """
    D16: a daemon may be started where there is no directory any more, and needs none.
    """
    here = stopped.cwd / "here"
    here.mkdir()
    words = f"rmdir {here}; exec {sys.executable} -m mcli daemon start --port 0"
    stopped.cwd = here
    stopped.run("sh", "-c", words)
    stopped.cwd = here.parent
    stopped.puppet("tell")
    assert os.readlink(f"/proc/{stopped.pid}/cwd") == "/"


def test_no_home_variable(stopped: Daemon) -> None:
    """
    D16: without HOME the state directory is where MCLI_HOME or XDG_STATE_HOME says.
    """
    del stopped.env["HOME"], stopped.env["MCLI_HOME"]
    stopped.env["XDG_STATE_HOME"] = str(stopped.cwd / "state")
    stopped.home = Home(str(stopped.cwd / "state" / "mcli"))
    stopped.mcli("daemon", "start", "--port", "0")
    assert stopped.pid
    stopped.puppet("tell")
    assert [job["route"] for job in stopped.jobs()] == ["daemon"]
    stopped.stop()


def test_no_home_at_all(somebody: Somebody) -> None:
    """
    D16: where nobody knows a home directory, no file is made anywhere, and a command runs here.
    """
    if os.getuid():
        pytest.skip("only root can be somebody whom nobody knows")
    del somebody.env["HOME"], somebody.env["MCLI_HOME"]
    done = somebody.puppet("tell")
    assert done.stdout == "job None None\n"
    told = "there is no home directory for the state; set HOME, or MCLI_HOME"
    assert done.stderr == f"mcli: {told}; running here\naside\n"
    for verb in ("start", "stop"):
        assert somebody.mcli("daemon", verb, code=125).stderr == f"mcli: {told}\n"
    assert os.listdir(somebody.cwd) == ["ledger"]
    somebody.env["MCLI_HOME"] = somebody.home.root


# D17: the state directory ---------------------------------------------------------------------


def take_directory(home: Home) -> None:
    os.rename(home.root, f"{home.root}.old")


def take_lock(home: Home) -> None:
    os.unlink(home.lock)


def take_database(home: Home) -> None:
    os.rename(home.database, f"{home.database}.old")


@pytest.mark.parametrize("take", [take_directory, take_lock, take_database])
def test_ground_is_taken_away(stopped: Daemon, take: Callable[[Home], None]) -> None:
    """
    D17: without its directory, lock or database the daemon ends within a second, with code 70
    and a plain line in its log: another one can be started, and there are never two.
    """
    assert rounds.LOOK_S < 0.5  # so that it is within a second
    stopped.start()
    log_file = os.open(stopped.home.log, os.O_RDONLY)
    take(stopped.home)
    assert exit_code(stopped) == CRASHED
    with open(log_file) as file:
        last = file.read().splitlines()[-1]
    assert "was removed or replaced; start another daemon" in last
    if take is not take_directory:
        told = stopped.mcli("doctor", code=1).stdout
        assert "wrong  daemon           it has died: /" in told
        assert "was removed or replaced; start another daemon: commands run in the caller" in told
        stopped.start().kill9()
        told = stopped.mcli("doctor", code=1).stdout
        assert "wrong  daemon           it has died: commands run in the caller" in told


def test_directory_is_removed_while_a_job_runs(stopped: Daemon, gate: Gate) -> None:
    """
    D17: whoever waits for the job is told what was removed; ``mcli doctor`` names the job that runs
    on without it, also when another daemon is there, and until that job has ended.
    """
    stopped.start()
    program = stopped.mcli("run", "--detach", "--", "sleep", "600").stdout.strip()
    caller = stopped.begin_puppet("obey", gate.path, env={"MCLI_RECONNECT": "0.2"})
    inside = gate.arrival()
    pid = stopped.noted(program)["pid"]
    take_directory(stopped.home)
    assert exit_code(stopped) == CRASHED
    _, err = caller.communicate(timeout=DEADLINE_S)
    (worker,) = {inside.ppid} & set(stopped.processes())
    said = (
        f"mcli: the daemon went away; it has taken job {inside.job_id}, which was not run here; "
        f"{stopped.home.root} was removed or replaced, and does not know it any more\n"
    )
    assert (caller.returncode, err) == (75, said)
    told = stopped.mcli("doctor", code=1).stdout
    assert f"wrong  state directory  {stopped.home.root} was removed while jobs ran: " in told
    for each in (f"{inside.job_id} (pid {inside.pid})", f"{program} (pid {pid})"):
        assert each in told
    stopped.start()
    with stopped.client() as client:
        until(lambda: client.status()["troubles"])
        told = stopped.mcli("doctor", code=1).stdout
        assert "wrong  trouble          jobs: job " in told
        assert " and 1 more runs, begun with a state directory or store that was removed" in told
        inside.do("print('something', flush=True)")
        inside.leave()
        with ended(pid):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not client.status()["troubles"])
    assert f"worker.outdated pid={worker}" not in log(stopped)
    assert len(stopped.starts()) == 1


def test_store_is_removed_while_a_job_runs(stopped: Daemon, gate: Gate) -> None:
    """
    D17: its directory tells what it is: whoever waits for it is told how to look again, and can.
    """
    stopped.start()
    caller = stopped.begin_puppet("obey", gate.path, env={"MCLI_RECONNECT": "0.2"})
    inside = gate.arrival()
    take_database(stopped.home)
    assert exit_code(stopped) == CRASHED
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert err.endswith(f"look again with: mcli daemon start && mcli attach {inside.job_id}\n")
    stopped.start()
    again = stopped.begin(sys.executable, "-m", "mcli", "attach", inside.job_id)
    inside.do("print('still here')")
    inside.leave()
    out, err = again.communicate(timeout=DEADLINE_S)
    assert (again.returncode, out, err) == (0, "still here\n", "")


def test_directory_is_removed_while_a_caller_runs_its_job(stopped: Daemon, gate: Gate) -> None:
    """
    D17: what it would note is nowhere to be noted; it does not make the directory again.
    """
    stopped.start(MCLI_FAILPOINT="recv:kill")
    caller = stopped.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    assert inside.pid == caller.pid
    take_directory(stopped.home)
    inside.leave()
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0
    assert not os.path.exists(stopped.home.root)


def test_nothing_is_accepted_into_a_database_that_is_gone(stopped: Daemon, gate: Gate) -> None:
    """
    D17: what would be committed to a removed database is told to nobody. The caller cannot know
    where it went: exit 75, and it is not run here.
    """
    stopped.start()
    stopped.puppet("tell")
    pid = stopped.pid
    halt(pid)
    caller = stopped.begin_puppet("tell", env={"MCLI_RECONNECT": "0.2"})
    until(lambda: waits_in_line(stopped.home.attach_socket))
    take_database(stopped.home)
    with ended(pid):
        os.kill(pid, signal.SIGCONT)
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 75
    assert err.count("\n") == 1
    assert len(stopped.starts()) == 1


def waits_in_line(path: str) -> bool:
    """Whether somebody has connected to the socket, and was not accepted yet."""
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table if line.rstrip().endswith(path)]
    return any(row[5] == "02" for row in rows)  # SS_CONNECTING


# D9: again and again --------------------------------------------------------------------------


def test_nothing_grows_with_crashes(stopped: Daemon) -> None:
    """
    D9: a daemon that is killed and started again and again leaves no files behind, holds no more
    descriptors than the first.
    """
    before: tuple[set[str], int] | None = None
    for _ in range(3):
        stopped.start()
        stopped.puppet("tell")
        (job, *_) = stopped.jobs()
        with stopped.client() as client:
            client.delete(job["id"])
        before = before or (files(stopped), fds(stopped))
        assert files(stopped) == before[0]
        until_fds_are_back(stopped, before[1])
        stopped.kill9()


def test_nothing_is_left_of_adopted_jobs(stopped: Daemon, gate: Gate) -> None:
    """
    D9: once the jobs that a daemon has found running have ended, it holds nothing of them, though
    their worker lives on.
    """
    base = fds(stopped.start())
    for _ in range(4):
        stopped.submit("obey", gate.path)
    jobs = [gate.arrival() for _ in range(4)]
    stopped.kill9()
    stopped.start()
    for inside in jobs:
        inside.leave()
        assert stopped.final(inside.job_id)["state"] == "succeeded"
    until_fds_are_back(stopped, base)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("leaves", "failed"),
        ("killed", "failed"),
        ("worker killed", "succeeded"),  # whoever looks after it makes its directory anew
        ("both killed", "lost"),
    ],
)
def test_directory_of_a_running_job_is_removed(
    stopped: Daemon, gate: Gate, end: str, state: str
) -> None:
    """
    D17: somebody removes the directory of a job that runs. Its ticket is gone with it: the job is
    not taken for one that has never begun, and not run again; it ends, as far as that is known.
    """
    stopped.start()
    job_id = stopped.submit("obey", gate.path)
    inside = gate.arrival()
    stopped.noted(job_id)
    shutil.rmtree(stopped.home.job(job_id))
    if end == "worker killed":
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
        until(lambda: os.path.isdir(stopped.home.job(job_id)))  # or its end is nowhere written
    if end == "both killed":
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
            stopped.kill9()
    with ended(inside.pid):
        if end == "killed":
            os.kill(inside.pid, signal.SIGKILL)
        else:
            inside.leave()
    if end == "both killed":
        stopped.start()
    job = stopped.final(job_id)
    assert (job["state"], job["attempt"]) == (state, 1)
    assert len(stopped.starts()) == 1
    assert stopped.puppet("tell").stdout  # the next one runs


def files(daemon: Daemon) -> set[str]:
    root = Path(daemon.home.root)
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# D15: the port --------------------------------------------------------------------------------


def test_port_of_a_dead_daemon_is_taken(stopped: Daemon) -> None:
    """
    D15: another program has the port when the daemon comes back. It does not take another one
    behind its user's back, but says how; commands go on without a port.
    """
    stopped.start()
    told = json.loads(Path(stopped.home.address).read_text())
    port = int(told["url"].rpartition(":")[2])
    stopped.kill9()
    with socket.create_server(("127.0.0.1", port)):
        said = stopped.mcli("daemon", "start", "--port", str(port), code=125).stderr
        assert f"cannot listen on localhost:{port}" in said
        stopped.mcli("daemon", "start", "--port", "0")
        stopped.puppet("tell")
        assert [job["route"] for job in stopped.jobs()] == ["daemon"]


# D18: the terminal ----------------------------------------------------------------------------


def test_terminal_that_started_the_daemon_is_closed(stopped: Daemon, gate: Gate) -> None:
    """
    D18: daemon and jobs outlive the terminal from which both were started.
    """
    master, slave = os.openpty()
    start = f"{sys.executable} -m mcli daemon start --port 0 && exec {sys.executable} {PUPPET}"
    shell = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "sh", "-c", f"{start} obey {gate.path}"],
        stdin=slave, stdout=slave, stderr=slave, env=stopped.env, cwd=stopped.cwd,
    )  # fmt: skip
    os.close(slave)
    inside = gate.arrival()
    pid = stopped.pid
    os.close(master)
    shell.wait(DEADLINE_S)
    inside.do("print('still here')")
    inside.leave()
    assert stopped.final(inside.job_id)["state"] == "succeeded"
    assert stopped.pid == pid


# D19: many at once ----------------------------------------------------------------------------


def test_twenty_commands_and_no_daemon(stopped: Daemon) -> None:
    """
    D19: twenty commands at once, while no daemon runs and then one starts: each body runs once,
    here or there, and there is one daemon.
    """
    callers = [stopped.begin_puppet("tell") for _ in range(10)]
    starts = [
        stopped.begin(sys.executable, "-m", "mcli", "daemon", "start", "--port", "0")
        for _ in range(2)
    ]
    callers += [stopped.begin_puppet("tell") for _ in range(10)]
    for process in (*callers, *starts):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert len(stopped.starts()) == 20
    routed = {job["id"] for job in stopped.jobs()}
    assert {start[0] for start in stopped.starts()} - {"here"} == routed
    assert lock_holder(stopped.home.lock) == stopped.pid


def test_doctor_where_nothing_can_be_known(somebody: Somebody, shared: Daemon) -> None:
    """
    A state directory that cannot be made, and that of another user: neither is called well, nor is
    a daemon said not to run that runs.
    """
    if os.getuid():
        pytest.skip("only root can be somebody else")
    told = somebody.mcli("doctor", code=1, env={"MCLI_HOME": "/proc/none/mcli"}).stdout
    assert "/proc/none/mcli is not there, and /proc is not writable for you" in told
    told = somebody.mcli("doctor", code=1, env={"MCLI_HOME": shared.home.root}).stdout
    assert "it is not known whether one runs in that state directory" in told
    assert "not running" not in told


# Z3: no more processes -------------------------------------------------------------------------


def test_no_process_can_be_forked(somebody: Somebody) -> None:
    """
    Z3: a worker that may not fork gives the job back to the queue, where it waits, and is begun
    once when there is room again. Status tells of it meanwhile.
    """
    somebody.mcli("daemon", "start", "--port", "0")
    somebody.puppet("tell")
    (worker,) = somebody.status()["workers"]
    somebody.run("prlimit", f"--pid={worker['pid']}", "--nproc=1:")
    callers = [somebody.begin_puppet("tell") for _ in range(2)]  # one child is there already
    until(lambda: somebody.status()["troubles"])
    (trouble,) = somebody.status()["troubles"]
    assert trouble["name"] == "processes"
    assert "cannot start a process" in trouble["text"]
    somebody.run("prlimit", f"--pid={worker['pid']}", "--nproc=1000:")
    for caller in callers:
        caller.communicate(timeout=DEADLINE_S)
        assert caller.returncode == 0
    assert len(somebody.starts()) == 3
    assert somebody.status()["troubles"] == []


# U2: the environment is deleted ----------------------------------------------------------------

LATE: Final = frozenset({"alembic"})
"""What the daemon may load late: a migration is over when it serves."""

ROUTES: Final = (
    "/", "/docs", "/healthz", "/metrics", "/nowhere", "/openapi.json", "/readyz", "/v1/apps",
    "/v1/jobs", "/v1/jobs/-", "/v1/jobs/-/output", "/v1/jobs/-/events", "/v1/jobs/-/result",
    "/v1/status",
)  # fmt: skip


def test_nothing_is_loaded_late(stopped: Daemon) -> None:
    """
    U2: a daemon that serves has loaded all it needs, so that it goes on when the environment
    that it was started from is deleted: jobs run, and every route answers.
    """
    loaded = stopped.cwd / "loaded"
    start_changed(
        stopped,
        "def note(event, args):\n"
        "    if event == 'import':\n"
        f"        with open({str(loaded)!r}, 'a') as file:\n"
        "            print(args[0], file=file)\n"
        "sys.addaudithook(note)\n",
    )
    until(lambda: "daemon.loaded" in log(stopped))
    before = len(loaded.read_text().splitlines())
    stopped.puppet("tell")
    stopped.puppet("fail", code=None)
    stopped.mcli("ps")
    stopped.mcli("rerun", "-")
    with stopped.client() as client:
        for route in ROUTES:
            client._http.get(client.url + route, timeout=DEADLINE_S)
        client._http.post(client.url + "/v1/jobs", json={}, timeout=DEADLINE_S)
        client.wait("-", DEADLINE_S)
        client.delete("-")
    late = loaded.read_text().splitlines()[before:]
    assert {name for name in late if name.partition(".")[0] not in LATE} == set()
