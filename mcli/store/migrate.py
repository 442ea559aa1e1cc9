"""
Bringing an older database up to the tables of today, after a copy of it has been made.

Alembic is slow to import, so that this module is imported only when the revision that a
database carries is not ``HEAD``.
"""

import os
import time
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mcli.errors import StoreTooNew
from mcli.store.schema import HEAD
from mcli.version import __version__

SCRIPTS: Final = "mcli.store:migrations"


def upgrade(
    connection: Connection, path: str, revision: str, *, scripts: str = SCRIPTS, head: str = HEAD
) -> str:
    """Migrate an existing database to *head*, as a whole or not at all.

    Args:
        connection: With no transaction begun.
        path: The database's file; a copy is put beside it before anything is changed.
        revision: What the database carries.

    Returns:
        The path of the copy.

    Raises:
        StoreTooNew: No migration of this program made *revision*.
    """
    if not _is_known(scripts, revision):
        raise StoreTooNew(
            f"{path} is of revision {revision!a}, which mcli {__version__} does not know "
            f"(its own is {HEAD}): it was written by a newer mcli; install that one, or set "
            "MCLI_HOME to another directory"
        )
    backup = _back_up(connection, path, revision)
    apply(connection, head, scripts=scripts)
    return backup


def apply(connection: Connection, head: str, *, scripts: str = SCRIPTS) -> None:
    """Carry out the migrations that are missing up to *head*, in one transaction."""
    config = _config(scripts)
    config.attributes["connection"] = connection
    with connection.begin():
        command.upgrade(config, head)


def heads() -> list[str]:
    """The newest migrations; more than one only by mistake."""
    return ScriptDirectory.from_config(_config(SCRIPTS)).get_heads()


def _config(scripts: str) -> Config:
    config = Config()
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    return config


def _is_known(scripts: str, revision: str) -> bool:
    directory = ScriptDirectory.from_config(_config(scripts))
    return revision in {script.revision for script in directory.walk_revisions()}


def _back_up(connection: Connection, path: str, revision: str) -> str:
    """A complete copy, on the disk before anything is changed."""
    backup = f"{path}.revision-{revision}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(
        "VACUUM INTO ?", (backup,)
    )  # outside a transaction, which SQLAlchemy would begin
    with open(backup, "rb") as copy:
        os.fsync(copy.fileno())
    return backup
