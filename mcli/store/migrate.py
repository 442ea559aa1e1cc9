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
from alembic.util import CommandError
from sqlalchemy import Connection

from mcli.errors import StoreTooNew
from mcli.store.schema import HEAD
from mcli.version import __version__

SCRIPTS: Final = "mcli.store:migrations"


def upgrade(
    connection: Connection, path: str, revision: str, *, scripts: str = SCRIPTS, head: str = HEAD
) -> str:
    """Migrate to *head* in one transaction, after a backup; returns the backup's path.

    Args:
        connection: With no transaction begun.
        path: The database's file; the backup is put beside it.
        revision: What the database carries.

    Raises:
        StoreTooNew: No migration of this program made *revision*.
    """
    config = Config()
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    config.attributes["connection"] = connection
    _check_known(config, path, revision)
    backup = _back_up(connection, path, revision)
    with connection.begin():
        command.upgrade(config, head)
    return backup


def _check_known(config: Config, path: str, revision: str) -> None:
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError as error:
        raise StoreTooNew(
            f"{path} is of revision {revision!a}, which mcli {__version__} does not know "
            f"(its own is {HEAD}): it was written by a newer mcli; install that one, or set "
            "MCLI_HOME to another directory"
        ) from error


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
