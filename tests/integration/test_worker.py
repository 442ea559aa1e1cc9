"""A worker process, with the test in the daemon's place."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import mcli
from mcli import frames
from mcli.home import Home

DEADLINE_S = 30.0


@pytest.fixture
def link(tmp_path: Path) -> Iterator[socket.socket]:
    """The daemon's end of what a worker of no program in particular has connected to."""
    home = Home(str(tmp_path / "home"))
    os.makedirs(home.root, mode=0o700)
    os.makedirs(os.path.dirname(home.worker_socket), mode=0o700, exist_ok=True)
    root = str(Path(mcli.__file__).parents[1])
    app = {"kind": "exec", "target": "true", "python": sys.executable, "flags": []}
    config = {
        "home": home.root,
        "key": "any",
        "app": app | {"mcli_root": root, "cwd": ""},
        "cwd": root,
        "log": str(tmp_path / "log"),
        "cold": False,
    }
    words = [sys.executable, "-m", "mcli.worker", json.dumps(config)]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(home.worker_socket)
        listening.listen()
        listening.settimeout(DEADLINE_S)
        worker = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=root)
        try:
            with closing(listening.accept()[0]) as link:
                link.settimeout(DEADLINE_S)
                yield link
        finally:
            worker.kill()
            worker.communicate()


def test_descriptors_of_half_an_order(link: socket.socket) -> None:
    """
    A daemon that is killed while it hands over a job's input: nobody holds that any more, and
    the next job is not given it.
    """
    assert link.recv(1 << 16)  # it is ready
    order = frames.encode(frames.START, {"job": "one", "fds": 1})
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe:
        socket.send_fds(link, [order[:10]], [writer])
        os.close(writer)
        link.close()
        assert select.select([pipe], [], [], DEADLINE_S)[0], "it is still open in the worker"
        assert pipe.read() == b""
