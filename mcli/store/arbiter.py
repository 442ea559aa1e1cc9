"""
Who runs the job, when its caller cannot tell whether the daemon accepted it.

Whoever inserts the id owns the job; the daemon's acceptance is such an insertion, and this
is the caller's. Imported by the caller's process, in that case and to ask for a job without
the daemon, so it needs nothing but the standard library. It never creates or repairs a
database: whatever is wrong with it, ``settle`` answers ``OutcomeUnknown``, because a job that
may be somewhere else must not run here.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any, Literal
from urllib.parse import quote

from mcli.errors import OutcomeUnknown, StoreUnreadable
from mcli.ticket import identify

_TAKE = """
    INSERT INTO jobs (id, name, state, route, attempt, pid, created_at, queued_at, started_at,
                      app, argv, cwd, caller)
    VALUES (:id, :name, 'running', 'local', 1, :pid, :now, :now, :now, :app, :argv, :cwd, :caller)
    ON CONFLICT (id) DO NOTHING
"""
_ROUTE = "SELECT route FROM jobs WHERE id = :id"
_CLOSE = """
    UPDATE jobs SET finished_at = :now, exit_code = :exit_code,
           state = CASE :exit_code WHEN 0 THEN 'succeeded' ELSE 'failed' END,
           reason = CASE :exit_code WHEN 0 THEN NULL ELSE 'exit_nonzero' END
    WHERE id = :id AND route = 'local' AND state = 'running'
"""
_WITHDRAW = """
    UPDATE jobs SET finished_at = :now, state = 'cancelled', reason = 'client_gone'
    WHERE id = :id AND route = 'local' AND state = 'running'
"""


def settle(
    database: str,
    job_id: str,
    *,
    name: str,
    app: str,
    argv: list[str],
    cwd: str,
    now: float,
    timeout_s: float = 5.0,
) -> Literal["here", "daemon"]:
    """Try to take the job; whatever the answer, exactly one side has it, durably.

    Args:
        now: Unix seconds.
        timeout_s: Seconds to wait for whoever is writing.

    Returns:
        ``here``: this process runs it, and a late acceptance will fail.
        ``daemon``: it had been accepted.

    Raises:
        OutcomeUnknown: The database is missing, locked, read-only, damaged or of another
            version; or another process has taken the id to run it. Do not run it.
    """
    row = {
        "id": job_id,
        "name": _json(name),
        "app": _json(app),
        "argv": _json(argv),
        "cwd": _json(cwd),
        "pid": os.getpid(),
        "caller": _json(asdict(identify(os.getpid()))),
        "now": now,
    }
    try:
        with _writing(database, timeout_s) as connection:
            taken = connection.execute(_TAKE, row).rowcount == 1
            route = connection.execute(_ROUTE, {"id": job_id}).fetchone()[0]
    except sqlite3.Error as error:
        raise OutcomeUnknown(_unknown(job_id, f"{database}: {error}")) from error
    if taken:
        return "here"
    if route == "daemon":
        return "daemon"
    raise OutcomeUnknown(_unknown(job_id, "another process has taken it to run it itself"))


def close_local(database: str, job_id: str, exit_code: int, now: float) -> bool:
    """Note how a job ended that ran here; False if that cannot be done."""
    return _note(database, _CLOSE, {"id": job_id, "exit_code": exit_code, "now": now})


def withdraw(database: str, job_id: str, now: float) -> bool:
    """Note that a job will not run, neither here, where it was taken, nor there; False if that
    cannot be done."""
    return _note(database, _WITHDRAW, {"id": job_id, "now": now})


def _note(database: str, change: str, columns: dict[str, Any]) -> bool:
    try:
        with _writing(database, timeout_s=1.0) as connection:
            connection.execute(change, columns)
    except sqlite3.Error:
        return False
    return True


def is_known(database: str, job_id: str) -> bool:
    """Whether there is such a job. Asked without the daemon, and changes nothing.

    Raises:
        StoreUnreadable: The database is there, and cannot be read.
    """
    if not os.path.exists(database):
        return False
    address = f"file:{quote(os.fsencode(database))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return connection.execute(_ROUTE, {"id": job_id}).fetchone() is not None
    except sqlite3.Error as error:
        raise StoreUnreadable(f"cannot use the store {database}: {error}") from error


@contextmanager
def _writing(database: str, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A transaction that has the right to write from its beginning, durable at its end."""
    address = f"file:{quote(os.fsencode(database))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # the daemon's business
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # rolls back what was not committed


def _json(value: str | list[str] | dict[str, Any]) -> str:
    """As the schema keeps text, see ``schema.Json``."""
    return json.dumps(value, separators=(",", ":"))


def _unknown(job_id: str, why: str) -> str:
    return (
        f"cannot tell whether job {job_id} was accepted, so it was not run here ({why}); "
        f"see: mcli inspect {job_id}"
    )
