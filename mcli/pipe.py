"""
The ends of a pipe, and what a process can know of those that others have.
"""

import contextlib
import fcntl
import os
import select
from typing import Final

from mcli.lock import locker

_BYTE: Final = 1 << 62
"""Where in a pipe the lock is that tells of ``grip``: no program has one there."""


def open_end(fd: int, mode: int) -> int:
    """An end of the pipe of which *fd* is one."""
    return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK)


def is_read(writer: int) -> bool:
    """Whether anybody has a reading end."""
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    return not any(event & select.POLLERR for _, event in poll.poll(0))


def grip(reader: int) -> None:
    """Have who writes to it see that this process holds on to it, for as long as it does."""
    with contextlib.suppress(OSError):
        fcntl.lockf(reader, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _BYTE)


def is_gripped(writer: int) -> bool:
    """Whether some process does that; True also where the system cannot tell."""
    try:
        return locker(writer, _BYTE, 1) is not None
    except OSError:
        return True
