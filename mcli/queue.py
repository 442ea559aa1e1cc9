"""
Jobs moving through their life: submit, claim, start, finish, stop, forget.

The only module that changes a state. Each verb is given the connection of a transaction
(``Store.write`` commits it, and only then may anyone be told) and the time as ``now`` (Unix
seconds). A move is made by compare-and-set on the states of its row in ``MOVES`` and, where
a process reports, on the attempt; a final state is never written over. A verb that comes
too late or a second time changes nothing, so that callers may repeat it.

Called by the daemon; nothing else has a store.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, exists, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from mcli.errors import (
    AmbiguousJob,
    Conflict,
    InvalidTransition,
    KeyReused,
    QueueFull,
    RequestError,
    UnknownJob,
)
from mcli.ids import is_id
from mcli.invocation import Invocation, Source
from mcli.job import AttemptInfo, JobInfo
from mcli.mask import mask_text
from mcli.retention import Ended
from mcli.states import FINAL, LIVE, MOVES, Event, Reason, State
from mcli.store.database import insert_new
from mcli.store.schema import (
    QUEUED,
    SCHEDULED,
    counters,
    deliveries,
    idempotency_keys,
    invocations,
    jobs,
)
from mcli.store.schema import attempts as earlier_attempts
from mcli.ticket import Identity

LATEST: Final = "-"
"""What people write for the newest job."""

CALL_PRIORITY: Final = 100
"""From here on somebody waits for the answer: such jobs have slots of their own."""

KEY_KEPT_S: Final = 24 * 3600.0
"""Seconds for which an idempotency key is remembered."""

NOT_JSON: Final = "what the command returned is not JSON, and was not kept"

_ID_DIGITS: Final = frozenset("0123456789abcdef-")
_ENDINGS: Final = {
    State.SUCCEEDED: Event.SUCCEED,
    State.FAILED: Event.FAIL,
    State.CANCELLED: Event.ENDED,
    State.LOST: Event.LOSE,
}
_ACCEPT: Final = insert_new(jobs).returning(jobs)
_KEEP: Final = invocations.insert()
_GET: Final = select(jobs).where(jobs.c.id == bindparam("job_id"))
_KEYED: Final = select(idempotency_keys).where(
    idempotency_keys.c.key == bindparam("key"),
    idempotency_keys.c.created_at > bindparam("since"),
)
_THEIRS: Final = jobs.c.source != "daemon"
_QUEUED: Final = select(counters.c.jobs).where(counters.c.state == QUEUED)
_OF_ATTEMPT: Final = (
    "attempt", "state", "reason", "exit_code", "signal", "started_at", "finished_at", "error",
    "worker_pid", "pid",
)  # fmt: skip
_NO_PROCESSES: Final = {"worker_pid": None, "pid": None}
_NO_PROCESS: Final = {"started_at": None, **_NO_PROCESSES}


class Accepted(NamedTuple):
    """A job that was accepted, now or by an earlier sending of the same request."""

    job: JobInfo
    repeated: bool


# Moves ------------------------------------------------------------------------------------


def accept(
    conn: Connection,
    *,
    now: float,
    job_id: str,
    key: str | None = None,
    request: bytes | None = None,
    **columns: Any,
) -> Accepted:
    """``submit``, for requests that may come twice: under the same id, or with the same key.

    Args:
        key: What the caller calls this request, for a day; None: nothing.
        request: Digest of the request, which a repetition must share.

    Raises:
        RequestError, Conflict: See ``submit``.
        KeyReused: The key is that of another request.
    """
    found = earlier(conn, now=now, job_id=job_id, key=key, request=request)
    if found is not None:
        return Accepted(found, True)
    job = submit(conn, now=now, job_id=job_id, request=request, **columns)
    if key is not None:
        forget_keys(conn, now=now)
        named = {"key": key, "job_id": job_id, "request": request or b"", "created_at": now}
        conn.execute(idempotency_keys.insert(), named)
    return Accepted(job, False)


def earlier(
    conn: Connection, *, now: float, job_id: str, key: str | None, request: bytes | None
) -> JobInfo | None:
    """The job that the same request has made before; None if it comes for the first time.

    Raises:
        Conflict: The id is taken by another request.
        KeyReused: The key is.
    """
    named = key and conn.execute(_KEYED, {"key": key, "since": now - KEY_KEPT_S}).one_or_none()
    if named:
        if named.request != (request or b""):
            raise KeyReused(
                f"the idempotency key {key} was used for another request; a new request needs "
                "a new key"
            )
        return get(conn, named.job_id)
    if request and conn.execute(_GET, {"job_id": job_id}).one_or_none() is not None:
        return _accepted_before(conn, job_id, request)
    return None


def forget_keys(conn: Connection, *, now: float) -> None:
    """Remove the idempotency keys that are older than a day."""
    old = idempotency_keys.c.created_at <= now - KEY_KEPT_S
    conn.execute(delete(idempotency_keys).where(old))


def submit(
    conn: Connection,
    *,
    now: float,
    job_id: str,
    name: str,
    app: str,
    command: str | None,
    argv: list[str],
    cwd: str,
    invocation: bytes,
    timeout_s: float | None,
    priority: int = 0,
    source: Source = "cli",
    on_finish: str | None = None,
    request: bytes | None = None,
    max_attempts: int = 1,
    queue_max: int | None = None,
) -> JobInfo:
    """Accept a job; the insertion of its id is what decides that the daemon runs it.

    A client that did not get the answer sends the same again, and gets the same job.

    Args:
        job_id: Made by the client, see ``new_id``.
        invocation: All that is needed to run it, opaque here.
        timeout_s: Seconds an attempt may run; None for no limit.
        priority: Higher is claimed first.
        source: Who asked for it.
        on_finish: URL to be told when it has ended.
        request: Digest by which a repetition is known; None: that of *invocation*.
        max_attempts: How often it may begin.
        queue_max: Jobs that may be queued, with this one; None for any number.

    Raises:
        RequestError: The id is none.
        QueueFull: It would be one too many.
        Conflict: The id is taken by another invocation, or by a caller that runs it itself.
    """
    if not is_id(job_id):
        raise RequestError(f"{job_id!a} is no job id: a UUID of version 7 in lower case is one")
    row = {
        "id": job_id,
        "name": name,
        "state": State.QUEUED,
        "route": "daemon",
        "priority": priority,
        "timeout_s": timeout_s,
        "created_at": now,
        "queued_at": now,
        "app": app,
        "command": command,
        "argv": argv,
        "cwd": cwd,
        "source": source,
        "on_finish": on_finish,
        "max_attempts": max_attempts,
    }
    digest = request or _digest(invocation)
    accepted = conn.execute(_ACCEPT, row).one_or_none()
    if accepted is None:
        return _accepted_before(conn, job_id, digest)
    if queue_max is not None and conn.execute(_QUEUED).scalar_one() > queue_max:
        raise QueueFull(f"{queue_max} jobs are waiting, and no more may; try again later")
    conn.execute(_KEEP, {"job_id": job_id, "body": invocation, "digest": digest})
    return _job(accepted)


def _accepted_before(conn: Connection, job_id: str, digest: bytes) -> JobInfo:
    job = get(conn, job_id)
    if job.route == "local":
        raise Conflict(f"job {job_id} is run by the process that made it, not by the daemon")
    if _submitted(conn, job_id) != digest:
        raise Conflict(f"job {job_id} exists and is another one; a new job needs a new id")
    return job


def _submitted(conn: Connection, job_id: str) -> bytes | None:
    """The digest of what was submitted; the body itself may have been rewritten since."""
    kept = select(invocations.c.digest, invocations.c.body)
    row = conn.execute(kept.where(invocations.c.job_id == job_id)).one_or_none()
    return row and (row.digest or _digest(row.body))


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def claim(
    conn: Connection,
    *,
    now: float,
    limit: int,
    least: int | None = None,
    below: int | None = None,
) -> list[JobInfo]:
    """Begin an attempt of up to *limit* queued jobs: highest priority first, then oldest.

    Args:
        least: Only jobs of this priority or a higher one.
        below: Only jobs of a lower priority than this.
    """
    wanted = [jobs.c.state == QUEUED]
    wanted += [jobs.c.priority >= least] if least is not None else []
    wanted += [jobs.c.priority < below] if below is not None else []
    first = (
        select(jobs.c.id).where(*wanted).order_by(jobs.c.priority.desc(), jobs.c.id).limit(limit)
    )
    begun = {"attempt": jobs.c.attempt + 1, "started_at": now}
    rows = _move(conn, Event.CLAIM, jobs.c.id.in_(first), begun)
    return [_job(row) for row in sorted(rows, key=lambda row: (-row.priority, row.id))]


def started(
    conn: Connection, *, job_id: str, attempt: int, pid: int, worker_pid: int | None
) -> None:
    """Note the processes of an attempt, unless it has ended by now."""
    conn.execute(
        update(jobs)
        .where(_attempt(job_id, attempt), jobs.c.state.in_((State.RUNNING, State.STOPPING)))
        .values(pid=pid, worker_pid=worker_pid)
    )


def overtaken(conn: Connection, *, job_id: str, attempt: int) -> JobInfo:
    """Note that the job has come to a later attempt than its row knows: the row is an old copy.

    Raises:
        UnknownJob: No job has that id.
    """
    behind = (jobs.c.id == job_id) & (jobs.c.attempt < attempt)
    begun = jobs.c.state.in_((State.RUNNING, State.STOPPING))
    conn.execute(update(jobs).where(behind, begun).values(attempt=attempt, **_NO_PROCESSES))
    return get(conn, job_id)


def restore(conn: Connection, *, attempt: int, known: Mapping[str, Any]) -> None:
    """Insert a job that has begun, and of which the store has no row any more.

    Args:
        attempt: The newest that is known of.
        known: What its directory tells, see ``card_of``.
    """
    row = {**known, "route": "daemon", "state": State.RUNNING, "attempt": attempt}
    conn.execute(insert_new(jobs), row)


def revoke(conn: Connection, *, now: float, job_id: str, attempt: int) -> JobInfo:
    """Put a job back whose attempt never began; the attempt's number is not used again.

    Raises:
        UnknownJob: No job has that id.
    """
    undone = _NO_PROCESS | {"queued_at": now, "revoked": jobs.c.revoked + 1}
    return _one(conn, job_id, _move(conn, Event.REVOKE, _attempt(job_id, attempt), undone))


def discard(
    conn: Connection, *, now: float, job_id: str, reason: Reason, error: str | None = None
) -> JobInfo:
    """Fail a queued job that cannot begin any more; one that has begun is left alone.

    Raises:
        UnknownJob: No job has that id.
    """
    ended = {"finished_at": now, "reason": reason, "error": error}
    return _one(conn, job_id, _move(conn, Event.DISCARD, jobs.c.id == job_id, ended))


def finish(
    conn: Connection,
    *,
    now: float,
    job_id: str,
    attempt: int,
    state: State,
    reason: Reason | None = None,
    exit_code: int | None = None,
    signal: int | None = None,
    result_json: str | None = None,
    error: str | None = None,
) -> JobInfo:
    """End a job with the outcome of an attempt.

    A report that is late, repeated or about an older attempt changes nothing.

    Args:
        state: One of ``FINAL``.
        reason: Needed for every state but ``succeeded``.
        result_json: What the command returned. Not kept when it is no JSON: how a job
            ended never depends on what it returned.

    Returns:
        The job as it is now, which need not be as reported.

    Raises:
        UnknownJob: No job has that id.
        InvalidTransition: *state* is not final.
    """
    if state not in _ENDINGS:
        raise InvalidTransition(
            f"{state.value} is no end of a job; an end is succeeded, failed, cancelled or lost"
        )
    if result_json is not None and not _is_json(result_json):
        result_json, error = None, error or NOT_JSON
    outcome = {
        "finished_at": now,
        "reason": reason,
        "exit_code": exit_code,
        "signal": signal,
        "result": result_json,
        "error": error and _shown(conn, job_id, error),
    }
    return _one(conn, job_id, _move(conn, _ENDINGS[state], _attempt(job_id, attempt), outcome))


def request_stop(
    conn: Connection,
    *,
    now: float,
    job_id: str,
    reason: Reason = Reason.USER,
    begun: bool = True,
) -> JobInfo:
    """Ask a job to end. One that has not begun is cancelled at once, with *reason*.

    Args:
        begun: Whether one that has begun is to end, too.

    Returns:
        The job: ``cancelled``; or ``stopping``, and its process has to be told; or as it was.

    Raises:
        UnknownJob: No job has that id.
        InvalidTransition: It has ended, or it runs in the process that made it.
    """
    this = (jobs.c.id == job_id) & (jobs.c.route == "daemon")
    asked = {"cancel_requested": True}
    cancelled = asked | {"finished_at": now, "reason": reason, "due_at": None}
    moved = _move(conn, Event.CANCEL, this, cancelled)
    if begun and not moved:
        moved = _move(conn, Event.STOP, this, asked | {"stopping_at": now})
    if moved:
        return _job(moved[0])
    job = get(conn, job_id)
    if job.is_final:
        raise InvalidTransition(f"job {job_id} has ended already: it is {job.state.value}")
    if job.route == "local":
        raise InvalidTransition(
            f"job {job_id} runs in the process that made it; end that one (pid {job.pid})"
        )
    return job


def retry(
    conn: Connection,
    *,
    now: float,
    job_id: str,
    attempt: int,
    due_at: float,
    max_attempts: int,
    output_end: int,
    state: State,
    reason: Reason,
    exit_code: int | None = None,
    signal: int | None = None,
    error: str | None = None,
) -> JobInfo:
    """Let a job that failed wait for another attempt; one that was asked to end is left alone.

    Args:
        due_at: When it may be queued again, in Unix seconds; not before *now*.
        max_attempts: How often it may begin; not every job's command has said so before.
        output_end: Bytes in its record log.
        state, reason, exit_code, signal, error: How the attempt ended, as for ``finish``.

    Raises:
        UnknownJob: No job has that id.
    """
    before = get(conn, job_id)
    waiting = _NO_PROCESS | {
        "queued_at": None,
        "due_at": max(now, due_at),
        "max_attempts": max_attempts,
    }
    moved = _move(conn, Event.RETRY, _attempt(job_id, attempt), waiting)
    if moved:
        ended = {
            "job_id": job_id,
            "attempt": attempt,
            "state": state,
            "reason": reason,
            "exit_code": exit_code,
            "signal": signal,
            "worker_pid": before.worker_pid,
            "pid": before.pid,
            "started_at": before.started_at,
            "finished_at": now,
            "error": error and _shown(conn, job_id, error),
            "output_end": output_end,
        }
        conn.execute(earlier_attempts.insert(), ended)
    return _one(conn, job_id, moved)


def due(conn: Connection, *, now: float, limit: int) -> list[JobInfo]:
    """Queue up to *limit* scheduled jobs whose time has come, the longest overdue first."""
    come = (
        select(jobs.c.id)
        .where(jobs.c.state == SCHEDULED, jobs.c.due_at <= now)
        .order_by(jobs.c.due_at)
        .limit(limit)
    )
    rows = _move(conn, Event.DUE, jobs.c.id.in_(come), {"queued_at": now, "due_at": None})
    return [_job(row) for row in rows]


def forget(conn: Connection, job_id: str) -> None:
    """Remove a finished job's rows; its files are the caller's to remove.

    Raises:
        UnknownJob: No job has that id.
        InvalidTransition: It has not ended.
    """
    gone = conn.execute(delete(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(FINAL)))
    if gone.rowcount == 0:
        job = get(conn, job_id)
        raise InvalidTransition(
            f"job {job_id} is {job.state.value}; only an ended job can be removed"
        )


def forget_ended(conn: Connection, job_ids: Collection[str]) -> set[str]:
    """Remove the rows of those of them that have ended and are not ``held``; who is left.

    Of an id that no job has nothing is left.
    """
    which = jobs.c.id.in_(job_ids)
    conn.execute(delete(jobs).where(which, jobs.c.state.in_(FINAL), ~_to_be_told()))
    return known(conn, job_ids)


def _to_be_told() -> ColumnElement[bool]:
    """Somebody waits to be told of the job's end."""
    return exists().where(deliveries.c.job_id == jobs.c.id, deliveries.c.due_at.is_not(None))


def _keyed(now: float) -> ColumnElement[bool]:
    """The same request may come again, and has a right to the same job."""
    key = idempotency_keys.c
    return exists().where(key.job_id == jobs.c.id, key.created_at > now - KEY_KEPT_S)


def _move(
    conn: Connection, event: Event, which: ColumnElement[bool], values: Mapping[str, Any]
) -> Sequence[Row[Any]]:
    """Compare and set: the rows that were in one of the event's sources, as they are now."""
    move = MOVES[event]
    statement = (
        update(jobs)
        .where(which, jobs.c.state.in_(move.sources))
        .values(state=move.target, **values)
        .returning(jobs)
    )
    moved = conn.execute(statement).all()
    if move.target in FINAL:
        for row in moved:
            _forget_secrets(conn, row.id)
    return moved


def _forget_secrets(conn: Connection, job_id: str) -> None:
    """In the transaction that ends the job, so that no way to end one can forget it."""
    known = _invocation(conn, job_id)
    if known is not None:
        kept = known.kept().body()
        conn.execute(update(invocations).where(invocations.c.job_id == job_id).values(body=kept))


def _shown(conn: Connection, job_id: str, error: str) -> str:
    """*error* without the secrets that its job was given."""
    known = _invocation(conn, job_id)
    return mask_text(error, known.known_secrets()) if known is not None else error


def _invocation(conn: Connection, job_id: str) -> Invocation | None:
    """None also for what is not one: whoever submitted that has to know what it is."""
    body = invocation(conn, job_id)
    try:
        return Invocation.parse(json.loads(body)) if body else None
    except (ValueError, KeyError, TypeError):
        return None


def _one(conn: Connection, job_id: str, moved: Sequence[Row[Any]]) -> JobInfo:
    """The job that was moved, or the one that was not, as it is."""
    return _job(moved[0]) if moved else get(conn, job_id)


def _attempt(job_id: str, attempt: int) -> ColumnElement[bool]:
    return (jobs.c.id == job_id) & (jobs.c.attempt == attempt)


# Reads ------------------------------------------------------------------------------------


def get(conn: Connection, job_id: str) -> JobInfo:
    """The job with exactly this id.

    Raises:
        UnknownJob: No job has it.
    """
    row = conn.execute(_GET, {"job_id": job_id}).one_or_none()
    if row is None:
        raise UnknownJob(f"no job has the id {job_id!a}")
    return _job(row)


def find(conn: Connection, prefix: str) -> JobInfo:
    """The job that people mean by *prefix*: a whole id, its beginning, or ``-`` for the newest.

    Raises:
        UnknownJob: There is none.
        AmbiguousJob: Several ids begin so.
    """
    if prefix == LATEST:
        return _newest(conn)
    rows = _beginning(conn, prefix.lower())
    if not rows:
        raise UnknownJob(f"no job has an id that begins with {prefix!a}")
    if len(rows) > 1:
        raise AmbiguousJob(
            f"several jobs have an id that begins with {prefix}: "
            f"{rows[0].id}, {rows[1].id}, …; give more of it"
        )
    return _job(rows[0])


def _newest(conn: Connection) -> JobInfo:
    newest = page(conn, limit=1)
    if not newest:
        raise UnknownJob("there is no job yet, so - means none")
    return newest[0]


def _beginning(conn: Connection, prefix: str) -> Sequence[Row[Any]]:
    if not prefix or not _ID_DIGITS.issuperset(prefix):
        return []
    after_all = prefix + "g"  # sorts after every digit an id may have
    statement = select(jobs).where(_THEIRS, jobs.c.id >= prefix, jobs.c.id < after_all)
    return conn.execute(statement.order_by(jobs.c.id.desc()).limit(2)).all()


def page(
    conn: Connection,
    *,
    states: Collection[State] | None = None,
    limit: int = 50,
    before: str | None = None,
    command: str | None = None,
    name: str | None = None,
    source: Source | None = None,
    since: float | None = None,
    until: float | None = None,
) -> list[JobInfo]:
    """Up to *limit* jobs, newest first; without those that the daemon gave itself.

    Args:
        states: Only jobs in one of these; None for all.
        before: The last id of the page before this one.
        command, name, source: Only jobs with this one.
        since: Only jobs accepted then or later, in Unix seconds.
        until: Only jobs accepted before then, in Unix seconds.
    """
    statement = select(jobs).where(_THEIRS).order_by(jobs.c.id.desc()).limit(limit)
    for column, value in ((jobs.c.command, command), (jobs.c.name, name), (jobs.c.source, source)):
        if value is not None:
            statement = statement.where(column == value)
    if since is not None:
        statement = statement.where(jobs.c.created_at >= since)
    if until is not None:
        statement = statement.where(jobs.c.created_at < until)
    if states is not None:
        statement = statement.where(_in(states))
    if before is not None:
        statement = statement.where(jobs.c.id < before)
    return [_job(row) for row in conn.execute(statement)]


def live(
    conn: Connection,
    *,
    states: Collection[State] = LIVE,
    limit: int | None = None,
    after: str | None = None,
) -> list[JobInfo]:
    """Jobs that have not ended, oldest first; in pages when *limit* and *after* are given.

    Args:
        states: Some of ``LIVE``.
        after: The last id of the page before this one.
    """
    statement = select(jobs).where(_in(states)).order_by(jobs.c.id).limit(limit)
    if after is not None:
        statement = statement.where(jobs.c.id > after)
    return [_job(row) for row in conn.execute(statement)]


def ended(
    conn: Connection, *, now: float, state: State, limit: int, after: str | None = None
) -> list[Ended]:
    """Up to *limit* jobs that ended in *state*, in the order of their ids.

    ``held`` are those of whose end somebody is still to be told, and those that a key from
    the last day brings back.

    Args:
        after: The last id of the page before this one.
    """
    held = (_to_be_told() | _keyed(now)).label("held")
    statement = (
        select(jobs.c.id, jobs.c.finished_at, held)
        .where(_in({state}))
        .order_by(jobs.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(jobs.c.id > after)
    return [
        Ended(finished_at=row.finished_at, id=row.id, state=state, held=bool(row.held))
        for row in conn.execute(statement)
    ]


def known(conn: Connection, job_ids: Collection[str]) -> set[str]:
    """Those of the ids that a job has."""
    return set(conn.execute(select(jobs.c.id).where(jobs.c.id.in_(job_ids))).scalars())


def caller(conn: Connection, job_id: str) -> Identity | None:
    """The process that has taken a job to run it itself; None: an older mcli has not said."""
    told = conn.execute(select(jobs.c.caller).where(jobs.c.id == job_id)).scalar_one_or_none()
    return Identity(**told) if told else None


def local(conn: Connection) -> list[JobInfo]:
    """Jobs that their callers are running themselves."""
    running = _in((State.RUNNING,)) & (jobs.c.route == "local")
    return [_job(row) for row in conn.execute(select(jobs).where(running))]


def _in(states: Collection[State]) -> ColumnElement[bool]:
    """Said twice where it can be, by state and by end, because that is what the indexes are by."""
    by_state = jobs.c.state.in_(states)
    if LIVE.issuperset(states):
        return by_state & jobs.c.finished_at.is_(None)
    if len(states) == 1:
        return by_state & jobs.c.finished_at.is_not(None)
    return by_state  # newest first through the ids: most jobs fit


def last(conn: Connection) -> str | None:
    """The highest id, of whatever job; None if there is no job."""
    newest: str | None = conn.execute(select(func.max(jobs.c.id))).scalar_one()
    return newest


def counts(conn: Connection) -> dict[State, int]:
    """How many jobs are in each state; every state is there. Takes as long for a million."""
    kept = {State(row.state): row.jobs for row in conn.execute(select(counters))}
    return {state: kept[state] for state in State}


def attempts(conn: Connection, job_id: str) -> list[AttemptInfo]:
    """All attempts of a job, the first one first; none if it has not begun.

    Raises:
        UnknownJob: No job has that id.
    """
    job = get(conn, job_id)
    wanted = select(earlier_attempts).where(earlier_attempts.c.job_id == job_id)
    found: list[AttemptInfo] = []
    for row in conn.execute(wanted.order_by(earlier_attempts.c.attempt)):
        known = {name: value for name, value in row._mapping.items() if name != "job_id"}
        known |= {"state": State(row.state), "reason": Reason(row.reason)}
        found.append(AttemptInfo(**known, output_start=found[-1].output_end or 0 if found else 0))
    if job.started_at is not None:
        newest = {name: getattr(job, name) for name in _OF_ATTEMPT}
        start = found[-1].output_end or 0 if found else 0
        found.append(AttemptInfo(**newest, output_start=start, output_end=None))
    return found


def invocation(conn: Connection, job_id: str) -> bytes | None:
    """What was submitted, byte for byte; of a job that has ended, without its secrets.

    None when there is none, or no such job.
    """
    wanted = select(invocations.c.body).where(invocations.c.job_id == job_id)
    return conn.execute(wanted).scalar_one_or_none()


def _job(row: Row[Any]) -> JobInfo:
    fields = dict(row._mapping)
    fields.pop("caller", None)  # asked for by ``caller``
    fields |= {"state": State(row.state), "reason": row.reason and Reason(row.reason)}
    result = row.result and json.loads(row.result)
    return JobInfo(**(fields | {"result": result, "has_result": row.result is not None}))


def _is_json(text: str) -> bool:
    """Whether it is JSON as the standard has it: no ``NaN``, and no deeper than can be read."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
