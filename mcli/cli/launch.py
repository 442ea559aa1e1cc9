"""
A daemon's process as its starter sees it: begun, and ended.

``launch`` returns when the daemon says, through an inherited pipe, that it is ready or why
it is not; ``end`` when the kernel says that its process is gone. Neither trusts a pid that
a file tells: who holds the lock is the daemon.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from mcli.errors import DaemonError, OutcomeUnknown
from mcli.home import Home
from mcli.problem import error_in
from mcli.ticket import lock_holder

READY_FD: Final = "MCLI_READY_FD"
"""Names the descriptor on which a starting daemon writes its one line of JSON."""

READY_S: Final = 60.0
END_S: Final = 10.0

BREATH_S: Final = 2.0
"""Seconds that a daemon gets to end which could not answer any more."""

LOG_LINES: Final = 10
"""Lines of its log that are shown when a daemon dies without a word."""


def launch(home: Home, options: Sequence[str]) -> dict[str, Any]:
    """Start a daemon and wait until it listens, or until it finds that another one does.

    Returns:
        What it reports: ``url``, ``pid``, and ``already`` if another was there first.

    Raises:
        MCLIError: It could not start; the error is the one that it met.
        DaemonError: It died without saying why, or is not ready after ``READY_S``.
    """
    home.create()
    size = os.path.getsize(home.log) if os.path.exists(home.log) else 0
    reader, writer = os.pipe()
    try:
        _spawn(home, options, writer)
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0):
        line = _first_line(reader, READY_S)
    if line is None:
        raise DaemonError(f"the daemon is not ready after {READY_S:.0f} s; see {home.log}")
    if not line:
        raise DaemonError(f"the daemon died while it started{_last_words(home.log, size)}")
    report: dict[str, Any] = json.loads(line)
    if not report["ok"]:
        raise error_in({"code": report["code"], "detail": report["message"]}, 0)
    return report


def _spawn(home: Home, options: Sequence[str], ready: int) -> None:
    fd = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(fd, "ab", buffering=0) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mcli.daemon", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[ready],
            env=os.environ | {READY_FD: str(ready)},
            start_new_session=True,
        )
    process.returncode = 0  # it outlives us: nobody here will wait for it


def _first_line(fd: int, timeout_s: float) -> bytes | None:
    """The line that comes; empty if the other end closes without one, None when time is up."""
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        block = os.read(fd, 4096)
        if not block:
            return b""
        line += block
    return line


def _last_words(path: str, since: int) -> str:
    with open(path, "rb") as log:
        log.seek(since)
        lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return f"; {path} ends with: {' | '.join(lines)}" if lines else f"; {path} says nothing"


def end(home: Home, *, kill_jobs: bool, timeout_s: float = END_S) -> int | None:
    """Stop the daemon, if there is one, and wait until its process is gone.

    Returns:
        Its pid, or None if none was running.

    Raises:
        DaemonError: It still lives after *timeout_s*.
    """
    pid = lock_holder(home.lock)
    if pid is None:
        return None
    if pid <= 0:
        raise DaemonError("the daemon runs in another container; stop it there")
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return pid
    try:
        _ask_to_end(home, process, kill_jobs)
        if not _gone(process, timeout_s):
            raise DaemonError(f"the daemon (pid {pid}) has not ended after {timeout_s:.0f} s")
    finally:
        os.close(process)
    return pid


def _ask_to_end(home: Home, process: int, kill_jobs: bool) -> None:
    if kill_jobs:
        from mcli.client import Client

        # It may be gone before it has answered; its process tells.
        with Client.connect(home) as client:
            try:
                client.shutdown(kill_jobs=True)
            except OutcomeUnknown:
                pass
            except DaemonError:  # somebody else has stopped it at once
                if not _gone(process, BREATH_S):
                    raise
    elif lock_holder(home.lock) is not None:  # still: the pid was not another's by now
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)


def _gone(process: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
