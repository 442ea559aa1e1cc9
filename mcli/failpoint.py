"""
Points at which a process of mcli can be made to end, so that a test can see what follows.

``MCLI_FAILPOINT="name:kill"`` kills the process that passes the point *name*, by SIGKILL, as
a crash would; ``name:raise`` has it raise, as a bug would, and ``name:hang`` never come back.
In the daemon's environment it is about the daemon; in a caller's, about the worker and the job
that it starts. Unset, a point costs a comparison.
"""

import os
import signal
import time
from typing import Final

POINTS: Final = {
    "recv": "daemon: a submission has come",
    "pre-commit": "daemon: it is about to be committed",
    "post-commit": "daemon: it is committed, and not yet acknowledged",
    "claimed": "daemon: an attempt is committed, and no worker told",
    "forked": "daemon, or worker: the process of the attempt exists",
    "ticketed": "job: the attempt is its own, and the program has not begun",
    "outcome-written": "job: how it ended is written down",
    "finished": "daemon: the end is committed, and nobody told",
}
"""Each point with the process that passes it and what has happened by then."""

_armed, _, _action = os.environ.get("MCLI_FAILPOINT", "").partition(":")


def reach(name: str) -> None:
    """Pass a point; perhaps no further."""
    if name == _armed:
        if _action == "raise":
            raise RuntimeError(f"failpoint {name}")
        while _action == "hang":
            time.sleep(3600)
        os.kill(os.getpid(), signal.SIGKILL)
