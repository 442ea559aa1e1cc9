"""
What the system refuses now: later it may not.
"""

import errno
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_SCARCE: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

_FAILING: Final = frozenset({errno.EIO, errno.EROFS})


def is_full(error: OSError) -> bool:
    """Whether there is no room on the disk, or none for this user."""
    return error.errno in _FULL


def is_scarce(error: OSError) -> bool:
    """Whether there is too little of something: processes, memory, descriptors, room."""
    return error.errno in _SCARCE | _FULL


def is_failing(error: OSError) -> bool:
    """Whether the disk does not work. Without ours there is nothing to do but wait for it."""
    return error.errno in _FAILING
