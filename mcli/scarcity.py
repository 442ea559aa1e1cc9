"""
What the system refuses now: later it may not.
"""

import errno
from typing import Final

SCARCE: Final = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}
)
"""Processes, memory, descriptors, room on the disk."""

_FAILING: Final = frozenset({errno.EIO, errno.EROFS})


def is_scarce(error: OSError) -> bool:
    """Whether the same may be allowed later."""
    return error.errno in SCARCE


def is_failing(error: OSError) -> bool:
    """Whether the disk does not work. Without ours there is nothing to do but wait for it."""
    return error.errno in _FAILING


def is_full(error: OSError) -> bool:
    """Whether there is no room on the disk, or none for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
