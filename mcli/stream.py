"""Where a piece of output came out of a job."""

from enum import IntEnum


class Stream(IntEnum):
    """A number in the record log and on the wire; never to be given another meaning."""

    STDOUT = 1
    STDERR = 2
    TTY = 3
    """Its terminal, where stdout and stderr are one."""

    GAP = 4
    """No output, but the place of some that is missing."""


def gap(missing: int) -> str:
    """What people are told where output is missing."""
    return f"{missing} bytes of its output are missing here; the log keeps the first and the last"
