"""How a daemon is begun and ended, with programs that stand in for one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcli.cli import launch as launching
from mcli.cli.launch import end, launch
from mcli.errors import BadSetting, DaemonError, UnsafeHome
from mcli.home import Home

Fake = Callable[[str], None]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(str(tmp_path / "home"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Lets a Python program run where the daemon would."""

    def make(body: str) -> None:
        program = tmp_path / "python"
        head = "import json, os, sys\nready = int(os.environ['MCLI_READY_FD'])\n"
        program.write_text(f"#!{sys.executable}\n{head}{body}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return make


REPORT = "os.write(ready, json.dumps({}).encode() + b'\\n')"


def test_launch_returns_what_the_daemon_reports(home: Home, fake: Fake) -> None:
    """A daemon that is ready says where; it has no terminal, and a session of its own."""
    fake(
        REPORT.format(
            "{'ok': True, 'url': 'u', 'pid': os.getpid(), 'argv': sys.argv[1:],"
            " 'session': os.getsid(0), 'stdin': os.readlink('/proc/self/fd/0'),"
            " 'out': os.readlink('/proc/self/fd/1'), 'err': os.readlink('/proc/self/fd/2')}"
        )
    )
    report = launch(home, ["--port=0"])
    assert report["argv"] == ["-m", "mcli.daemon", "--port=0"]
    assert report["session"] == report["pid"]
    assert (report["stdin"], report["out"], report["err"]) == ("/dev/null", home.log, home.log)
    assert Path(home.log).stat().st_mode & 0o777 == 0o600


def test_launch_raises_the_error_that_the_daemon_met(home: Home, fake: Fake) -> None:
    """A daemon that cannot start says why, and that error is raised here."""
    fake(REPORT.format("{'ok': False, 'code': 'bad_setting', 'exit_code': 2, 'message': 'why'}"))
    with pytest.raises(BadSetting, match=r"^why$"):
        launch(home, [])


def test_launch_shows_the_last_words(home: Home, fake: Fake) -> None:
    """A daemon that dies without a word is told by the end of what it has logged."""
    home.create()
    Path(home.log).write_text("from an earlier life\n")
    fake("sys.exit('the last words')")
    with pytest.raises(DaemonError, match=r"died while it started; \S+ ends with: the last words$"):
        launch(home, [])


def test_launch_gives_up(
    home: Home, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that never gets ready is not waited for without end."""
    monkeypatch.setattr(launching, "READY_S", 0.0)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fake(f"open({str(gate)!r}).read()")
    with pytest.raises(DaemonError, match="is not ready after 0 s; see "):
        launch(home, [])
    gate.write_text("")  # it may end


def test_launch_refuses_an_unsafe_home(home: Home, fake: Fake) -> None:
    """In a state directory that others can write to, nothing is started."""
    os.mkdir(home.root)
    os.chmod(home.root, 0o777)
    with pytest.raises(UnsafeHome, match="run: chmod 700"):
        launch(home, [])
    assert os.listdir(home.root) == []


@pytest.fixture
def holder(home: Home) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process that holds the daemon's lock, and then runs a program."""
    started = []

    def hold(body: str) -> subprocess.Popen[bytes]:
        home.create()
        head = f"import fcntl, signal, sys\nlock = open({home.lock!r}, 'w')\n"
        held = "fcntl.lockf(lock, fcntl.LOCK_EX)\n"
        process = subprocess.Popen(
            [sys.executable, "-c", f"{head}{held}{body}"], stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_end_terminates_the_holder_of_the_lock(
    home: Home, holder: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    """The process that holds the lock gets SIGTERM, whatever pid a file tells."""
    process = holder("print(flush=True); signal.pause()")
    Path(home.address).write_text(json.dumps({"pid": os.getpid()}))
    assert end(home, kill_jobs=False) == process.pid
    assert process.wait(10) == -15


def test_end_of_no_daemon_is_none(home: Home) -> None:
    """Without a daemon there is nothing to end, and nothing is made."""
    assert end(home, kill_jobs=False) is None
    home.create()
    Path(home.lock).touch()
    assert end(home, kill_jobs=False) is None


def test_end_gives_up(home: Home, holder: Callable[[str], subprocess.Popen[bytes]]) -> None:
    """A daemon that does not end is told so, with its pid."""
    process = holder("signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()")
    with pytest.raises(DaemonError, match=rf"\(pid {process.pid}\) has not ended after 0 s"):
        end(home, kill_jobs=False, timeout_s=0.0)
