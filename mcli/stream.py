"""Where a piece of output came out of a job."""

from enum import IntEnum


class Stream(IntEnum):
    """A number in the record log and on the wire; never to be given another meaning."""

    STDOUT = 1
    STDERR = 2
    TTY = 3
    """Its terminal, where stdout and stderr are one."""
