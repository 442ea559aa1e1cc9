"""
What the system refuses because there is too much of it now: later it may not.
"""

import errno
from typing import Final

SCARCE: Final = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}
)
"""Processes, memory, descriptors, room on the disk."""


def is_scarce(error: OSError) -> bool:
    """Whether the same may be allowed later."""
    return error.errno in SCARCE
