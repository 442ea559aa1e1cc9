"""
Points at which a process of mcli can be made to fail, so that a test can see what follows.

``MCLI_FAILPOINT="name:action[@n][,name:action[@n]]"`` has the process that passes the point
*name* for the n-th time (the first, if nothing is said) do this:

    kill      die by SIGKILL, as of a crash
    stop      stop by SIGSTOP, until somebody continues it
    raise     raise ``RuntimeError``, as a bug would
    eio       raise ``OSError``, as a broken disk would
    delay=N   be late by N milliseconds
    hang      never come back

In the daemon's environment it is about the daemon; in a caller's, about the caller, and the
worker and the job that it starts. Passages are counted by each process; a forked one goes on
counting from where it was forked. Unset, a point costs a comparison.
"""

import errno
import os
import signal
import time
from collections import Counter
from typing import Final

POINTS: Final = {
    "asked": "caller: the submission is sent, and no answer has come",
    "settled": "caller: it has taken the job from the daemon, to run it itself",
    "recv": "daemon: a submission has come",
    "pre-commit": "daemon: it is about to be committed",
    "post-commit": "daemon: it is committed, and not yet acknowledged",
    "replied": "daemon: it is acknowledged",
    "claimed": "daemon: an attempt is committed, and no worker told",
    "revoked": "daemon: it holds the ticket of an attempt that never began, not yet put back",
    "requeued": "daemon: that job is back in the queue, and nobody told",
    "stopping": "daemon: that a job is to end is committed, and its process not told",
    "recovered": "daemon: it has settled what the one before left running, and claims nothing yet",
    "connected": "worker: the daemon has taken its connection, and does not know whose it is",
    "ordered": "worker: it is told to start an attempt, and has not",
    "heard": "worker: it has been told by the job that its body is next, and tells nobody",
    "forked": "daemon, or worker: the process of the attempt exists",
    "shared": "worker: the daemon is told of that process, which has no order yet",
    "begun": "worker: the process of the attempt has its order",
    "received": "job: it knows which job it is, and has no ticket",
    "ticketed": "job: the attempt is its own, and the program has not begun",
    "marked": "job: it has marked in its streams that its body is next, and not noted it",
    "outcome-written": "job: how it ended is written down",
    "reaped": "worker: the process of the attempt has ended, and its outcome is not completed",
    "outcome-kept": "worker: its outcome is complete, and the daemon not told",
    "ended": "daemon: how it ended is known, and not committed",
    "finished": "daemon: the end is committed, and nobody told",
}
"""Each point with the process that passes it and what has happened by then."""

ACTIONS: Final = ("kill", "stop", "raise", "eio", "delay", "hang")

_passages: Final[Counter[str]] = Counter()


def parse(text: str) -> dict[tuple[str, int], str]:
    """What is to happen at which passage of which point.

    Raises:
        ValueError: There is no such point or action, or *n* is no number.
    """
    armed = {}
    for word in filter(None, text.split(",")):
        name, _, told = word.partition(":")
        action, _, passage = told.partition("@")
        if name not in POINTS or action.partition("=")[0] not in ACTIONS:
            raise ValueError(f"MCLI_FAILPOINT names no point or no action: {word!r}")
        armed[name, int(passage or 1)] = action
    return armed


_armed = parse(os.environ.get("MCLI_FAILPOINT", ""))


def reach(name: str) -> None:
    """Pass a point; perhaps no further."""
    if _armed:
        _passages[name] += 1
        action, _, number = _armed.get((name, _passages[name]), "").partition("=")
        _act(action, name, number)


def _act(action: str, name: str, number: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "raise":
        raise RuntimeError(f"failpoint {name}")
    elif action == "eio":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    elif action == "delay":
        time.sleep(int(number) / 1000)
    while action == "hang":
        time.sleep(3600)
