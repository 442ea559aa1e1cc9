"""
Pipes that are no longer read, and not given up.

Who writes to one is told that nobody reads. What the kernel took before that stays in the pipe as
long as somebody has a writing end of it; it can be read by then.
"""

import contextlib
import os

from mcli.pipe import open_end
from mcli.stream import Stream


class Anchors:
    """A writing end of each such pipe of one job."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []
        """Stream, and descriptor."""

    def keep(self, stream: int, fd: int) -> None:
        """*fd* is about to be closed."""
        if stream != Stream.TTY:
            with contextlib.suppress(OSError):  # too many files are open: it is as it is
                self.ends.append((stream, open_end(fd, os.O_WRONLY)))

    def close(self, *ends: tuple[int, int]) -> None:
        """Give up these, or all."""
        for end in ends or tuple(self.ends):
            self.ends.remove(end)
            os.close(end[1])
