"""
The tables as they are today: ``jobs`` and what belongs to them, ``apps``, ``counters``.

Constraints carry the state machine: a row whose timestamps, reason or outcome do not fit its
state cannot be written, by whatever program. Counts per state are kept by triggers, in the
transaction that changes the state, so that nobody ever counts rows.

``HEAD`` is the newest migration; a new database is made from these tables at once, an older
one by the migrations, and a test holds that both are the same. What SQLite alone understands,
the triggers among it, is in ``database``.
"""

import json
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ColumnClause,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    literal_column,
)

HEAD: Final = "0004"


class Json(TypeDecorator[Any]):
    """A value as JSON in ASCII, so that text of any origin survives.

    Paths and arguments may hold bytes that are no UTF-8 (lone surrogates, to Python), and
    NUL; neither can be bound as text. Equal values have equal texts, and may be compared.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Json, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32)),
    Column("route", String(8), nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("revoked", Integer, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default="0"),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("worker_pid", Integer),
    Column("pid", Integer),
    Column("timeout_s", Float),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float),
    Column("queued_at", Float),
    Column("started_at", Float),
    Column("stopping_at", Float),
    Column("finished_at", Float),
    Column("app", Json, nullable=False),
    Column("command", Json),
    Column("argv", Json, nullable=False),
    Column("cwd", Json, nullable=False),
    Column("error", Json),
    Column("result", Text),
    Column("source", String(8), nullable=False, server_default="cli"),
    Column("on_finish", Json),
    Column("max_attempts", Integer, nullable=False, server_default="1"),
    Column("caller", Json),
    CheckConstraint(
        "state IN ('scheduled', 'queued', 'running', 'stopping',"
        " 'succeeded', 'failed', 'cancelled', 'lost')",
        name="jobs_state",
    ),
    CheckConstraint("route IN ('daemon', 'local')", name="jobs_route"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'lost'))",
        name="jobs_finished_at",
    ),
    CheckConstraint(
        "(reason IS NOT NULL) = (state IN ('failed', 'cancelled', 'lost'))",
        name="jobs_reason",
    ),
    CheckConstraint("(due_at IS NOT NULL) = (state = 'scheduled')", name="jobs_due_at"),
    CheckConstraint(
        "CASE WHEN state = 'scheduled' THEN queued_at IS NULL"
        " WHEN state IN ('failed', 'cancelled') THEN TRUE ELSE queued_at IS NOT NULL END",
        name="jobs_queued_at",
    ),
    CheckConstraint(
        "CASE WHEN state IN ('scheduled', 'queued') THEN started_at IS NULL"
        " WHEN state IN ('failed', 'cancelled') THEN TRUE"
        " ELSE started_at IS NOT NULL AND attempt > revoked END",
        name="jobs_started_at",
    ),
    CheckConstraint(
        "CASE WHEN state IN ('scheduled', 'queued', 'running') THEN stopping_at IS NULL"
        " WHEN state = 'stopping' THEN stopping_at IS NOT NULL ELSE TRUE END",
        name="jobs_stopping_at",
    ),
    CheckConstraint(
        "finished_at IS NOT NULL"
        " OR (exit_code IS NULL AND signal IS NULL AND error IS NULL AND result IS NULL)",
        name="jobs_outcome",
    ),
    CheckConstraint(
        "state <> 'succeeded' OR (coalesce(exit_code, 0) = 0 AND signal IS NULL)",
        name="jobs_succeeded",
    ),
    CheckConstraint(
        "state NOT IN ('scheduled', 'queued') OR (worker_pid IS NULL AND pid IS NULL)",
        name="jobs_process",
    ),
)

# Written into the statements: a bound parameter would not be seen to fit a partial index.
SCHEDULED: Final[ColumnClause[str]] = literal_column("'scheduled'")
QUEUED: Final[ColumnClause[str]] = literal_column("'queued'")

Index(
    "jobs_queued",
    jobs.c.priority.desc(),
    jobs.c.id,
    sqlite_where=jobs.c.state == QUEUED,
    postgresql_where=jobs.c.state == QUEUED,
)
Index(
    "jobs_scheduled",
    jobs.c.due_at,
    sqlite_where=jobs.c.state == SCHEDULED,
    postgresql_where=jobs.c.state == SCHEDULED,
)
# Two, by an end that a claim does not mention: one index of all states would be taken for
# claiming too, and every claim would sort the whole queue.
Index(
    "jobs_live",
    jobs.c.state,
    jobs.c.id,
    sqlite_where=jobs.c.finished_at.is_(None),
    postgresql_where=jobs.c.finished_at.is_(None),
)
Index(
    "jobs_ended",
    jobs.c.state,
    jobs.c.id,
    sqlite_where=jobs.c.finished_at.is_not(None),
    postgresql_where=jobs.c.finished_at.is_not(None),
)

# Apart from ``jobs``: it holds an environment, which may hold secrets, and can be wiped.
invocations = Table(
    "invocations",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    # Of the body as it was submitted: it tells a repeated submission when the body is wiped.
    Column("digest", LargeBinary),
)

# Attempts that were followed by another; the newest one stands in ``jobs``.
attempts = Table(
    "attempts",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("worker_pid", Integer),
    Column("pid", Integer),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float, nullable=False),
    Column("error", Json),
    # Bytes of the record log when it had ended: there the output of the next one begins.
    Column("output_end", Integer, nullable=False),
    CheckConstraint("state IN ('failed', 'lost')", name="attempts_state"),
)

apps = Table(
    "apps",
    metadata,
    Column("target", Json, primary_key=True, nullable=False),
    Column("app", Json, nullable=False),
    Column("added_at", Float, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(300), primary_key=True, nullable=False),
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)
Index("idempotency_keys_created", idempotency_keys.c.created_at)
Index("idempotency_keys_job", idempotency_keys.c.job_id)

# One row for each job whose end somebody is to be told of; made by a trigger, so that no way
# to end a job can forget it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("url", Json, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Float),
    Column("delivered_at", Float),
    Column("error", Json),
)
Index(
    "deliveries_due",
    deliveries.c.due_at,
    sqlite_where=deliveries.c.due_at.is_not(None),
    postgresql_where=deliveries.c.due_at.is_not(None),
)

counters = Table(
    "counters",
    metadata,
    Column("state", String(16), primary_key=True),
    Column("jobs", Integer, nullable=False),
)

# Alembic's own, made here too so that a new database needs no Alembic.
revisions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
