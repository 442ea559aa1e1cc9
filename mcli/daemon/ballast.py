"""
Room on the disk that is held for the worst day: a file that can be given away.

When the disk is full, the end of a job that has run must still be written down. Then the file
is removed, and no job is accepted until there is room for it again.
"""

import contextlib
import logging
import os
from typing import Final, Literal

from mcli.errors import NoRoom
from mcli.scarcity import is_full

log = logging.getLogger("mcli.ballast")

SIZE_BYTES: Final = 8 * 1024 * 1024
"""What the ends of all jobs that may be running need, many times over."""

NEEDED_BYTES: Final = 1024 * 1024
"""Less than this must not be free when the store is opened."""

Act = Literal["make", "give", "leave"]


def decide(*, held: bool, free_bytes: int) -> Act:
    """What to do about the file. It is not made of the last room that there is."""
    if held:
        return "give" if free_bytes < NEEDED_BYTES else "leave"
    return "make" if free_bytes >= 2 * SIZE_BYTES else "leave"


class Ballast:
    """The file at *path*. Making one of these touches nothing on disk."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.held = os.path.exists(path)

    def look(self) -> bool:
        """Make the file if there is room for it; give it away if there is hardly any left.

        Returns:
            Whether there is room for more jobs.
        """
        act = decide(held=self.held, free_bytes=self._free_bytes())
        if act == "make":
            return self._make()
        if act == "give":
            self.give()
        return self.held

    def check(self) -> None:
        """Look, unless the file is there.

        Raises:
            NoRoom: It is not, and there is no room for it, nor for another job.
        """
        if not self.held and not self.look():
            raise NoRoom(
                f"the disk with {os.path.dirname(self.path)} is full; no jobs are taken "
                f"until {2 * SIZE_BYTES >> 20} MiB are free"
            )

    def give(self) -> bool:
        """Remove the file; whether there was one."""
        if not self.held:
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.held = False
        log.error("disk.full %s was removed; no jobs are taken until it is back", self.path)
        return True

    def _make(self) -> bool:
        """Whether there was room. Where it cannot be made for another reason, that is no harm."""
        draft = self.path + ".new"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, SIZE_BYTES)
            finally:
                os.close(fd)
            os.rename(draft, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            return not is_full(error)
        self.held = True
        return True

    def _free_bytes(self) -> int:
        found = os.statvfs(os.path.dirname(self.path))
        return found.f_bavail * found.f_frsize
