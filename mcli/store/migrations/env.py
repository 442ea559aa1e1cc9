"""
Run by Alembic: carries migrations out on the connection that ``migrate`` hands over.

The transaction is the caller's, so that an upgrade happens as a whole or not at all.
"""

from alembic import context

from mcli.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
