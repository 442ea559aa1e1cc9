"""
Descriptors that nobody who waits for a job may take.

Callers and HTTP clients hold some each, for as long as they wait. If they could hold all, neither
the worker that they wait for could connect nor its output be read, and they would wait for ever.
"""

import resource
from typing import Final

LEAST: Final = 16
MOST: Final = 128


def _headroom(limit: int) -> int:
    """How many of *limit* descriptors are kept."""
    return max(LEAST, min(limit // 8, MOST))


def is_beyond(fd: int) -> bool:
    """Whether *fd*, just opened, is one of those: each gets the lowest number that is free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit != resource.RLIM_INFINITY and fd >= limit - _headroom(limit)
