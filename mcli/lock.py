"""
POSIX locks of other processes: the kernel tells of them, and takes them away at a process's end.
"""

import fcntl
import os
import struct
from typing import Final

# struct flock as Linux has it on 64-bit machines: type, whence, start, length, pid.
_FLOCK: Final = struct.Struct("hhqqi4x")


def locker(fd: int, start: int = 0, length: int = 0) -> int | None:
    """The pid of another process that has a lock there, or None. Asks the kernel; takes nothing.

    Args:
        start: The first byte that is asked about.
        length: How many; 0: all from there on.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, *_rest, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return pid if kind != fcntl.F_UNLCK else None
