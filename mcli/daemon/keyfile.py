"""
A secret of the daemon's in a file that only its owner can read.
"""

import os
import re
import stat
from collections.abc import Callable
from typing import Final

from mcli.errors import UnsafeHome

BYTES_MAX: Final = 4096
"""Of the file, that are read."""


def kept(path: str, what: str, pattern: re.Pattern[str], make: Callable[[], str]) -> str:
    """The secret in the file at *path*, which only its owner can read.

    Args:
        what: What the file is called, in messages.
        pattern: What a secret looks like. If what stands there does not, it is made anew.
        make: Makes one.

    Raises:
        UnsafeHome: The file is a link, is not ours, or others may read it: what stands in it
            may be known to them, or have been chosen by them.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _new(path, make())
    except OSError as error:
        raise UnsafeHome(
            f"the {what} file {path} cannot be used ({error.strerror}); remove it"
        ) from error
    try:
        _check(path, what, os.fstat(fd))
        secret = os.read(fd, BYTES_MAX).decode("ascii", "replace").strip()
    finally:
        os.close(fd)
    if pattern.fullmatch(secret):
        return secret
    os.unlink(path)
    return _new(path, make())


def _check(path: str, what: str, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        raise UnsafeHome(f"the {what} file {path} is not a file of your own; remove it")
    if mode & 0o077:
        raise UnsafeHome(
            f"others can read the {what} file {path} (mode {mode:04o}); remove it, "
            "and the next start makes another"
        )


def _new(path: str, secret: str) -> str:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return secret
