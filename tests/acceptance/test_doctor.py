"""
``mcli doctor``: each thing that can be wrong is found, named, and nothing is changed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from .daemon import Daemon, ended, halt

Findings = dict[str, dict[str, str]]


def look(daemon: Daemon, *, code: int, **env: str) -> Findings:
    """The findings, by what was looked at."""
    done = daemon.mcli("doctor", "--json", code=code, env=env)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["well"] is (code == 0)
    return {finding["check"]: finding for finding in told["findings"]}


def wrong(findings: Findings) -> set[str]:
    return {check for check, finding in findings.items() if finding["verdict"] == "wrong"}


def state(root: str) -> dict[str, tuple[int, str]]:
    """Every file below *root*, when it was changed and what is in it."""
    return {
        str(path): (path.stat().st_mtime_ns, sha256(path.read_bytes()).hexdigest())
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def test_all_is_well(shared: Daemon) -> None:
    """
    Exit code 0, a line for each thing, and a job that came through; nobody sees it afterwards.
    """
    findings = look(shared, code=0)
    assert {"settings", "state directory", "file system", "space", "open files"} <= set(findings)
    assert {"versions", "store", "daemon", "sockets", "http", "job"} <= set(findings)
    assert f"pid {shared.pid}, mcli 0.1.0" in findings["daemon"]["text"]
    assert "a small one came through in" in findings["job"]["text"]
    assert shared.jobs() == []
    assert json.loads(shared.mcli("doctor", "-o", "json").stdout)["well"] is True


def test_lines_for_people(shared: Daemon) -> None:
    """
    One line each, which begins with the verdict; no colours where no terminal is.
    """
    lines = shared.mcli("doctor").stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    assert not any("\x1b" in line for line in lines)
    assert [line for line in lines if line.startswith("ok     state directory  ")]


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_at_a_terminal(stopped: Daemon, variables: dict[str, str], coloured: bool) -> None:
    """
    The verdict has its colour at a terminal, unless NO_COLOR is set.
    """
    master, slave = os.openpty()
    env = {key: text for key, text in stopped.env.items() if key != "NO_COLOR"} | variables
    words = [sys.executable, "-m", "mcli", "doctor"]
    process = subprocess.Popen(words, stdout=slave, env=env, cwd=stopped.cwd)
    os.close(slave)
    said = b""
    try:
        while block := os.read(master, 1 << 16):
            said += block
    except OSError:  # the last one has closed it
        pass
    os.close(master)
    assert process.wait() == 1
    assert (b"\x1b[31mwrong" in said) is coloured


def test_without_a_daemon(stopped: Daemon) -> None:
    """
    It says that none runs and how to start one, looks at the rest, and makes nothing: not even
    the state directory. Exit code 1.
    """
    findings = look(stopped, code=1, MCLI_BACKGROUND_PORT="0")
    assert wrong(findings) == {"daemon"}
    assert "mcli daemon start" in findings["daemon"]["advice"]
    assert not os.path.exists(stopped.home.root)


@pytest.mark.parametrize("crashed", [False, True])
def test_nothing_is_changed(stopped: Daemon, crashed: bool) -> None:
    """
    The store is looked at without a byte being written, also when a crash has left its log.
    """
    stopped.start().puppet("tell")
    if crashed:
        stopped.kill9()
        for pid in stopped.processes():  # its worker would still write to the log
            with ended(pid), suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        stopped.stop()
    before = state(stopped.home.root)
    findings = look(stopped, code=1)
    assert findings["store"]["verdict"] == "ok"
    assert state(stopped.home.root) == before


def test_store_that_is_damaged(stopped: Daemon) -> None:
    """
    Where quick_check finds damage, the finding has its words.
    """
    stopped.start().puppet("tell")
    stopped.stop()
    content = bytearray(Path(stopped.home.database).read_bytes())
    content[4096 * 2 : 4096 * 3] = b"x" * 4096
    Path(stopped.home.database).write_bytes(content)
    stopped.sound = False
    findings = look(stopped, code=1)
    assert wrong(findings) >= {"store"}
    assert stopped.home.database in findings["store"]["text"]


def test_daemon_that_was_stopped(daemon: Daemon) -> None:
    """
    A daemon that does not answer is told from one that does not run; the rest is looked at.
    """
    halt(daemon.pid)
    try:
        findings = look(daemon, code=1)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert wrong(findings) == {"daemon"}
    assert findings["daemon"]["advice"] == f"run: kill -CONT {daemon.pid}"
    assert "http" not in findings


def test_directory_that_others_write_to(stopped: Daemon) -> None:
    """
    The mode of the state directory is looked at, and the line says what mends it.
    """
    os.mkdir(stopped.home.root)
    os.chmod(stopped.home.root, 0o777)
    findings = look(stopped, code=1, MCLI_BACKGROUND_PORT="0")
    assert "chmod 700" in findings["state directory"]["text"]
    assert wrong(findings) == {"state directory", "daemon"}


def test_socket_that_is_in_the_way(shared: Daemon) -> None:
    """
    Sockets that others may use are found.
    """
    os.chmod(shared.home.worker_socket, 0o777)
    try:
        findings = look(shared, code=1)
    finally:
        os.chmod(shared.home.worker_socket, 0o600)
    assert wrong(findings) == {"sockets"}
    assert "mode 0777" in findings["sockets"]["text"]


def test_few_descriptors(stopped: Daemon) -> None:
    """
    A daemon that was started with a low limit is told apart from a shell that has a high one.
    """
    start = f"ulimit -n 100; exec {sys.executable} -m mcli daemon start --port 0"
    stopped.run("bash", "-c", start)
    findings = look(stopped, code=1)
    assert wrong(findings) == {"open files"}
    assert "the daemon may have 100" in findings["open files"]["text"]


def test_port_that_is_taken(stopped: Daemon) -> None:
    """
    Before a daemon is started: whether it could listen.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        findings = look(stopped, code=1, MCLI_BACKGROUND_PORT=str(port))
    assert wrong(findings) == {"daemon", "port"}
    assert f"{port} is taken by a process of uid {os.getuid()}" in findings["port"]["text"]


def test_settings(shared: Daemon) -> None:
    """
    Settings that are not as by default are named with their place; a wrong one is a finding.
    """
    findings = look(shared, code=0, MCLI_GRACE="3")
    assert findings["settings"]["text"] == "MCLI_GRACE"
    findings = look(shared, code=1, MCLI_GRACE="much")
    assert wrong(findings) == {"settings"}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "mcli-test", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_daemon_tells_its_troubles(small: Path) -> None:
    """
    P7: what the daemon cannot do as it should is in its status, in its log, and found.
    """
    daemon = Daemon(small)
    try:
        daemon.start()
        with daemon.client() as client:
            while not (troubles := client.status()["troubles"]):
                assert daemon.pid
        assert [each["name"] for each in troubles] == ["space"]
        assert "trouble     space: " in daemon.mcli("daemon", "status").stdout
        assert "trouble.begun space" in Path(daemon.home.log).read_text()
        assert wrong(look(daemon, code=1)) == {"space", "trouble"}
    finally:
        daemon.close()
