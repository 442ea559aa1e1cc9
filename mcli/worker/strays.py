"""
What jobs leave behind in a worker: processes whose parents have ended.

The worker is their subreaper: they become its children, so that one look at those tells
whether there are any. Which job one belongs to is told by its session, by the id in its
environment, or by a pipe of the job that it holds; one that shows none of these (it has a session
of its own, has closed all, and has written over its environment) is of the only job, if there is
but one.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Final

from mcli import family
from mcli.worker.attempt import Attempt

_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER


class Strays:
    """The children of this worker that it has not made itself."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "prctl"):
            libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        self._known = family.children(os.getpid())
        """Children that are nobody's strays: the imports have left them, or a job may."""

    def know(self, pid: int) -> None:
        """That child is not to be hunted."""
        self._known.add(pid)

    def forget(self, pid: int) -> None:
        """That child has ended."""
        self._known.discard(pid)

    def of(self, attempt: Attempt, attempts: Sequence[Attempt]) -> set[int]:
        """What *attempt*, whose process has ended, has left; *attempts* are all that there are."""
        found = family.children(os.getpid()) - self._known
        found -= {each.pid for each in attempts if each.status is None}
        return {
            pid for pid in found if _owner(pid, attempts) is attempt and not family.is_daemon(pid)
        }


def _owner(pid: int, attempts: Sequence[Attempt]) -> Attempt | None:
    """Whose *pid* is; None if it is another's, or cannot be told."""
    leader = family.session(pid)
    job_id = family.mark(pid)
    for each in attempts:
        if leader == each.pid or job_id == each.order.job:
            return each
    if job_id is not None or leader == os.getsid(0):
        return None
    holders = [each for each in attempts if family.holds(pid, each.pipes)]
    if holders:
        return holders[0]
    return attempts[0] if len(attempts) == 1 else None
