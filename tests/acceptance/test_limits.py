"""What a job may have, and what it may leave: processes, memory, niceness."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcli import family

from .daemon import DEADLINE_S, PROGRAMS, Daemon, Gate, ended, halt, lines, until

LIMITED = str(PROGRAMS / "limited.py")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose jobs get little time to end."""
    daemon = Daemon(tmp_path_factory.mktemp("standing"), MCLI_GRACE="0.2")
    yield daemon.start()
    daemon.close()


def limited(daemon: Daemon, *words: str) -> str:
    """Detach a command of ``limited.py``; the id of its job."""
    return daemon.run(sys.executable, LIMITED, *words, "--detach").stdout.strip()


# What it leaves -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "apart", "nohup", "stubborn", "forked", "demon"])
def test_nothing_of_a_job_lives_after_its_end(shared: Daemon, gate: Gate, kind: str) -> None:
    """
    When the end of a job is told, no process that it has started is left, however far it went
    from its parent; that one of them holds its output open does not keep the job from ending.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do(f"import limited; print(limited.{kind}())")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    assert not family.lives(int(shared.output(job_id)))


@pytest.mark.parametrize("kind", ["plain", "apart", "stubborn", "forked", "demon"])
def test_nothing_lives_after_the_end_without_a_worker(
    shared: Daemon, gate: Gate, kind: str
) -> None:
    """
    The same when its worker was killed.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    inside.do(f"import limited; print(limited.{kind}())")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    assert not family.lives(int(shared.output(job_id)))


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("kind", ["plain", "apart", "stubborn", "forked", "demon"])
def test_nothing_lives_after_the_end_without_daemon_and_worker(
    daemon: Daemon, gate: Gate, kind: str, killed: bool
) -> None:
    """
    The same when both were killed, and the job has ended before there was another daemon.
    """
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do(f"import limited; print(limited.{kind}())")
    (stray,) = lines(caller, 1)
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
        daemon.kill9()
    with ended(inside.pid):
        inside.tell("os.kill(os.getpid(), 9)" if killed else "sys.exit(3)")
    assert family.lives(int(stray))
    daemon.start()
    assert caller.wait(DEADLINE_S) == (125 if killed else 3)
    assert daemon.job()["state"] == ("lost" if killed else "failed")
    assert not family.lives(int(stray))


def test_what_was_there_before_is_no_stray(daemon: Daemon, gate: Gate) -> None:
    """
    A process that is older than the job, and was handed a pipe of it, is left alone at its end;
    though its worker has forked the job's process before, for whichever job would come.
    """
    for _ in range(2):  # the second has found a spare, or its worker has one now
        job_id = daemon.submit("obey", gate.path)
        first = gate.arrival()
        first.leave()
        daemon.final(job_id)
    until(lambda: family.children(first.ppid))
    go = daemon.cwd / "go"
    os.mkfifo(go)
    words = ["sh", "-c", "read pid < go; exec 3> /proc/$pid/fd/1; echo it has; exec sleep 600"]
    older = daemon.begin(*words)
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    go.write_text(f"{inside.pid}\n")
    assert lines(older, 1) == ["it has\n"]
    with ended(inside.ppid):
        os.kill(inside.ppid, signal.SIGKILL)
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert family.lives(older.pid)


def test_strays_are_told_apart(shared: Daemon, gate: Gate) -> None:
    """
    The end of one job ends what that one has left, and nothing of another in the same worker.
    """
    jobs = [shared.submit("obey", gate.path) for _ in range(2)]
    first, second = gate.arrival(), gate.arrival()
    assert first.ppid == second.ppid
    for inside in (first, second):
        inside.do("import limited as of; print(of.apart(), of.forked(), of.nohup(), of.demon())")
    first.leave()
    shared.final(first.job_id)
    assert not any(map(family.lives, map(int, shared.output(first.job_id).split())))
    others = [int(pid) for pid in shared.output(second.job_id).split()]
    assert all(map(family.lives, others))
    second.leave()
    assert {shared.final(job)["state"] for job in jobs} == {"succeeded"}
    assert not any(map(family.lives, others))


def test_last_words_of_a_stray(shared: Daemon, gate: Gate) -> None:
    """
    What reads the output of a job, and ends by itself, may say so before the job's end is told.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    words = ["sh", "-c", "cat > /dev/null; echo the last"]
    inside.do(f"reader = subprocess.Popen({words}, stdin=subprocess.PIPE)")
    inside.leave()
    shared.final(job_id)
    assert shared.output(job_id) == "the last\n"


@pytest.mark.parametrize("kind", ["plain", "demon"])
def test_children_that_may_stay(shared: Daemon, gate: Gate, kind: str) -> None:
    """
    With ``leave_children=True`` what a job has started lives on, after the next job too.
    """
    job_id = limited(shared, "leaving", gate.path)
    inside = gate.arrival()
    inside.do(f"import limited; print(limited.{kind}())")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    pid = int(shared.output(job_id))
    try:
        following = limited(shared, "leaving", gate.path)
        gate.arrival().leave()
        shared.final(following)
        assert family.lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_children_that_may_stay_beside_another_job(shared: Daemon, gate: Gate) -> None:
    """
    They do so, too, when their job ends before another in the same worker, whose may not stay.
    """
    job_id = limited(shared, "leaving", gate.path)
    inside = gate.arrival()
    beside = limited(shared, "polite", gate.path)
    other = gate.arrival()
    assert inside.ppid == other.ppid
    inside.do("import limited; print(limited.demon())")
    inside.leave()
    shared.final(job_id)
    pid = int(shared.output(job_id))
    try:
        other.leave()
        shared.final(beside)
        assert family.lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_children_that_may_stay_without_daemon_and_worker(daemon: Daemon, gate: Gate) -> None:
    """
    They do so, too, when the job has ended before there was another daemon.
    """
    caller = daemon.begin(sys.executable, LIMITED, "leaving", gate.path)
    inside = gate.arrival()
    inside.do("import limited; print(limited.plain())")
    pid = int(lines(caller, 1)[0])
    try:
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
            daemon.kill9()
        with ended(inside.pid):
            inside.tell("sys.exit(3)")
        daemon.start()
        assert caller.wait(DEADLINE_S) == 3
        assert family.lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "program", "code", "expected"),
    [
        (["--timeout", "0.3s"], "exec sleep 600", 124, {"reason": "timeout"}),
        (
            ["--retries=1", "--retry-delay=0s"],
            "exit 3",
            3,
            {"attempt": 2, "reason": "exit_nonzero"},
        ),
        (["--retries=1", "--retry-delay=0s", "--retry-on=4"], "exit 3", 3, {"attempt": 1}),
        (
            ["--retries=1", "--retry-delay=0s", "--on-lost=retry"],
            'test "$MCLI_ATTEMPT" = 2 || kill -9 $$ $PPID',
            0,
            {"attempt": 2},
        ),
        (["--nice=5"], "test $(nice) = 5", 0, {"reason": None}),
        (["--max-output=100kB"], "head -c 1000000 /dev/zero", 0, {"state": "succeeded"}),
        (
            ["--memory-limit=50MB"],
            f"exec {sys.executable} -c \"x = b'x' * (400 << 20); input()\" < /dev/zero",
            -signal.SIGKILL,
            {"reason": "memory"},
        ),
    ],
    ids=["timeout", "retries", "retry-on", "on-lost", "nice", "max-output", "memory-limit"],
)
def test_program_with_limits(
    shared: Daemon, options: list[str], program: str, code: int, expected: dict[str, object]
) -> None:
    """
    What ``@mcli.background`` says of a command, ``mcli run`` says of any program.
    """
    words = [sys.executable, "-m", "mcli", "run", *options, "--", "sh", "-c", program]
    done = shared.run(*words, code=None)
    job = shared.job()
    assert {name: job[name] for name in expected} == expected
    assert done.returncode == code
    if "--max-output=100kB" in options:
        assert "bytes of its output are missing" in shared.mcli("logs", job["id"]).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeout=soon"], "'soon' must be a time, such as 90s, 12h or 7d"),
        (["--timeout=0"], "'0' must be more than no time at all"),
        (["--on-lost=retry"], "--on-lost"),
        (["--memory-limit=much"], "--memory-limit 'much': a number of bytes"),
        (["--nice=20"], "0<=x<=19"),
        (["--retry-on=0"], "1<=x<=255"),
    ],
)
def test_program_with_limits_that_are_none(shared: Daemon, options: list[str], said: str) -> None:
    """One line says what would be right; nothing is run."""
    err = shared.mcli("run", *options, "--", "touch", "ran", code=2).stderr
    assert said in err.splitlines()[-1]
    assert not (shared.cwd / "ran").exists()


def test_program_that_may_leave_children(shared: Daemon) -> None:
    """
    What ``mcli run`` runs leaves nothing, unless ``--leave-children`` is said.
    """
    words = ["run", "--detach", "sh", "-c", "sleep 600 & echo $!"]
    job_id = shared.mcli(*words).stdout.strip()
    assert shared.final(job_id)["state"] == "succeeded"
    assert not family.lives(int(shared.output(job_id)))
    job_id = shared.mcli("run", "--leave-children", *words[1:]).stdout.strip()
    shared.final(job_id)
    pid = int(shared.output(job_id))
    assert family.lives(pid)
    os.kill(pid, signal.SIGKILL)


def test_daemon_that_a_job_has_started(shared: Daemon, tmp_path: Path) -> None:
    """
    A daemon is no job's: one that a job has started outlives it.
    """
    other = Daemon(tmp_path / "other")
    other.cwd.mkdir()
    home = f"MCLI_HOME={other.home.root}"
    words = ["env", home, sys.executable, "-m", "mcli", "daemon", "start", "--port=0"]
    shared.mcli("run", *words)
    try:
        assert family.lives(other.pid)
    finally:
        other.close()


# Memory and niceness ------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["lives", "dead"])
def test_more_memory_than_it_may_have(shared: Daemon, gate: Gate, worker: str) -> None:
    """
    A job that takes more memory than it may is ended; its caller is told so in one line.
    """
    caller = shared.begin(sys.executable, LIMITED, "lean", gate.path)
    inside = gate.arrival()
    if worker == "dead":
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
    inside.tell("taken = b'x' * (400 << 20); time.sleep(60)")
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == -signal.SIGKILL
    assert err == f"mcli: job {inside.job_id} needed more than its 150 MB of memory\n"
    job = shared.final(inside.job_id)
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "memory", signal.SIGKILL)


def test_memory_of_all_its_processes(shared: Daemon, gate: Gate) -> None:
    """
    What a job's children have counts as well; below the limit nothing happens.
    """
    job_id = limited(shared, "lean", gate.path)
    inside = gate.arrival()
    take = "taken = b'x' * (60 << 20)"
    inside.do(take)
    code = f"{take}; import time; time.sleep(60)"
    inside.do(f"child = [subprocess.Popen([sys.executable, '-c', {code!r}]) for _ in range(2)]")
    assert shared.final(job_id)["reason"] == "memory"


def test_memory_limit_of_a_program_that_is_run(shared: Daemon, gate: Gate) -> None:
    """
    What comes by ``mcli run`` tells of its limit itself.
    """
    words = ["run", "--detach", sys.executable, LIMITED, "lean", gate.path]
    job_id = shared.mcli(*words).stdout.strip()
    gate.arrival().tell("taken = b'x' * (400 << 20); time.sleep(60)")
    assert shared.final(job_id)["reason"] == "memory"


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Path]:
    """A control group with little memory."""
    group = cgroup("memory")
    (group / "memory.limit_in_bytes").write_text(str(400 << 20))
    yield group
    group.rmdir()


def test_kernel_that_is_out_of_memory(narrow: Path, stopped: Daemon, gate: Gate) -> None:
    """
    When the kernel ends a job for want of memory, that is what is told; daemon and worker live.
    """
    daemon = stopped.start()
    (narrow / "cgroup.procs").write_text(str(daemon.pid))
    caller = daemon.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.tell("taken = b'x' * (600 << 20)")
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert err == (f"mcli: job {inside.job_id} signal 9 (out of memory): the kernel has ended it\n")
    job = daemon.final(inside.job_id)
    assert (job["state"], job["reason"], job["signal"]) == ("failed", "memory", signal.SIGKILL)
    assert job["worker_pid"] == daemon.final(daemon.submit("tell"))["worker_pid"]
    (killed,) = [daemon.submit("obey", gate.path)]
    os.kill(gate.arrival().pid, signal.SIGKILL)
    assert daemon.final(killed)["reason"] == "signal"
    daemon.stop(kill_jobs=True)
    assert daemon.alone()


@pytest.mark.parametrize("by_run", [False, True])
def test_niceness(shared: Daemon, gate: Gate, by_run: bool) -> None:
    """
    ``nice=`` is added to what a job would have; the next job has none of it.
    """
    words = [sys.executable, LIMITED, "polite", gate.path]
    if by_run:
        shared.mcli("run", "--detach", *words)
    else:
        limited(shared, *words[2:])
    inside = gate.arrival()
    usual = os.getpriority(os.PRIO_PROCESS, inside.ppid)
    assert os.getpriority(os.PRIO_PROCESS, inside.pid) == usual + 7
    inside.leave()
    shared.submit("obey", gate.path)
    following = gate.arrival()
    assert os.getpriority(os.PRIO_PROCESS, following.pid) == usual
    following.leave()


# Jobs that do as they like ------------------------------------------------------------------


def test_job_that_does_not_heed_sigterm(shared: Daemon, gate: Gate) -> None:
    """
    SIGKILL ends it after the grace, with all that it has started.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    inside.do("import limited; print(limited.stubborn())")
    shared.mcli("cancel", job_id)
    job = shared.final(job_id)
    assert (job["state"], job["signal"]) == ("cancelled", signal.SIGKILL)
    assert not family.lives(inside.pid)
    assert not family.lives(int(shared.output(job_id)))


def cgroup(controller: str) -> Path:
    """A control group of version 1 for a test, below this process's."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if names == controller:
            group = Path(f"/sys/fs/cgroup/{controller}{path}/mcli-{os.getpid()}")
            try:
                group.mkdir()
            except OSError:
                break
            return group
    pytest.skip(f"no control group for {controller} may be made here")


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A control group whose processes do nothing, not even die."""
    group = cgroup("freezer")
    (group / "freezer.state").write_text("FROZEN")
    yield group
    (group / "freezer.state").write_text("THAWED")
    group.rmdir()


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal waits to be delivered."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [row.split()[1] for row in rows if row.startswith(("SigPnd:", "ShdPnd:"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_job_that_sigkill_does_not_end(shared: Daemon, gate: Gate, frozen: Path) -> None:
    """
    As long as its process lives, a job has not ended, whatever it was sent.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    shared.noted(job_id)
    (frozen / "cgroup.procs").write_text(str(inside.pid))
    shared.mcli("cancel", job_id)
    while not is_pending(inside.pid, signal.SIGKILL):
        assert shared.job(job_id)["state"] == "stopping"
    assert shared.job(job_id)["state"] == "stopping"
    assert shared.job(job_id)["condition"] == "unkillable"
    assert " unkillable " in shared.mcli("ps").stdout
    (frozen / "freezer.state").write_text("THAWED")
    assert shared.final(job_id)["state"] == "cancelled"


@pytest.fixture
def few() -> Iterator[Path]:
    """A control group that may have few processes."""
    group = cgroup("pids")
    (group / "pids.max").write_text("60")
    yield group
    group.rmdir()


def test_fork_bomb(shared: Daemon, gate: Gate, few: Path) -> None:
    """
    Where the number of processes is limited, a job that forks as often as it can is ended with
    all of them; meanwhile the daemon answers.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    (few / "cgroup.procs").write_text(str(inside.pid))
    inside.do(
        "def bomb():\n"
        " while True:\n"
        "  try: os.fork() or os.setsid()\n"
        "  except OSError: time.sleep(0.05)\n"
        "os.fork() or bomb()"
    )
    while int((few / "pids.current").read_text()) < 50:
        assert shared.job(job_id)["state"] == "running"
    shared.mcli("cancel", job_id)
    assert shared.final(job_id)["state"] == "cancelled"
    assert (few / "pids.current").read_text() == "0\n"


def test_job_that_asks_with_nobody_there(shared: Daemon) -> None:
    """
    A detached job that reads its input finds its end, and does not hang.
    """
    words = ["run", "--detach", sys.executable, "-c", "input()"]
    job = shared.final(shared.mcli(*words).stdout.strip())
    assert (job["state"], job["exit_code"]) == ("failed", 1)
    assert "EOFError" in shared.output(job["id"])


def test_job_that_stands_still(shared: Daemon, gate: Gate) -> None:
    """
    A job that was stopped is shown as that, and still cancelled.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    assert shared.noted(job_id)["condition"] is None
    halt(inside.pid)
    assert shared.job(job_id)["condition"] == "stopped"
    assert " stopped " in shared.mcli("ps").stdout
    shared.mcli("cancel", job_id)
    assert shared.final(job_id)["state"] == "cancelled"


def test_caller_of_a_job_that_stands_still(shared: Daemon, gate: Gate) -> None:
    """
    Who stops a job has not stopped its caller, nor the script around that: they wait for it.
    """
    caller = shared.begin_puppet("obey", gate.path, process_group=0)
    inside = gate.arrival()
    halt(inside.pid)
    shared.mcli("kill", "-s", "CONT", inside.job_id)
    inside.leave()
    assert caller.wait(DEADLINE_S) == 0


HOSTILE = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.umask(0o777); os.chdir('/'); os.environ.clear(); os.nice(5)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGHUP})
os.closerange(0, 3); os.closerange(10, 300)
"""

LOOK = """
import resource
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
names = ('Umask', 'SigBlk', 'SigIgn', 'SigCgt', 'Groups', 'CapEff', 'NoNewPrivs', 'Seccomp')
print([status[name] for name in names], open('/proc/self/limits').read(), os.getcwd())
print(sorted(os.listdir('/proc/self/fd')), os.nice(0), sys.flags, sys.path)
print(sorted(name for name in os.environ if not name.startswith('MCLI_JOB')))
"""


def test_hostile_job_harms_only_itself(shared: Daemon, gate: Gate) -> None:
    """
    Limits, umask, directory, environment, signals, descriptors: the next job finds all of them
    as the one before found them.
    """
    found = []
    for code in (LOOK, HOSTILE, LOOK):
        job_id = shared.submit("obey", gate.path)
        inside = gate.arrival()
        inside.tell(code) if code is HOSTILE else inside.do(code)
        inside.leave()
        job = shared.final(job_id)
        found.append((job["worker_pid"], shared.output(job_id)))
    assert found[0] == found[2]
    assert len(found[0][1]) > 500
