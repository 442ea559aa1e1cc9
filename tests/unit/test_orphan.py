"""
What the daemon opens for a job whose worker is dead, and lets go of when that is refused.
"""

import asyncio
import os
import resource
import sys
from pathlib import Path

from mcli.card import Pipes, write_card
from mcli.daemon.orphan import Orphan, Streams
from mcli.invocation import App, Invocation
from mcli.job import JobInfo
from mcli.states import State
from mcli.ticket import identify

APP = App(kind="exec", target="true", python=sys.executable)
INVOCATION = Invocation("true", APP, ["true"], "/", {})


async def looked_after(folder: Path, descriptors: int) -> bool:
    """Whether an orphan can begin with no descriptor from that number on."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pid = os.getpid()
    info = JobInfo(
        id="0", name="true", state=State.RUNNING, app="true", argv=[], cwd="/", created_at=0.0,
        attempt=1, pid=pid, timeout_s=60.0,
    )  # fmt: skip
    streams = Streams([reader], [1], b"")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    orphan = None
    try:
        orphan = Orphan(
            info, str(folder), identify(pid), streams, True, 0, 1.0,
            lambda _size: None, lambda: None, lambda _kind, _payload: None, INVOCATION, None,
        )  # fmt: skip
        orphan.start()
    except OSError:
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if orphan is not None:
            orphan.close()
        streams.close()
        os.close(writer)
    return True


def test_orphan_that_cannot_begin_leaves_nothing_open(tmp_path: Path) -> None:
    """However few descriptors are left: nothing stays open, and the log is nobody's."""
    write_card(str(tmp_path), {"attempt": 1}, Pipes({1: 1}, ""), now_s=0.0)
    before = set(os.listdir("/proc/self/fd"))
    most, refused = 3, 0
    while not asyncio.run(looked_after(tmp_path, most)):
        assert set(os.listdir("/proc/self/fd")) == before
        most, refused = most + 1, refused + 1
    assert set(os.listdir("/proc/self/fd")) == before
    assert refused >= 1
