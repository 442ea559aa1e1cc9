"""
What the system refuses now: later it may not.
"""

import errno
from typing import Final

SCARCE: Final = frozenset(
    {
        *(errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS),
    }
)
"""Processes, memory, descriptors; room on the disk, and a disk that can be written to."""


def is_scarce(error: OSError) -> bool:
    """Whether the same may be allowed later."""
    return error.errno in SCARCE
