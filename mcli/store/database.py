"""
The database file: made whole, checked before use, and the two ways to connect to it.

All that is peculiar to SQLite is here (and in ``arbiter``, which has only the driver).

One connection writes and checkpoints; all others can only read. A file that is damaged is
moved aside, and the caller told so: it is never replaced by an empty one in silence.
"""

import os
import sqlite3
import time
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    Pool,
    QueuePool,
    Table,
    create_engine,
    event,
)
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from mcli.errors import StoreDoubtful, StoreError, StoreFull, StoreUnreadable
from mcli.states import State
from mcli.store import schema

BUSY_S: Final = 2.0
"""Seconds to wait for another process that writes. What comes meanwhile waits for as long again,
which has to be over before a caller asks a second time (``attach.ACCEPT_S``)."""

WAL_KEPT: Final = 64 * 1024 * 1024
"""Bytes that the write-ahead log may keep on disk after a checkpoint."""

TRIGGERS: Final = (
    "CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN"
    " UPDATE counters SET jobs = jobs + 1 WHERE state = NEW.state; END",
    "CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN"
    " UPDATE counters SET jobs = jobs - 1 WHERE state = OLD.state;"
    " UPDATE counters SET jobs = jobs + 1 WHERE state = NEW.state; END",
    "CREATE TRIGGER jobs_forgotten AFTER DELETE ON jobs BEGIN"
    " UPDATE counters SET jobs = jobs - 1 WHERE state = OLD.state; END",
    "CREATE TRIGGER jobs_to_tell AFTER UPDATE OF state ON jobs"
    " WHEN NEW.on_finish IS NOT NULL AND NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL"
    " BEGIN INSERT INTO deliveries (job_id, url, due_at)"
    " VALUES (NEW.id, NEW.on_finish, NEW.finished_at); END",
)

_DAMAGED: Final = frozenset({11, 26})  # SQLITE_CORRUPT, SQLITE_NOTADB
_FULL: Final = 13
_FAILED: Final = 10  # SQLITE_IOERR
_UNDONE: Final = frozenset({5, _FULL})  # SQLITE_BUSY too: no commit has left anything behind
_PARTS: Final = ("", "-wal", "-shm")


class _Damaged(Exception):
    """What is wrong with the file."""


def insert_new(table: Table) -> Insert:
    """An insertion that does nothing, rather than fail, where the row's key is taken."""
    return insert(table).on_conflict_do_nothing()


def writing(path: str) -> Engine:
    """For the one connection that writes: each transaction may write from its beginning."""
    pragmas = (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",  # what is forgotten is overwritten: it may have been a secret
        f"journal_size_limit = {WAL_KEPT}",
    )
    return _engine(path, "rw", NullPool, pragmas, begin="BEGIN IMMEDIATE")


def reading(path: str) -> Engine:
    """For any number of connections, of which each transaction sees one state of the store."""
    return _engine(path, "ro", QueuePool, ("query_only = ON",), begin="BEGIN")


def _engine(
    path: str, mode: str, pool: type[Pool], pragmas: tuple[str, ...], *, begin: str
) -> Engine:
    address = URL.create(
        "sqlite",
        database="file:" + quote(os.fsencode(path)),
        query={"mode": mode, "uri": "true"},
    )
    # The driver must begin nothing by itself: its own transactions start as readers, and
    # turning one into a writer fails at once when another process writes.
    options = {"isolation_level": None, "check_same_thread": False, "timeout": BUSY_S}
    engine = create_engine(address, poolclass=pool, connect_args=options)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _entry: ConnectionPoolEntry) -> None:
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except Exception:
            connection.close()  # nobody else knows of it yet, and its file may be moved aside
            raise

    @event.listens_for(engine, "begin")
    def begin_explicitly(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def empty_log(connection: Connection) -> bool:
    """Move all of the write-ahead log into the database and make its file empty.

    Waits for nobody.

    Returns:
        Whether it was done; not while another connection reads what stands there.
    """
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute("PRAGMA busy_timeout = 0")
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:  # the disk is full, or worse: the next write will tell
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
    return not busy


def prepare(path: str) -> None:
    """See to it that a sound database of revision ``HEAD`` is at *path*.

    Raises:
        StoreUnreadable: It is damaged or none of ours, and has been moved aside.
        StoreTooNew: A newer mcli wrote it.
        StoreError: It cannot be opened, or not be made.
    """
    try:
        _prepare(path)
    except OSError as error:
        raise StoreError(f"cannot make the store {path}: {error.strerror}") from error
    except DatabaseError as error:
        if _code(error) in _DAMAGED:
            raise _put_aside(path, str(error.orig)) from error
        raise unusable(path, error) from error
    except _Damaged as damage:
        raise _put_aside(path, str(damage)) from damage


def unusable(path: str, error: DatabaseError, *, committing: bool = False) -> StoreError:
    """The database's own words, as one of our errors.

    A commit that fails may have put all of its pages into the log, where the next process that
    recovers the log would find them: whether it was made cannot be told.
    """
    told = f"cannot use the store {path}: {error.orig}"
    if _code(error) == _FULL:
        return StoreFull(told)
    if committing and _code(error) not in _UNDONE:
        return StoreDoubtful(told)
    return StoreError(told)


def is_failure(error: DatabaseError) -> bool:
    """Whether the disk has failed, and what it holds is to be looked through."""
    return _code(error) == _FAILED


def verify(connection: Connection, path: str) -> None:
    """Look through the database again, on a new connection.

    Raises:
        StoreUnreadable: It is damaged.
    """
    try:
        with connection.begin():
            _check(connection)
    except _Damaged as damage:
        raise StoreUnreadable(
            f"the store {path} is damaged ({damage}); restart the daemon, which moves it aside"
        ) from damage


def _prepare(path: str) -> None:
    if not os.path.exists(path) or (os.path.getsize(path) == 0 and not _had_jobs(path)):
        _create(path)
        return
    if os.path.getsize(path) == 0:
        raise _Damaged("it is empty, although there are jobs")
    engine = writing(path)
    try:
        with engine.connect() as connection:
            _bring_up(connection, path)
    finally:
        engine.dispose()


def _bring_up(connection: Connection, path: str) -> None:
    with connection.begin():
        _check(connection)
        revision = _revision(connection)
    if revision != schema.HEAD:
        from mcli.store.migrate import upgrade  # 0.1 s, and hardly ever needed

        upgrade(connection, path, revision)


def _check(connection: Connection) -> None:
    """Every page; but not whether each row is as the constraints want it, which was made sure
    when it was written, and would take eight times as long."""
    connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    if found != "ok":
        raise _Damaged(" ".join(found.split()))


def _revision(connection: Connection) -> str:
    try:
        revisions = connection.execute(schema.revisions.select()).scalars().all()
    except OperationalError as error:
        if "no such table" not in str(error.orig):
            raise
        revisions = []
    if len(revisions) != 1:
        raise _Damaged("it is a database, but none of mcli's")
    return str(revisions[0])


def _create(path: str) -> None:
    """Beside its place and then renamed, so that it is there complete or not at all."""
    draft = path + ".new"
    for part in _PARTS:
        _remove(draft + part)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    engine = writing(draft)
    with engine.begin() as connection:
        _fill(connection)
    engine.dispose()
    if os.path.exists(path + "-wal"):
        _move_aside(path)  # left by another database, and would be applied to this one
    os.replace(draft, path)
    _sync(os.path.dirname(path))


def _fill(connection: Connection) -> None:
    """All tables, as revision ``HEAD``, and the counters at 0."""
    schema.metadata.create_all(connection)
    schema.revisions.create(connection)
    for trigger in TRIGGERS:
        connection.exec_driver_sql(trigger)
    connection.execute(schema.counters.insert(), [{"state": one, "jobs": 0} for one in State])
    connection.execute(schema.revisions.insert(), {"version_num": schema.HEAD})


def _had_jobs(path: str) -> bool:
    folder = os.path.join(os.path.dirname(path), "jobs")
    return os.path.isdir(folder) and bool(os.listdir(folder))


def _put_aside(path: str, why: str) -> StoreUnreadable:
    try:
        aside = _move_aside(path)
    except OSError as error:
        return StoreUnreadable(
            f"the store {path} is damaged ({why}) and cannot be moved aside "
            f"({error.strerror}); move it yourself to start with a new one"
        )
    return StoreUnreadable(
        f"the store {path} was damaged ({why}) and is now {aside}; "
        "the next start makes a new one, with what jobs/ knows"
    )


def _move_aside(path: str) -> str:
    aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    while os.path.exists(aside):
        aside += "+"
    for part in _PARTS:
        if os.path.exists(path + part):
            os.replace(path + part, aside + part)
    _sync(os.path.dirname(path))
    return aside


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.remove(path)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _code(error: DatabaseError) -> int:
    """SQLite's primary result code."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
