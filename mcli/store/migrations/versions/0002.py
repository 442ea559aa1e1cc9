"""Who asked for a job and whom to tell, apps, idempotency keys, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TRIGGER = (
    "CREATE TRIGGER jobs_to_tell AFTER UPDATE OF state ON jobs"
    " WHEN NEW.on_finish IS NOT NULL AND NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL"
    " BEGIN INSERT INTO deliveries (job_id, url, due_at)"
    " VALUES (NEW.id, NEW.on_finish, NEW.finished_at); END"
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("source", sa.String(8), nullable=False, server_default="cli"))
    op.add_column("jobs", sa.Column("on_finish", sa.Text))
    op.add_column("invocations", sa.Column("digest", sa.LargeBinary))
    op.create_table(
        "apps",
        sa.Column("target", sa.Text, primary_key=True, nullable=False),
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(300), primary_key=True, nullable=False),
        sa.Column(
            "job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("idempotency_keys_created", "idempotency_keys", ["created_at"])
    op.create_index("idempotency_keys_job", "idempotency_keys", ["job_id"])
    op.create_table(
        "deliveries",
        sa.Column(
            "job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.Float),
        sa.Column("delivered_at", sa.Float),
        sa.Column("error", sa.Text),
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.execute(TRIGGER)
