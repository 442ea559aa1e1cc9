"""
Ends of jobs that a URL is to be told of: which is next, and what became of it.

A trigger makes the row, in the transaction that ends the job, so that no way to end a job
forgets it (see ``store.database``). With ``due_at`` it waits for an attempt; with
``delivered_at`` the URL was told; with neither it was given up, and ``error`` says why. As in
``queue`` a verb is given the connection of a transaction, and is made by compare-and-set: one
that comes a second time changes nothing.

Called by ``daemon.webhooks``.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection, Update, select, update

from mcli import queue
from mcli.job import JobInfo
from mcli.store.schema import deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The end of *job*, to be told to *url*."""

    job: JobInfo
    url: str = field(repr=False)
    attempts: int
    """Made so far."""

    due_at: float
    """When to make the next, in Unix seconds."""


def first(conn: Connection, *, busy: Collection[str]) -> Delivery | None:
    """The delivery that is due first, but for those to the URLs in *busy*; None if none waits."""
    row = conn.execute(
        select(deliveries)
        .where(deliveries.c.due_at.is_not(None), deliveries.c.url.not_in(busy))
        .order_by(deliveries.c.due_at)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    job = queue.get(conn, row.job_id)
    return Delivery(job=job, url=row.url, attempts=row.attempts, due_at=row.due_at)


def delivered(conn: Connection, delivery: Delivery, *, now: float) -> None:
    """The attempt succeeded: there will be no other."""
    conn.execute(_settle(delivery).values(due_at=None, delivered_at=now, error=None))


def missed(conn: Connection, delivery: Delivery, *, error: str, due_at: float | None) -> None:
    """The attempt failed, because of *error*; the next is at *due_at*, or never."""
    conn.execute(_settle(delivery).values(due_at=due_at, error=error))


def _settle(delivery: Delivery) -> Update:
    """Compare and set: only the row as it was when the attempt was begun."""
    return (
        update(deliveries)
        .where(deliveries.c.job_id == delivery.job.id)
        .where(deliveries.c.attempts == delivery.attempts, deliveries.c.due_at.is_not(None))
        .values(attempts=delivery.attempts + 1)
    )
