"""Deliveries in a real database: made when a job ends, settled once, given up in the end."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection

from mcli import deliveries, queue
from mcli.daemon.signing import SECRET, make_secret
from mcli.daemon.webhooks import GIVE_UP_S, Webhooks
from mcli.deliveries import Delivery
from mcli.errors import UnsafeHome
from mcli.ids import new_id
from mcli.states import Reason, State
from mcli.store import database, schema
from mcli.store.store import Store

URL = "http://127.0.0.1:1/"
"""Where nobody listens: only root may."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "mcli.db")
    database.prepare(path)
    return path


@pytest.fixture
def conn(path: str) -> Iterator[Connection]:
    engine = database.writing(path)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def ended(conn: Connection, *, at: float, url: str = URL) -> str:
    """A job that was cancelled before it began."""
    job_id = new_id()
    queue.submit(
        conn, now=at, job_id=job_id, name="tell", app="app.py", command=None, argv=[], cwd="/",
        invocation=b"", timeout_s=None, on_finish=url,
    )  # fmt: skip
    queue.request_stop(conn, now=at, job_id=job_id)
    return job_id


def row(conn: Connection, job_id: str) -> Any:
    wanted = schema.deliveries.select().where(schema.deliveries.c.job_id == job_id)
    return conn.execute(wanted).one()


def first(conn: Connection, *busy: str) -> Delivery:
    delivery = deliveries.first(conn, busy=busy)
    assert delivery is not None
    return delivery


def test_end_is_due_at_once(conn: Connection) -> None:
    """A job with a URL leaves nothing before it ends, and a delivery that is due when it does."""
    job_id = new_id()
    queue.submit(
        conn, now=1.0, job_id=job_id, name="tell", app="app.py", command=None, argv=[], cwd="/",
        invocation=b"", timeout_s=None, on_finish=URL,
    )  # fmt: skip
    [job] = queue.claim(conn, now=2.0, limit=1)
    assert deliveries.first(conn, busy=()) is None
    done = queue.finish(
        conn, now=3.0, job_id=job_id, attempt=job.attempt, state=State.FAILED, reason=Reason.TIMEOUT
    )
    assert first(conn) == Delivery(job=done, url=URL, attempts=0, due_at=3.0)
    assert URL not in repr(first(conn))


def test_longest_due_comes_first_but_for_busy_urls(conn: Connection) -> None:
    """Who has waited longest is next, unless somebody is being told at the same URL."""
    late, early = ended(conn, at=9.0), ended(conn, at=5.0, url="http://other/")
    assert first(conn).job.id == early
    assert first(conn, "http://other/").job.id == late
    assert deliveries.first(conn, busy=("http://other/", URL)) is None


def test_delivered_is_never_due_again(conn: Connection) -> None:
    """An attempt that succeeded is the last; a late report of another changes nothing."""
    job_id = ended(conn, at=5.0)
    delivery = first(conn)
    deliveries.delivered(conn, delivery, now=6.0)
    deliveries.missed(conn, delivery, error="late", due_at=7.0)
    found = row(conn, job_id)
    assert (found.attempts, found.due_at, found.delivered_at, found.error) == (1, None, 6.0, None)
    assert deliveries.first(conn, busy=()) is None


def test_missed_is_counted_once(conn: Connection) -> None:
    """A report that comes twice counts one attempt; the next is due when it says."""
    job_id = ended(conn, at=5.0)
    delivery = first(conn)
    deliveries.missed(conn, delivery, error="it answered 500", due_at=9.0)
    deliveries.missed(conn, delivery, error="again", due_at=99.0)
    found = row(conn, job_id)
    assert (found.attempts, found.due_at, found.error) == (1, 9.0, "it answered 500")


def test_given_up_keeps_its_error(conn: Connection) -> None:
    """Without another attempt the row stays, and says why."""
    job_id = ended(conn, at=5.0)
    deliveries.missed(conn, first(conn), error="it answered 410", due_at=None)
    assert deliveries.first(conn, busy=()) is None
    assert row(conn, job_id).error == "it answered 410"


def test_forgotten_with_its_job(conn: Connection) -> None:
    """Whoever removes a job removes what was to be told of it."""
    job_id = ended(conn, at=5.0)
    delivery = first(conn)
    queue.forget(conn, job_id)
    deliveries.delivered(conn, delivery, now=6.0)
    assert deliveries.first(conn, busy=()) is None


@pytest.mark.parametrize(("age_s", "again"), [(GIVE_UP_S - 3600, True), (GIVE_UP_S + 1, False)])
def test_given_up_after_three_days(path: str, conn: Connection, age_s: float, again: bool) -> None:
    """An attempt that fails three days after the end of its job is the last one."""
    with conn.begin():
        job_id = ended(conn, at=time.time() - age_s)
    asyncio.run(one_attempt(path))
    found = row(conn, job_id)
    assert (found.attempts, found.due_at is not None) == (1, again)
    assert found.error == "127.0.0.1:1: Connection refused"


async def one_attempt(path: str) -> None:
    """Deliver until an attempt has been made and written down."""
    store, settled = Store.open(path), asyncio.Event()
    told = Webhooks(store, make_secret(f"{path}.secret"), retry_s=60, rng=Random(1))
    told.wake = settled.set  # type: ignore[method-assign]
    running = asyncio.create_task(told.run())
    await settled.wait()
    running.cancel()
    await asyncio.wait([running])
    store.close()


def test_secret_is_made_anew_when_damaged(tmp_path: Path) -> None:
    """What stands in the file and cannot be a secret is replaced; what can be is kept."""
    path = tmp_path / "webhook-secret"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    made = make_secret(str(path))
    assert SECRET.fullmatch(made)
    assert make_secret(str(path)) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_secret_that_others_may_know_is_refused(tmp_path: Path) -> None:
    """A file that others can read, a link and a directory are not used, and not written to."""
    path = tmp_path / "webhook-secret"
    made = make_secret(str(path))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(UnsafeHome, match="cannot be used"):
        make_secret(str(tmp_path / "link"))
    with pytest.raises(UnsafeHome, match="not a file of your own"):
        make_secret(str(tmp_path))
    path.chmod(0o640)
    with pytest.raises(
        UnsafeHome, match=r"others can read the webhook-secret file .* \(mode 0640\)"
    ):
        make_secret(str(path))
    assert path.read_text().strip() == made
