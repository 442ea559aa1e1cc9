"""R16: another user of the same machine, who may run what he likes, gets nothing."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from acceptance.daemon import DEADLINE_S, Daemon, Gate

from mcli import frames
from mcli.version import PROTOCOL

from .conftest import wire_to
from .test_requests import METHODS, OPEN, every_path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

SENT_AWAY = ("closed", "Connection reset by peer", "Broken pipe")

STRANGER = """
import http.client, json, os, signal, socket, sys
from concurrent.futures import ThreadPoolExecutor
told = json.load(sys.stdin)
"127.0.0.1".encode("idna")  # what is loaded late may be out of his reach
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
assert os.getuid() == os.geteuid() == 65534 and not os.getgroups()
found = {}

def attempt(name, act):
    try:
        found[name] = ["did", repr(act())[:200]]
    except OSError as error:
        found[name] = ["refused", error.strerror or str(error)]

def send(path):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(20)
        wire.connect(path)
        wire.sendall(bytes.fromhex(told["frame"]))
        got = wire.recv(100)
        if not got:
            raise OSError("closed")
        return got

def ask(at):
    wire = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=30)
    wire.request(*at)
    return wire.getresponse().status

def first(path):
    with open(path, "rb") as file:
        return file.read(1)

for path in told["files"]:
    attempt("read " + path, lambda: first(path))
for path in told["folders"]:
    attempt("list " + path, lambda: os.listdir(path))
    attempt("make " + path, lambda: open(path + "/planted", "w").close())
    attempt("move " + path, lambda: os.rename(path, path + "-moved"))
for path in told["sockets"]:
    attempt("send " + path, lambda: send(path))
for pid in told["pids"]:
    attempt(f"kill {pid}", lambda: os.kill(pid, signal.SIGTERM))
    attempt(f"look {pid}", lambda: first(f"/proc/{pid}/environ"))
    attempt(f"memory {pid}", lambda: first(f"/proc/{pid}/mem"))
with ThreadPoolExecutor(150) as pool:  # who fails often is kept waiting, so many ask at once
    statuses = list(pool.map(ask, told["asked"]))
let_in = [at for at, status in zip(told["asked"], statuses) if status != 401]
print(json.dumps({"found": found, "asked": len(statuses), "let_in": let_in}))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that others may pass through, unlike those of the other tests."""
    with tempfile.TemporaryDirectory(prefix="mcli-others-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def running(open_place: Path, gate: Gate) -> Iterator[Daemon]:
    """A daemon there, with a job that runs."""
    daemon = Daemon(open_place)
    daemon.start()
    yield daemon
    daemon.close()


def every_request(daemon: Daemon) -> list[tuple[str, str]]:
    """Each method at each path, but those that are open to everybody."""
    every = itertools.product(METHODS, every_path(wire_to(daemon)))
    return [each for each in every if each not in OPEN]


def stranger(daemon: Daemon, job: str, asked: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """What becomes of all that another user tries, with these requests."""
    root = Path(daemon.home.root)
    told = {
        "port": wire_to(daemon).port,
        "frame": frames.encode(frames.PING, {"protocol": PROTOCOL}).hex(),
        "files": [str(path) for path in root.rglob("*") if path.is_file()],
        "folders": [str(root), daemon.home.jobs, daemon.home.job(job)],
        "sockets": [daemon.home.attach_socket, daemon.home.worker_socket],
        "pids": list(daemon.processes()),
        "asked": asked,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        cwd="/",
        env={},
        timeout=4 * DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_r16_nothing(running: Daemon, gate: Gate) -> None:
    """No file is read, no socket answers, no process is touched, no route lets him in."""
    job = running.submit("obey", gate.path)
    inside = gate.arrival()
    asked = every_request(running)
    answer = stranger(running, job, asked)
    assert {name: told for name, told in answer["found"].items() if told[0] != "refused"} == {}
    assert (answer["asked"], answer["let_in"]) == (len(asked), [])
    inside.leave()
    assert running.final(job)["state"] == "succeeded"


def test_r16_sockets_ask_who_comes(running: Daemon, gate: Gate) -> None:
    """Even where the directory and the sockets are open to all, he is sent away unheard."""
    job = running.submit("obey", gate.path)
    inside = gate.arrival()
    os.chmod(running.home.root, 0o711)
    for path in (running.home.attach_socket, running.home.worker_socket):
        os.chmod(path, 0o666)
    found = stranger(running, job)["found"]
    for path in (running.home.attach_socket, running.home.worker_socket):
        assert found[f"send {path}"][0] == "refused"
        assert found[f"send {path}"][1] in SENT_AWAY
    files = {name: told for name, told in found.items() if name.startswith("read ")}
    assert {name for name, told in files.items() if told[0] != "refused"} == set()
    inside.leave()
    assert running.final(job)["state"] == "succeeded"
