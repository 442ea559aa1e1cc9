"""
A look at the database that changes nothing, not even the files beside it.

With the driver alone: whoever wants to know whether the store can be read need not load what
is needed to work with it.
"""

import os
import sqlite3
import time
from typing import Final, NamedTuple
from urllib.parse import quote

CHECK_S: Final = 10.0
"""Seconds after which the check is broken off: a reader keeps the write-ahead log from being
emptied."""

STEPS: Final = 100_000
"""Of SQLite's machine, between two looks at the clock."""

RESET_BUG: Final = ((3, 7, 0), (3, 51, 2))
"""The first and the last version that can damage a database in WAL mode when two connections
write at the same moment."""


class Examined(NamedTuple):
    """What was found."""

    size: int
    """Bytes of the database."""

    log_size: int
    """Bytes of its write-ahead log."""

    wrong: str | None
    """Why it cannot be used, if it cannot."""

    unchecked: str | None = None
    """Why it could not be checked, or not to the end."""


def version() -> str:
    """That of SQLite, in this process."""
    return sqlite3.sqlite_version


def has_reset_bug(known: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether that version can damage a database which two connections write."""
    first, last = RESET_BUG
    return first <= known <= last


def examine(path: str, *, served: bool) -> Examined | None:
    """Check the database at *path*; None if there is none.

    Args:
        served: A daemon has it open.
    """
    try:
        size, log_size = os.stat(path).st_size, _size(f"{path}-wal")
    except FileNotFoundError:
        return None
    except OSError as error:
        return Examined(0, 0, f"cannot be looked at: {error.strerror}")
    if log_size and not served and not os.path.exists(f"{path}-shm"):
        return Examined(size, log_size, None, "its log has no index; the next start makes one")
    # Without a log nothing but the file is read, and nothing made beside it. Else its index is
    # used as it is; only that of a daemon knows who reads.
    how = "mode=ro" if served else "readonly_shm=1&mode=ro" if log_size else "immutable=1&mode=ro"
    try:
        return Examined(size, log_size, *_checked(f"file:{quote(os.fsencode(path))}?{how}"))
    except sqlite3.Error as error:
        return Examined(size, log_size, str(error))


def _checked(address: str) -> tuple[str | None, str | None]:
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    deadline = time.monotonic() + CHECK_S
    try:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None, f"it is large: the check was broken off after {CHECK_S:g} s"
    finally:
        connection.close()
    return (None if found == "ok" else " ".join(str(found).split())), None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
