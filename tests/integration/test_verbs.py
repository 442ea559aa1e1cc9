"""The verbs as processes, against the real API: what they print, where, and how they exit."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcli.home import Home
from mcli.job import JobInfo
from mcli.states import Reason, State
from mcli.stream import Stream
from mcli.version import PROTOCOL

from .shelf import NOW, TOKEN, Served, served

MCLI = [sys.executable, "-m", "mcli"]


def announce(home: Home, url: str, **told: object) -> None:
    """Write what a listening daemon of this process would have written."""
    address = {"pid": os.getpid(), "url": url, "version": "0", "protocol": PROTOCOL}
    Path(home.address).write_text(json.dumps(address | told))
    Path(home.token).write_text(TOKEN + "\n")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shelf served as the daemon of its home: this process holds the lock."""
    home = Home(str(tmp_path_factory.mktemp("home")))
    with served(home) as serving, open(home.lock, "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield serving


@pytest.fixture
def server(serving: Served) -> Served:
    serving.shelf.clear()
    announce(serving.shelf.home, serving.url)
    return serving


@pytest.fixture
def job(server: Served) -> JobInfo:
    return server.do(server.shelf.put())


def environment(home: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    return kept | {"MCLI_HOME": home, "http_proxy": "http://127.0.0.1:1"}


def mcli(home: Home | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = home if isinstance(home, str) else home.root
    return subprocess.run(
        [*MCLI, *arguments],
        env=environment(root),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def ok(server: Served, *arguments: str) -> str:
    """What a verb printed that went well and had nothing to say on stderr."""
    done = mcli(server.shelf.home, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(server: Served, code: int, *arguments: str) -> str:
    """The one line on stderr of a verb that exits with *code* and prints nothing."""
    done = mcli(server.shelf.home, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("mcli: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_ps_lists_jobs_in_a_pipe_uncut(server: Served, job: JobInfo) -> None:
    """Without a terminal the lines are whole; plain mcli and the aliases say the same."""
    server.do(server.shelf.put(argv=["echo", "x" * 300]))
    shown = ok(server, "ps")
    assert shown.splitlines()[0].startswith("JOB")
    assert "x" * 300 in shown
    assert ok(server) == ok(server, "ls") == ok(server, "status") == shown


def test_ps_leaves_out_old_jobs(server: Served) -> None:
    """ps shows live jobs and at least the last ten ended ones; -a, --state and -n choose."""
    live = server.do(server.shelf.put())
    for _ in range(12):
        server.do(server.shelf.put(state=State.FAILED, exit_code=1, finished_at=NOW))
    listed = json.loads(ok(server, "ps", "--json"))
    assert [job["state"] for job in listed] == ["failed"] * 10 + ["queued"]
    assert listed[-1] == live.document()
    assert len(json.loads(ok(server, "ps", "-a", "--json"))) == 13
    assert len(json.loads(ok(server, "ps", "-n", "3", "--json"))) == 3
    assert len(json.loads(ok(server, "ps", "--state", "queued", "--json"))) == 1


def test_ps_of_nothing_is_an_empty_array(server: Served) -> None:
    """--json prints an array even if there is no job."""
    assert json.loads(ok(server, "ps", "--json")) == []


def test_inspect(server: Served, job: JobInfo) -> None:
    """inspect shows one job for people, and its document with --json."""
    assert json.loads(ok(server, "inspect", job.id[:20], "--json")) == job.document()
    assert f"id          {job.id}\n" in ok(server, "show", "-")


@pytest.mark.parametrize("verb", ["inspect", "logs", "wait", "cancel", "kill", "rerun"])
def test_unknown_job_exits_2_with_one_line(server: Served, verb: str) -> None:
    """An id that no job has is the caller's mistake."""
    assert refused(server, 2, verb, "ffff") == "mcli: no job 'ffff'\n"
    assert "'nope' is not a job id" in refused(server, 2, verb, "nope")


@pytest.mark.parametrize("token", [b"", b"another\n", b"\xff\0\n\x01", b"two\nlines\n"])
def test_wrong_token_names_its_file(server: Served, token: bytes) -> None:
    """A token that the daemon does not know, or that is none: exit 125, and what helps."""
    path = server.shelf.home.token
    Path(path).write_bytes(token)
    told = refused(server, 125, "ps")
    assert told == f"mcli: {path} is not what the daemon asks for; run: mcli daemon restart\n"


@pytest.mark.parametrize(
    "line",
    ["", "ps", "inspect a", "logs a", "wait a", "cancel a", "kill a", "rerun a", "daemon status"],
)
def test_no_daemon_exits_125_with_one_line(tmp_path: Path, line: str) -> None:
    """Every verb says in one line that no daemon runs, and how to start one."""
    done = mcli(str(tmp_path), *line.split())
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "mcli: the daemon is not running; start it with: mcli daemon start\n"
    assert list(tmp_path.iterdir()) == []


def test_stale_address_gets_no_token(server: Served) -> None:
    """An address left by another process is not believed, and nothing is sent there."""
    announce(server.shelf.home, server.url, pid=1)
    assert "is still starting; try again" in refused(server, 125, "ps")


def test_other_protocol_is_refused(server: Served) -> None:
    """A daemon of another protocol version is not spoken to."""
    announce(server.shelf.home, server.url, protocol=PROTOCOL + 1)
    assert "restart it with: mcli daemon restart" in refused(server, 125, "ps")


def test_daemon_that_does_not_answer(server: Served) -> None:
    """A daemon that holds its lock and answers nothing is an error of one line."""
    announce(server.shelf.home, "http://127.0.0.1:1")
    assert "does not answer at http://127.0.0.1:1" in refused(server, 125, "ps")


def test_logs_are_the_bytes(server: Served, job: JobInfo) -> None:
    """logs prints what the job printed; options choose the stream, the lines and the time."""
    for stream, data in ((1, b"one\ntwo\n"), (2, b"oops\n"), (1, b"three\n")):
        server.do(server.shelf.print(job.id, Stream(stream), data))
    assert ok(server, "logs", job.id) == "one\ntwo\noops\nthree\n"
    assert ok(server, "logs", "-", "--stdout") == "one\ntwo\nthree\n"
    assert ok(server, "logs", "-", "--stderr") == "oops\n"
    assert ok(server, "logs", "-", "-n", "2") == "oops\nthree\n"
    stamped = ok(server, "logs", "-", "-t", "-n1")
    assert stamped.startswith("20")
    assert stamped.endswith(" three\n")


def test_logs_follow_until_the_end(server: Served, job: JobInfo) -> None:
    """logs -f -n prints the last lines, then what comes, and ends with the job."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"old\nlast\n"))
    with subprocess.Popen(
        [*MCLI, "logs", "-f", "-n1", job.id],
        env=environment(server.shelf.home.root),
        stdout=subprocess.PIPE,
    ) as follower:
        assert follower.stdout
        assert follower.stdout.readline() == b"last\n"
        server.do(server.shelf.print(job.id, Stream.STDOUT, b"new\n"))
        assert follower.stdout.readline() == b"new\n"
        server.do(server.shelf.move(job.id, State.SUCCEEDED, finished_at=NOW))
        assert follower.stdout.read() == b""
    assert follower.returncode == 0


def test_ctrl_c_is_quiet(server: Served, job: JobInfo) -> None:
    """Ctrl-C ends a verb with 130 and no words."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"line\n"))
    with subprocess.Popen(
        [*MCLI, "logs", "-f", job.id],
        env=environment(server.shelf.home.root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as follower:
        assert follower.stdout
        assert follower.stdout.readline() == b"line\n"
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=10) == (b"", b"")
    assert follower.returncode == 130


def test_broken_pipe_is_quiet(server: Served, job: JobInfo) -> None:
    """A reader that goes away, as head does, is no reason for words."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"x\n" * 1_000_000))
    with subprocess.Popen(
        [*MCLI, "logs", job.id],
        env=environment(server.shelf.home.root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as printer:
        assert printer.stdout
        assert printer.stderr
        assert printer.stdout.read(2) == b"x\n"
        printer.stdout.close()
        assert printer.stderr.read() == b""
        printer.wait(10)


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"state": State.SUCCEEDED, "exit_code": 0}, 0),
        ({"state": State.FAILED, "exit_code": 3, "reason": Reason.EXIT_NONZERO}, 3),
        ({"state": State.FAILED, "signal": 9, "reason": Reason.SIGNAL}, 137),
        ({"state": State.FAILED, "signal": 15, "reason": Reason.TIMEOUT}, 124),
        ({"state": State.CANCELLED, "reason": Reason.USER}, 143),
        ({"state": State.LOST, "reason": Reason.REBOOT}, 125),
    ],
)
def test_wait_exits_as_the_job(server: Served, known: dict[str, object], code: int) -> None:
    """wait prints id and state, and exits with what a shell would have got from the job."""
    job = server.do(server.shelf.put(finished_at=NOW, **known))
    done = mcli(server.shelf.home, "wait", job.id, "--timeout", "0")
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == f"{job.id}  {job.state}\n"


def test_wait_for_several(server: Served) -> None:
    """Of several jobs, the code of the first that is not 0 in the order given."""
    ids = [
        server.do(server.shelf.put(state=State.FAILED, exit_code=code, finished_at=NOW)).id
        for code in (5, 4)
    ]
    good = server.do(server.shelf.put(state=State.SUCCEEDED, finished_at=NOW)).id
    assert mcli(server.shelf.home, "wait", good, *ids).returncode == 5
    assert mcli(server.shelf.home, "wait", good, *ids[::-1]).returncode == 4


def test_wait_gives_up_with_124(server: Served, job: JobInfo) -> None:
    """When the time is up and the job is not, the exit code is 124."""
    told = refused(server, 124, "wait", job.id, "--timeout", "0")
    assert told == f"mcli: waited 0 s; not ended yet: {job.id}\n"


def test_wait_for_a_job_whose_daemon_stops(tmp_path: Path) -> None:
    """When the daemon stops meanwhile, wait says so in one line, and exits 125."""
    home = Home(str(tmp_path))
    with contextlib.ExitStack() as until_stopped:
        server = until_stopped.enter_context(served(home))
        lock = until_stopped.enter_context(open(home.lock, "w"))
        fcntl.lockf(lock, fcntl.LOCK_EX)
        announce(home, server.url)
        job = server.do(server.shelf.put())
        waiter = subprocess.Popen(
            [*MCLI, "wait", job.id],
            env=environment(home.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.shelf.followed.wait(20)
        server.do(server.shelf.drain())
    out, err = waiter.communicate(timeout=20)
    assert (waiter.returncode, out) == (125, "")
    assert err == (
        f"mcli: the daemon stopped; job {job.id} runs on; "
        f"wait again with: mcli daemon start && mcli wait {job.id}\n"
    )


def test_wait_any_ends_with_the_first(server: Served, job: JobInfo) -> None:
    """wait --any ends when one job has ended, however long the others take."""
    other = server.do(server.shelf.put())
    with subprocess.Popen(
        [*MCLI, "wait", "--any", other.id, job.id],
        env=environment(server.shelf.home.root),
        stdout=subprocess.PIPE,
        text=True,
    ) as waiter:
        assert server.shelf.followed.wait(20)
        server.do(server.shelf.move(job.id, State.FAILED, exit_code=7, finished_at=NOW))
        assert waiter.communicate(timeout=20)[0] == f"{job.id}  failed\n"
    assert waiter.returncode == 7
    server.do(server.shelf.move(other.id, State.CANCELLED, finished_at=NOW))


def test_cancel_goes_on_after_a_refusal(server: Served, job: JobInfo) -> None:
    """Each job named is asked; the refusals are told, and the exit code is theirs."""
    assert ok(server, "stop", job.id) == f"{job.id}  cancelled\n"
    other = server.do(server.shelf.put())
    done = mcli(server.shelf.home, "cancel", job.id, other.id)
    assert (done.returncode, done.stdout) == (2, f"{other.id}  cancelled\n")
    assert done.stderr == f"mcli: job {job.id} has ended\n"


def test_kill_by_name_and_number(server: Served, job: JobInfo) -> None:
    """kill sends SIGKILL unless told otherwise; signals are named in any usual way."""
    for given in ([], ["-s", "SIGTERM"], ["-s", "term"], ["--signal", "15"]):
        assert ok(server, "kill", *given, job.id) == ""
    assert [signum for _, signum in server.shelf.signals] == [9, 15, 15, 15]
    told = refused(server, 2, "kill", "-s", "LOUD", job.id)
    assert told == "mcli: 'LOUD' is no signal; it must be a name such as TERM, or 15\n"


def test_rerun_prints_the_new_ids(server: Served, job: JobInfo) -> None:
    """rerun prints one id for each job, and no more."""
    shown = ok(server, "retry", job.id, job.id).split()
    assert set(shown) == set(server.shelf.jobs) - {job.id}
    assert len(shown) == 2


def test_colours_at_a_terminal_only(server: Served, job: JobInfo) -> None:
    """At a terminal the state has its colour, and the list is as wide as the terminal."""
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [*MCLI, "ps"], env=environment(server.shelf.home.root) | {"COLUMNS": "60"}, stdout=writer
    ):
        os.close(writer)
        shown = _read_all(reader)
    assert b"\x1b[36mqueued\x1b[0m" in shown


def _read_all(terminal: int) -> bytes:
    shown = b""
    with open(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while block := screen.read(4096):  # fails when the other end is closed: so Linux says it
            shown += block
    return shown


def test_help_is_quick(tmp_path: Path) -> None:
    """Help lists every verb, needs no daemon, and imports neither server nor HTTP client."""
    code = (
        "import sys\nfrom mcli.cli import main\n"
        "try: main(['--help'], prog_name='mcli')\n"
        "finally: print([m for m in ('requests', 'fastapi', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(str(tmp_path)), capture_output=True, text=True
    )
    assert done.stdout.endswith("[]\n")
    assert all(f"\n  {verb}" in done.stdout for verb in ("ps, ls, status", "run", "daemon"))


def test_unknown_verb_exits_2(tmp_path: Path) -> None:
    """A verb that does not exist is a usage error."""
    done = mcli(str(tmp_path), "frobnicate")
    assert done.returncode == 2
    assert "No such command 'frobnicate'" in done.stderr


def test_daemon_status(server: Served, tmp_path: Path) -> None:
    """daemon status shows what the daemon says of itself; --json also when it is stopped."""
    assert f"home        {server.shelf.home.root}\n" in ok(server, "daemon", "status")
    assert json.loads(ok(server, "daemon", "status", "--json"))["running"] is True
    stopped = mcli(str(tmp_path), "daemon", "status", "--json")
    assert stopped.returncode == 125
    assert json.loads(stopped.stdout) == {"running": False, "home": str(tmp_path)}


def test_daemon_logs(server: Served, tmp_path: Path) -> None:
    """daemon logs shows the daemon's log, or says that there is none."""
    Path(server.shelf.home.log).write_text("one\ntwo\n")
    assert ok(server, "daemon", "logs") == "one\ntwo\n"
    assert ok(server, "daemon", "logs", "-n", "1") == "two\n"
    assert ok(server, "daemon", "logs", "-n", "0") == ""
    done = mcli(str(tmp_path), "daemon", "logs")
    assert done.returncode == 125
    assert done.stderr.startswith("mcli: there is no log to show at ")


def test_bad_setting_stops_a_start(tmp_path: Path) -> None:
    """A bad option or variable is refused before anything is started."""
    done = mcli(str(tmp_path), "daemon", "start", "--port", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("mcli: --port is 'x'; it must be a port")
    assert list(tmp_path.iterdir()) == []
