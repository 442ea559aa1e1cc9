"""Jobs, their invocations, and the counters that triggers keep."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATES = (
    "scheduled",
    "queued",
    "running",
    "stopping",
    "succeeded",
    "failed",
    "cancelled",
    "lost",
)
TRIGGERS = (
    "CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN"
    " UPDATE counters SET jobs = jobs + 1 WHERE state = NEW.state; END",
    "CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN"
    " UPDATE counters SET jobs = jobs - 1 WHERE state = OLD.state;"
    " UPDATE counters SET jobs = jobs + 1 WHERE state = NEW.state; END",
    "CREATE TRIGGER jobs_forgotten AFTER DELETE ON jobs BEGIN"
    " UPDATE counters SET jobs = jobs - 1 WHERE state = OLD.state; END",
)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("route", sa.String(8), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("revoked", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("exit_code", sa.Integer),
        sa.Column("signal", sa.Integer),
        sa.Column("worker_pid", sa.Integer),
        sa.Column("pid", sa.Integer),
        sa.Column("timeout_s", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float),
        sa.Column("queued_at", sa.Float),
        sa.Column("started_at", sa.Float),
        sa.Column("stopping_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("command", sa.Text),
        sa.Column("argv", sa.Text, nullable=False),
        sa.Column("cwd", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("result", sa.Text),
        sa.CheckConstraint(
            "state IN ('scheduled', 'queued', 'running', 'stopping',"
            " 'succeeded', 'failed', 'cancelled', 'lost')",
            name="jobs_state",
        ),
        sa.CheckConstraint("route IN ('daemon', 'local')", name="jobs_route"),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'lost'))",
            name="jobs_finished_at",
        ),
        sa.CheckConstraint(
            "(reason IS NOT NULL) = (state IN ('failed', 'cancelled', 'lost'))",
            name="jobs_reason",
        ),
        sa.CheckConstraint("(due_at IS NOT NULL) = (state = 'scheduled')", name="jobs_due_at"),
        sa.CheckConstraint(
            "CASE WHEN state = 'scheduled' THEN queued_at IS NULL"
            " WHEN state IN ('failed', 'cancelled') THEN TRUE ELSE queued_at IS NOT NULL END",
            name="jobs_queued_at",
        ),
        sa.CheckConstraint(
            "CASE WHEN state IN ('scheduled', 'queued') THEN started_at IS NULL"
            " WHEN state IN ('failed', 'cancelled') THEN TRUE"
            " ELSE started_at IS NOT NULL AND attempt > revoked END",
            name="jobs_started_at",
        ),
        sa.CheckConstraint(
            "CASE WHEN state IN ('scheduled', 'queued', 'running') THEN stopping_at IS NULL"
            " WHEN state = 'stopping' THEN stopping_at IS NOT NULL ELSE TRUE END",
            name="jobs_stopping_at",
        ),
        sa.CheckConstraint(
            "finished_at IS NOT NULL"
            " OR (exit_code IS NULL AND signal IS NULL AND error IS NULL AND result IS NULL)",
            name="jobs_outcome",
        ),
        sa.CheckConstraint(
            "state <> 'succeeded' OR (coalesce(exit_code, 0) = 0 AND signal IS NULL)",
            name="jobs_succeeded",
        ),
        sa.CheckConstraint(
            "state NOT IN ('scheduled', 'queued') OR (worker_pid IS NULL AND pid IS NULL)",
            name="jobs_process",
        ),
    )
    op.create_index(
        "jobs_queued",
        "jobs",
        [sa.text("priority DESC"), "id"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "jobs_scheduled",
        "jobs",
        ["due_at"],
        sqlite_where=sa.text("state = 'scheduled'"),
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_index(
        "jobs_live",
        "jobs",
        ["state", "id"],
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "jobs_ended",
        "jobs",
        ["state", "id"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_table(
        "invocations",
        sa.Column(
            "job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    counters = op.create_table(
        "counters",
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("jobs", sa.Integer, nullable=False),
    )
    for trigger in TRIGGERS:
        op.execute(trigger)
    op.bulk_insert(counters, [{"state": state, "jobs": 0} for state in STATES])
