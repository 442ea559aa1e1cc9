"""Jobs moved through a real database, one move after the other."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Connection, select
from sqlalchemy.exc import IntegrityError

from mcli import queue
from mcli.errors import (
    AmbiguousJob,
    Conflict,
    InvalidTransition,
    KeyReused,
    RequestError,
    UnknownJob,
)
from mcli.ids import new_id
from mcli.job import JobInfo
from mcli.states import FINAL, LIVE, MOVES, Event, Reason, State
from mcli.store import database, schema
from mcli.store.schema import attempts

REASONS = {
    State.SUCCEEDED: None,
    State.FAILED: Reason.EXIT_NONZERO,
    State.CANCELLED: Reason.USER,
    State.LOST: Reason.WORKER_LOST,
}


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    path = str(tmp_path / "mcli.db")
    database.prepare(path)
    engine = database.writing(path)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def submit(conn: Connection, job_id: str | None = None, **fields: Any) -> JobInfo:
    given: dict[str, Any] = {
        "now": 1.0,
        "name": "load",
        "app": "app.py",
        "command": "db load",
        "argv": ["app.py"],
    }
    given |= {"cwd": "/", "invocation": b"all of it", "timeout_s": None}
    return queue.submit(conn, job_id=job_id or new_id(), **(given | fields))


def running(conn: Connection) -> JobInfo:
    submit(conn)
    return queue.claim(conn, now=2.0, limit=1)[0]


def finish(conn: Connection, job: JobInfo, state: State, **fields: Any) -> JobInfo:
    given: dict[str, Any] = {
        "now": 5.0,
        "job_id": job.id,
        "attempt": job.attempt,
        "reason": REASONS[state],
    }
    return queue.finish(conn, state=state, **(given | fields))


def retry(conn: Connection, job: JobInfo, due_at: float = 3.0) -> JobInfo:
    return again(conn, job.id, job.attempt, due_at=due_at)


def again(conn: Connection, job_id: str, attempt: int = 1, **fields: Any) -> JobInfo:
    given: dict[str, Any] = {
        "now": 3.0,
        "due_at": 3.0,
        "max_attempts": 3,
        "output_end": 10 * attempt,
        "state": State.FAILED,
        "reason": Reason.EXIT_NONZERO,
        "exit_code": 4,
    }
    return queue.retry(conn, job_id=job_id, attempt=attempt, **(given | fields))


def stop(conn: Connection, job: JobInfo) -> JobInfo:
    return queue.request_stop(conn, now=4.0, job_id=job.id)


def job_in(conn: Connection, state: State) -> JobInfo:
    """A job that came to *state* by legal moves."""
    if state is State.QUEUED:
        return submit(conn)
    job = running(conn)
    if state is State.SCHEDULED:
        return retry(conn, job)
    if state is State.STOPPING:
        return stop(conn, job)
    return job if state is State.RUNNING else finish(conn, job, state)


VERBS: dict[Event, Callable[[Connection, JobInfo], Any]] = {
    Event.DUE: lambda conn, _: queue.due(conn, now=4.0, limit=9),
    Event.CLAIM: lambda conn, _: queue.claim(conn, now=4.0, limit=9),
    Event.REVOKE: lambda conn, job: queue.revoke(conn, now=4.0, job_id=job.id, attempt=job.attempt),
    Event.DISCARD: lambda conn, job: queue.discard(
        conn, now=4.0, job_id=job.id, reason=Reason.INPUT_LOST
    ),
    Event.SUCCEED: lambda conn, job: finish(conn, job, State.SUCCEEDED),
    Event.FAIL: lambda conn, job: finish(conn, job, State.FAILED),
    Event.ENDED: lambda conn, job: finish(conn, job, State.CANCELLED),
    Event.LOSE: lambda conn, job: finish(conn, job, State.LOST),
    Event.RETRY: retry,
    Event.STOP: stop,
    Event.CANCEL: stop,
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_a_move_is_made_only_from_its_sources(conn: Connection, state: State, event: Event) -> None:
    """
    Each event in each state: the job moves as the table says, or stays exactly as it was.
    """
    verb = VERBS[event]
    moves = [MOVES[other] for other in Event if VERBS[other] is verb]
    job = job_in(conn, state)
    assert job.state is state
    try:
        verb(conn, job)
    except InvalidTransition:
        assert state in FINAL
    after = queue.get(conn, job.id)
    target = next((move.target for move in moves if state in move.sources), None)
    assert after.state is (target or state)
    assert target is not None or after == job


def test_submitted_job_is_as_it_was_given(conn: Connection) -> None:
    """Arguments and paths come back to the byte, whatever they are."""
    odd = ["", "--", "\udcff\udc80", "\ud800", "\x00", "\U0001f600", '"\\', "é" * 50_000]
    job = submit(conn, argv=odd, cwd="/tmp/\udcfe", name="\udcfd", app="\udcfc.py", command=None)
    assert job == queue.get(conn, job.id)
    assert (job.argv, job.cwd, job.name, job.app) == (odd, "/tmp/\udcfe", "\udcfd", "\udcfc.py")
    assert (job.state, job.attempt, job.command, job.route) == ("queued", 0, None, "daemon")


def test_invocation_is_kept_apart_to_the_byte(conn: Connection) -> None:
    """The invocation comes back as it was sent, and goes with the job."""
    body = bytes(range(256)) * 1000
    job = finish(conn, running(conn), State.SUCCEEDED)
    assert queue.invocation(conn, submit(conn, invocation=body).id) == body
    queue.forget(conn, job.id)
    assert queue.invocation(conn, job.id) is None


def test_submitting_again_is_answered_with_the_same_job(conn: Connection) -> None:
    """A client that missed the answer asks again: one job, as it is by now."""
    job = running(conn)
    assert submit(conn, job.id) == job
    assert queue.counts(conn)[State.RUNNING] == 1


def test_one_id_is_one_job(conn: Connection) -> None:
    """Another invocation under a used id is refused, and the first is left as it was."""
    job = submit(conn)
    with pytest.raises(Conflict, match=job.id):
        submit(conn, job.id, invocation=b"another")
    assert queue.get(conn, job.id) == job


@pytest.mark.parametrize("job_id", ["", "../escape", "x" * 36, "\udcff"])
def test_what_is_no_id_is_not_accepted(conn: Connection, job_id: str) -> None:
    """An id names a directory, so that only an id is accepted."""
    with pytest.raises(RequestError, match="no job id"):
        queue.submit(
            conn,
            now=1.0,
            job_id=job_id,
            name="n",
            app="a",
            command=None,
            argv=[],
            cwd="/",
            invocation=b"",
            timeout_s=None,
        )


def test_claim_takes_the_most_urgent_then_the_oldest(conn: Connection) -> None:
    """Higher priority first, then the order of submission; at most as many as asked for."""
    old, new, urgent = submit(conn), submit(conn), submit(conn, priority=5)
    assert [job.id for job in queue.claim(conn, now=2.0, limit=2)] == [urgent.id, old.id]
    claimed = queue.claim(conn, now=2.0, limit=2)
    assert [(job.id, job.attempt, job.started_at) for job in claimed] == [(new.id, 1, 2.0)]
    assert queue.claim(conn, now=2.0, limit=2) == []


def test_revoked_attempt_does_not_count_and_its_number_is_not_used_again(conn: Connection) -> None:
    """The ticket of attempt 1 stays taken, so that the next attempt is number 2, the first real."""
    job = running(conn)
    back = queue.revoke(conn, now=3.0, job_id=job.id, attempt=1)
    assert (back.state, back.started_at, back.pid) == (State.QUEUED, None, None)
    again = queue.claim(conn, now=4.0, limit=1)[0]
    assert (again.attempt, again.revoked) == (2, 1)


def test_report_of_an_older_attempt_changes_nothing(conn: Connection) -> None:
    """An attempt that was revoked cannot end the job that runs again."""
    first = running(conn)
    queue.revoke(conn, now=3.0, job_id=first.id, attempt=first.attempt)
    second = queue.claim(conn, now=4.0, limit=1)[0]
    assert finish(conn, first, State.SUCCEEDED) == second
    queue.started(conn, job_id=first.id, attempt=first.attempt, pid=7, worker_pid=6)
    assert queue.get(conn, first.id).pid is None


def test_first_end_stays(conn: Connection) -> None:
    """A second report of the same attempt is answered with the first."""
    job = running(conn)
    ended = finish(conn, job, State.FAILED, exit_code=3, error="no such file")
    assert finish(conn, job, State.SUCCEEDED, exit_code=0) == ended
    assert (ended.exit_code, ended.error, ended.reason) == (3, "no such file", Reason.EXIT_NONZERO)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_live_state_is_no_end(conn: Connection, state: State) -> None:
    """``finish`` takes final states only."""
    job = running(conn)
    with pytest.raises(InvalidTransition, match="no end"):
        queue.finish(conn, now=5.0, job_id=job.id, attempt=1, state=state)


def test_started_notes_both_processes(conn: Connection) -> None:
    """A running job shows the process it runs in and the worker's."""
    job = running(conn)
    queue.started(conn, job_id=job.id, attempt=1, pid=42, worker_pid=41)
    noted = queue.get(conn, job.id)
    assert (noted.pid, noted.worker_pid) == (42, 41)


@pytest.mark.parametrize(
    ("text", "result"), [("null", None), ("[1, 2]", [1, 2]), ('"\\ud800"', "\ud800"), ("0", 0)]
)
def test_result_comes_back(conn: Connection, text: str, result: object) -> None:
    """Any JSON is a result, also null and what counts as false."""
    job = finish(conn, running(conn), State.SUCCEEDED, exit_code=0, result_json=text)
    assert (job.result, job.has_result) == (result, True)


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100_000, "", "\ud800"])
def test_bad_result_does_not_change_the_end(conn: Connection, text: str) -> None:
    """A job succeeds by how it ended; a result that is no JSON is dropped, and that is said."""
    job = finish(conn, running(conn), State.SUCCEEDED, exit_code=0, result_json=text)
    assert (job.state, job.has_result, job.error) == (State.SUCCEEDED, False, queue.NOT_JSON)


def test_stop_asks_once(conn: Connection) -> None:
    """The first request is noted with its time; repeating it changes nothing."""
    job = running(conn)
    asked = stop(conn, job)
    assert (asked.state, asked.cancel_requested, asked.stopping_at) == (State.STOPPING, True, 4.0)
    assert queue.request_stop(conn, now=9.0, job_id=job.id) == asked


def test_stop_before_the_beginning_is_the_end(conn: Connection) -> None:
    """A queued job is cancelled at once, by the user."""
    ended = stop(conn, submit(conn))
    assert (ended.state, ended.reason, ended.finished_at) == (State.CANCELLED, Reason.USER, 4.0)


@pytest.mark.parametrize("state", [State.SCHEDULED, State.QUEUED, State.RUNNING, State.STOPPING])
def test_stop_of_what_has_not_begun(conn: Connection, state: State) -> None:
    """If it is to end only before its beginning, one that was claimed stays as it is."""
    job = job_in(conn, state)
    asked = queue.request_stop(conn, now=9.0, job_id=job.id, begun=False)
    if state in (State.SCHEDULED, State.QUEUED):
        assert asked.state is State.CANCELLED
    else:
        assert asked == queue.get(conn, job.id) == job


def test_ended_job_cannot_be_stopped(conn: Connection) -> None:
    """The message says how it ended."""
    job = finish(conn, running(conn), State.SUCCEEDED)
    with pytest.raises(InvalidTransition, match="succeeded"):
        stop(conn, job)


def test_retry_waits_for_its_time(conn: Connection) -> None:
    """A retry is due when its time has come, not before, and its attempt is the next."""
    job = retry(conn, running(conn), due_at=10.0)
    assert queue.due(conn, now=9.9, limit=5) == []
    assert [due.id for due in queue.due(conn, now=10.0, limit=5)] == [job.id]
    assert queue.claim(conn, now=10.0, limit=1)[0].attempt == 2


def test_each_attempt_has_its_own_record(conn: Connection) -> None:
    """How it ended, when, and where its output is; the newest is the job as it is."""
    job = again(conn, running(conn).id, error="first\n")
    assert (job.state, job.exit_code, job.error, job.max_attempts) == (
        State.SCHEDULED, None, None, 3,
    )  # fmt: skip
    assert [each.attempt for each in queue.attempts(conn, job.id)] == [1]
    queue.due(conn, now=4.0, limit=1)
    second = queue.claim(conn, now=6.0, limit=1)[0]
    queue.started(conn, job_id=job.id, attempt=2, pid=22, worker_pid=21)
    again(conn, job.id, 2, now=7.0, state=State.LOST, reason=Reason.WORKER_LOST, exit_code=None)
    queue.due(conn, now=8.0, limit=1)
    third = queue.claim(conn, now=9.0, limit=1)[0]
    finish(conn, third, State.SUCCEEDED, now=10.0)
    told = queue.attempts(conn, job.id)
    assert [(each.attempt, each.state, each.exit_code) for each in told] == [
        (1, State.FAILED, 4), (2, State.LOST, None), (3, State.SUCCEEDED, None),
    ]  # fmt: skip
    assert [(each.started_at, each.finished_at) for each in told] == [
        (2.0, 3.0), (second.started_at, 7.0), (9.0, 10.0),
    ]  # fmt: skip
    assert [(each.output_start, each.output_end) for each in told] == [
        (0, 10), (10, 20), (20, None),
    ]  # fmt: skip
    assert (told[0].error, told[1].pid) == ("first\n", 22)


def test_a_retry_that_comes_late_changes_nothing(conn: Connection) -> None:
    """Neither twice, nor of an earlier attempt, nor of a job that was asked to end."""
    job = running(conn)
    again(conn, job.id)
    again(conn, job.id, due_at=99.0)
    assert queue.due(conn, now=4.0, limit=1)
    stop(conn, queue.claim(conn, now=6.0, limit=1)[0])
    assert again(conn, job.id, 1).state is State.STOPPING
    assert again(conn, job.id, 2).state is State.STOPPING
    assert [each.attempt for each in queue.attempts(conn, job.id)] == [1, 2]


def test_attempts_go_with_their_job(conn: Connection) -> None:
    """Nothing of a job that was removed is left."""
    job = again(conn, running(conn).id)
    stop(conn, job)
    queue.forget(conn, job.id)
    assert conn.execute(select(attempts)).all() == []


def test_find_by_prefix(conn: Connection) -> None:
    """A whole id, a unique beginning in any case, or - for the newest."""
    first, second = "0" * 8 + new_id()[8:], "1" * 8 + new_id()[8:]
    submit(conn, first)
    submit(conn, second)
    assert queue.find(conn, first).id == first
    assert queue.find(conn, "0").id == first
    assert queue.find(conn, second[:12].upper()).id == second
    assert queue.find(conn, "-").id == second


@pytest.mark.parametrize("prefix", ["", "-", "f", "%", "x", "\udcff", "a\nb"])
def test_unknown_prefix_is_one_clear_line(conn: Connection, prefix: str) -> None:
    """Whatever was typed, the answer is one line that can be printed."""
    with pytest.raises(UnknownJob) as caught:
        queue.find(conn, prefix)
    assert str(caught.value).isprintable()


def test_ambiguous_prefix_names_two(conn: Connection) -> None:
    """Two jobs of one beginning: both are named."""
    first, second = "0" * 8 + new_id()[8:], "0" * 8 + new_id()[8:]
    submit(conn, first)
    submit(conn, second)
    with pytest.raises(AmbiguousJob) as caught:
        queue.find(conn, "0000")
    assert first in str(caught.value)
    assert second in str(caught.value)


@pytest.mark.parametrize(
    "verb",
    [
        lambda conn, job_id: queue.get(conn, job_id),
        lambda conn, job_id: queue.forget(conn, job_id),
        lambda conn, job_id: queue.revoke(conn, now=1.0, job_id=job_id, attempt=1),
        lambda conn, job_id: queue.discard(conn, now=1.0, job_id=job_id, reason=Reason.USER),
        lambda conn, job_id: queue.request_stop(conn, now=1.0, job_id=job_id),
        again,
        lambda conn, job_id: queue.finish(
            conn, now=1.0, job_id=job_id, attempt=1, state=State.SUCCEEDED
        ),
    ],
)
def test_unknown_id_is_an_error(conn: Connection, verb: Callable[[Connection, str], Any]) -> None:
    """An unknown id is an error, never a state."""
    with pytest.raises(UnknownJob):
        verb(conn, new_id())


def test_pages_are_newest_first_and_meet(conn: Connection) -> None:
    """Page after page, each job comes once, newest first."""
    made = [submit(conn).id for _ in range(5)]
    first = queue.page(conn, limit=2)
    rest = queue.page(conn, before=first[-1].id)
    assert [job.id for job in first + rest] == made[::-1]


def test_pages_by_state(conn: Connection) -> None:
    """Only jobs in the states asked for, be they live, final or both; none for no states."""
    ended = finish(conn, running(conn), State.SUCCEEDED)
    failed = finish(conn, running(conn), State.FAILED)
    runs, waits = running(conn), submit(conn)

    def ids(*states: State) -> list[str]:
        return [job.id for job in queue.page(conn, states=states)]

    assert ids(State.FAILED) == [failed.id]
    assert ids(State.SUCCEEDED, State.FAILED) == [failed.id, ended.id]
    assert ids(State.SUCCEEDED, State.RUNNING) == [runs.id, ended.id]
    assert ids(*LIVE) == [waits.id, runs.id]
    assert ids() == []


def test_live_jobs_oldest_first(conn: Connection) -> None:
    """Recovery sees each live job once, also page by page."""
    finish(conn, running(conn), State.LOST)
    runs, waits = running(conn), submit(conn)
    assert [job.id for job in queue.live(conn)] == [runs.id, waits.id]
    assert [job.id for job in queue.live(conn, limit=1, after=runs.id)] == [waits.id]
    assert [job.id for job in queue.live(conn, states=[State.RUNNING])] == [runs.id]


def test_counts_follow_every_move(conn: Connection) -> None:
    """The counters equal the rows, after each kind of move and after forgetting."""
    for state in State:
        job_in(conn, state)
    queue.forget(conn, queue.page(conn, states=[State.FAILED])[0].id)
    rows = conn.exec_driver_sql("SELECT state, count(*) FROM jobs GROUP BY state")
    counted = dict.fromkeys(State, 0) | {State(state): number for state, number in rows}
    assert queue.counts(conn) == counted
    assert counted[State.FAILED] == 0


@pytest.mark.parametrize("state", sorted(LIVE))
def test_live_job_is_not_forgotten(conn: Connection, state: State) -> None:
    """Only an ended job can be removed."""
    job = job_in(conn, state)
    with pytest.raises(InvalidTransition, match="only an ended job"):
        queue.forget(conn, job.id)
    assert queue.get(conn, job.id) == job


IMPOSSIBLE = [
    (State.QUEUED, "state = 'sleeping'"),
    (State.QUEUED, "route = 'elsewhere'"),
    (State.QUEUED, "finished_at = 9"),
    (State.QUEUED, "started_at = 9"),
    (State.QUEUED, "queued_at = NULL"),
    (State.QUEUED, "reason = 'user'"),
    (State.QUEUED, "due_at = 9"),
    (State.QUEUED, "exit_code = 0"),
    (State.QUEUED, "pid = 9"),
    (State.SCHEDULED, "due_at = NULL"),
    (State.SCHEDULED, "queued_at = 9"),
    (State.RUNNING, "started_at = NULL"),
    (State.RUNNING, "attempt = 0"),
    (State.RUNNING, "stopping_at = 9"),
    (State.RUNNING, "result = '1'"),
    (State.RUNNING, "state = 'succeeded'"),
    (State.STOPPING, "stopping_at = NULL"),
    (State.SUCCEEDED, "finished_at = NULL"),
    (State.SUCCEEDED, "exit_code = 1"),
    (State.SUCCEEDED, "signal = 9"),
    (State.SUCCEEDED, "reason = 'user'"),
    (State.SUCCEEDED, "state = 'queued'"),
    (State.FAILED, "reason = NULL"),
    (State.CANCELLED, "reason = NULL"),
    (State.LOST, "reason = NULL"),
    (State.LOST, "started_at = NULL"),
]


@pytest.mark.parametrize(("state", "change"), IMPOSSIBLE)
def test_impossible_row_cannot_be_written(conn: Connection, state: State, change: str) -> None:
    """What does not fit the state is refused by the database itself."""
    job = job_in(conn, state)
    with pytest.raises(IntegrityError):
        conn.exec_driver_sql(f"UPDATE jobs SET {change} WHERE id = ?", (job.id,))


def test_schema_and_states_agree() -> None:
    """The states in the constraints are those of the vocabulary."""
    text = " ".join(
        str(constraint.sqltext)
        for constraint in schema.jobs.constraints
        if isinstance(constraint, CheckConstraint)
    )
    assert all(f"'{state}'" in text for state in State)


@pytest.mark.parametrize(
    ("verb", "index"),
    [
        (lambda conn: queue.claim(conn, now=1.0, limit=1), "jobs_queued"),
        (lambda conn: queue.due(conn, now=1.0, limit=1), "jobs_scheduled"),
        (lambda conn: queue.page(conn, states=[State.FAILED]), "jobs_ended"),
        (lambda conn: queue.live(conn, states=[State.RUNNING, State.STOPPING]), "jobs_live"),
        (lambda conn: queue.find(conn, "-"), "autoindex"),
    ],
)
def test_statement_uses_its_index(
    conn: Connection, verb: Callable[[Connection], Any], index: str
) -> None:
    """What is done all the time reads an index and sorts nothing but a page."""
    job_in(conn, State.QUEUED)
    statements: list[tuple[str, Any]] = []
    driver = conn.connection.driver_connection
    assert driver is not None
    driver.set_trace_callback(lambda text: statements.append(text))
    verb(conn)
    driver.set_trace_callback(None)
    plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[0]}").all()
    steps = " / ".join(step.detail for step in plan)
    assert index in steps
    assert index != "jobs_queued" or "TEMP B-TREE" not in steps


# Requests that come twice -----------------------------------------------------------------


def accept(conn: Connection, job_id: str, **sent: Any) -> queue.Accepted:
    given: dict[str, Any] = {
        "now": 1.0,
        "name": "n",
        "app": "a",
        "command": None,
        "argv": [],
        "cwd": "/",
    }
    given |= {"invocation": b"{}", "timeout_s": None}
    return queue.accept(conn, job_id=job_id, **(given | sent))


def test_key_is_kept_for_a_day(conn: Connection) -> None:
    """Until then the key brings the first job, whatever the id; after that a new one."""
    first, later, last = (new_id() for _ in range(3))
    assert accept(conn, first, key="k", request=b"r") == (queue.get(conn, first), False)
    again = accept(conn, later, key="k", request=b"r", now=queue.KEY_KEPT_S)
    assert (again.job.id, again.repeated) == (first, True)
    with pytest.raises(KeyReused, match="a new request needs a new key"):
        accept(conn, later, key="k", request=b"another", now=queue.KEY_KEPT_S)
    assert accept(conn, last, key="k", request=b"r", now=queue.KEY_KEPT_S + 1).job.id == last
    assert len(conn.execute(schema.idempotency_keys.select()).all()) == 1


def test_request_tells_a_repetition(conn: Connection) -> None:
    """The digest of the request decides, not what the daemon has made of it meanwhile."""
    job_id = new_id()
    accept(conn, job_id, request=b"r")
    assert accept(conn, job_id, request=b"r", invocation=b"changed").repeated
    with pytest.raises(Conflict):
        accept(conn, job_id, request=b"another")


def test_key_goes_with_its_job(conn: Connection) -> None:
    """A job that is removed takes its key along: nothing is left to bring again."""
    job_id = new_id()
    accept(conn, job_id, key="k", request=b"r")
    queue.request_stop(conn, now=2.0, job_id=job_id)
    queue.forget(conn, job_id)
    assert not accept(conn, new_id(), key="k", request=b"r").repeated


def test_claim_by_priority(conn: Connection) -> None:
    """Claims may keep to priorities from one on, or below it."""
    calls = [submit(conn, priority=queue.CALL_PRIORITY + more).id for more in (0, 1)]
    others = [submit(conn, priority=more).id for more in (0, queue.CALL_PRIORITY - 1)]
    bound = queue.CALL_PRIORITY
    claimed = queue.claim(conn, now=1.0, limit=9, below=bound)
    assert [job.id for job in claimed] == others[::-1]
    claimed = queue.claim(conn, now=1.0, limit=9, least=bound)
    assert [job.id for job in claimed] == calls[::-1]


@pytest.mark.parametrize("limits", ["priority >= 100", "priority < 100"])
def test_claims_by_priority_use_the_index(conn: Connection, limits: str) -> None:
    """However long the queue is, neither kind of claim reads or sorts all of it."""
    plan = conn.exec_driver_sql(
        "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = 'queued' AND "
        f"{limits} ORDER BY priority DESC, id LIMIT 1"
    ).all()
    (step,) = [row[3] for row in plan]
    assert step.startswith("SEARCH jobs USING INDEX jobs_queued (priority")


def test_jobs_of_the_daemon_are_not_listed(conn: Connection) -> None:
    """What the daemon gives itself is neither in lists nor the latest job."""
    job = submit(conn)
    own = submit(conn, source="daemon")
    assert queue.page(conn) == [job]
    assert queue.find(conn, "-") == job
    with pytest.raises(UnknownJob):
        queue.find(conn, own.id)
