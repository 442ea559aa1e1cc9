"""
The store: everything is written by one thread, and many writes share one commit.

A commit waits for the disk (``synchronous=FULL``), so whatever has come in meanwhile goes
into the next one together. Each function has a savepoint of its own: when it fails, it alone
fails. A future is resolved after the commit, never before, so that what has been told to
anybody survives a power cut.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, IntegrityError, ProgrammingError

from mcli.errors import StoreError, StoreGone
from mcli.inode import inode
from mcli.store import database

log = logging.getLogger("mcli.store")

BATCH_MAX: Final = 500
"""Writes in one commit, so that a flood does not hold up the first of them for long."""

IDLE_S: Final = 0.5
"""Seconds without a write after which the write-ahead log is emptied."""

LOG_S: Final = 30.0
"""Seconds after which it is emptied though writes come all the time."""

_MISTAKES: Final = (IntegrityError, ProgrammingError)
"""What the database says about the statement, and not about itself."""

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """An open database. To be opened once per process, and after any fork."""

    def __init__(self, path: str) -> None:
        """Use ``open``, which makes and checks the file first."""
        self.path: Final = path
        self.commits = 0
        """Transactions committed so far."""
        self.trouble: str | None = None
        """Why the last one could not be committed, if it could not."""
        self._inode = inode(path)
        self._readers = database.reading(path)
        self._writer = database.writing(path)
        self._connection: Connection | None = self._writer.connect()
        self._waiting: deque[_Write] = deque()
        self._reading = 0
        """Reads that have begun."""

        self._closed = False
        self._doubted = False
        """The disk has failed, and what it holds was not looked through since."""

        self._alarmed = False
        self._logged_since: float | None = None
        """When the oldest page came into the write-ahead log, which keeps what it has forgotten."""

        self._changed = Condition()
        self._thread = Thread(target=self._run, name="mcli-store", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: str) -> "Store":
        """Open the database at *path*, after making, checking or migrating it.

        Raises:
            StoreUnreadable: It is damaged, and has been moved aside; the message says where.
            StoreTooNew: A newer mcli wrote it.
            StoreError: It cannot be opened, or not be made.
        """
        database.prepare(path)
        try:
            return cls(path)
        except DatabaseError as error:
            raise database.unusable(path, error) from error

    def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Have ``fn(connection, *args, **kwargs)`` run in the next transaction.

        What one thread hands over is run in that order.

        Returns:
            A future that has the function's result, or its exception, once all of the
            transaction is on the disk. ``StoreError`` when that could not be done;
            ``StoreDoubtful`` when it may have been done nevertheless.

        Raises:
            StoreError: The store is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            self._check_open()
            self._waiting.append(_Write(future, lambda connection: fn(connection, *args, **kwargs)))
            self._changed.notify()
        return future

    def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(connection, *args, **kwargs)`` now, here, on a connection that cannot write.

        It sees one state of the store, with everything that a resolved future has promised.
        To be short: the write-ahead log grows for as long as it runs.

        Raises:
            StoreError: The database cannot be read, or the store is closed.
        """
        with self._changed:
            self._check_open()
            self._reading += 1
        try:
            with self._readers.connect() as connection:
                return fn(connection, *args, **kwargs)
        except DatabaseError as error:
            raise self._told(error) from error
        finally:
            with self._changed:
                self._reading -= 1
                if self._closed:
                    self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, let those finish who read, then let go of the database.

        May be called again.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._reading)
        self._readers.dispose()
        self._disconnect()  # last, because the last one out clears the write-ahead log

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed")

    def _run(self) -> None:
        while batch := self._take():
            self._commit([write for write in batch if write.is_wanted()])
            self._watch_log()
            if self._logged_since is None:
                self._logged_since = time.monotonic()
            elif time.monotonic() - self._logged_since > LOG_S:
                self._empty_log()

    def _take(self) -> "list[_Write]":
        """All that waits, after waiting for the first; empty once closed and drained."""
        with self._changed:
            if self._logged_since is not None and not self._wait(IDLE_S):
                self._empty_log()
            self._wait(None)
            return [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether there is something to do, before the time is up."""
        return self._changed.wait_for(lambda: bool(self._waiting) or self._closed, timeout_s)

    def _empty_log(self) -> None:
        """Until then what was wiped can still be read there. If somebody reads now: later."""
        self._logged_since = None
        if self._connection is not None and not database.empty_log(self._connection):
            self._logged_since = time.monotonic()

    @property
    def log_bytes(self) -> int:
        """How long the write-ahead log is."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _watch_log(self) -> None:
        """Say it, once, when somebody's reading keeps the log from being emptied."""
        size = self.log_bytes
        if size > database.WAL_KEPT and not self._alarmed:
            log.warning(
                "store.log_pinned bytes=%d: another program reads %s and does not come to an end; "
                "until it does, the log grows", size, self.path,
            )  # fmt: skip
        self._alarmed = size > database.WAL_KEPT

    def _commit(self, batch: "Sequence[_Write]") -> None:
        committing = False
        try:
            connection = self._connected()
            with connection.begin():
                for write in batch:
                    write.run(connection)
                committing = True
        except Exception as error:  # noqa: BLE001 - it belongs to whoever holds the future
            self._disconnect()
            self.trouble = str(self._told(error))
            self._doubted |= isinstance(error, DatabaseError) and database.is_failure(error)
            for write in batch:
                write.fail(self._told(error, committing=committing))
            return
        self.trouble = None
        self._check_place()
        self.commits += 1
        for write in batch:
            write.resolve(self._told)

    def _check_place(self) -> None:
        """Nobody is told of a commit that went into a file which no next daemon finds.

        Raises:
            StoreGone: It did, and this thread ends without a word to those who wait.
        """
        if inode(self.path) != self._inode:
            raise StoreGone(f"{self.path} was removed or replaced; start another daemon")

    def _connected(self) -> Connection:
        """The connection that writes; a new one, if the last has failed.

        Raises:
            StoreUnreadable: The disk had failed, and has left a damaged database.
        """
        if self._connection is None:
            self._connection = self._writer.connect()
            if self._doubted:
                database.verify(self._connection, self.path)
                self._doubted = False
        return self._connection

    def _told(self, error: Exception, *, committing: bool = False) -> Exception:
        """As callers see it: a database that fails is one of our errors."""
        if isinstance(error, DatabaseError) and not isinstance(error, _MISTAKES):
            return database.unusable(self.path, error, committing=committing)
        return error

    def _disconnect(self) -> None:
        """A connection that failed to commit is never trusted again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


class _Write:
    """One function that waits to be run, and the future that waits for it."""

    __slots__ = ("_call", "_error", "_future", "_result")

    def __init__(self, future: "Future[Any]", call: Callable[[Connection], Any]) -> None:
        self._future = future
        self._call = call
        self._result: Any = None
        self._error: Exception | None = None

    def is_wanted(self) -> bool:
        """Whether nobody has cancelled it; from now on nobody can."""
        return self._future.set_running_or_notify_cancel()

    def run(self, connection: Connection) -> None:
        """Undo what it did when it fails.

        Raises:
            DatabaseError: That cannot be undone: the database has ended the transaction.
        """
        savepoint = connection.begin_nested()
        try:
            self._result = self._call(connection)
            savepoint.commit()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever holds the future
            self._error = error
            savepoint.rollback()

    def resolve(self, told: Callable[[Exception], Exception]) -> None:
        if self._error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(told(self._error))

    def fail(self, error: Exception) -> None:
        self._future.set_exception(error)
