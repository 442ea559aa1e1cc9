"""
Holes in files: a part is given back to the disk, and the file keeps its size.
"""

import ctypes
from typing import Final

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2


def punch(fd: int, offset: int, length: int) -> bool:
    """Make a hole; False if this file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "fallocate64"):
        return False
    mode = ctypes.c_int(_PUNCH_HOLE | _KEEP_SIZE)
    place = (ctypes.c_int64(offset), ctypes.c_int64(length))
    return bool(libc.fallocate64(ctypes.c_int(fd), mode, *place) == 0)
