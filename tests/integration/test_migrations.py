"""From an older database to the tables of today, as a whole or not at all."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event

import mcli.store.migrations
from mcli.store import database, migrate, schema

LATER = """
from alembic import op
revision, down_revision = "{revision}", "{before}"
def upgrade():
    op.execute("CREATE TABLE {table} (x)")
    {then}
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mcli.db")


@pytest.fixture
def conn(path: str) -> Iterator[Connection]:
    """A connection to a database of revision ``HEAD``, made at once."""
    database.prepare(path)
    yield from connected(path)


def connected(path: str) -> Iterator[Connection]:
    engine = database.writing(path)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database that came to ``HEAD`` through every migration."""
    path = str(tmp_path / "migrated.db")
    Path(path).touch()
    for connection in connected(path):
        migrate.apply(connection, schema.HEAD)
        yield connection


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The migrations as released, to which a test adds later ones."""
    copy = tmp_path / "scripts"
    shutil.copytree(os.path.dirname(mcli.store.migrations.__file__), copy)
    return copy


def add(scripts: Path, revision: str, before: str, table: str, then: str = "pass") -> None:
    text = LATER.format(revision=revision, before=before, table=table, then=then)
    (scripts / "versions" / f"{revision}.py").write_text(text)


def objects(connection: Connection) -> dict[str, str]:
    """Every table, index and trigger, as the database has it."""
    rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master")
    made = {f"{kind} {name}": _parts(" ".join((sql or "").split())) for kind, name, sql in rows}
    connection.rollback()
    return made


def _parts(sql: str) -> str:
    """A table's columns and constraints in one order: a column that was added stands last."""
    if not sql.startswith("CREATE TABLE"):
        return sql
    depth, parts = 0, [""]
    for letter in sql.partition("(")[2].rstrip(") "):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return "; ".join(sorted(part.strip(" )") for part in parts))


def counters(connection: Connection) -> set[tuple[str, int]]:
    rows = {(row.state, row.jobs) for row in connection.execute(schema.counters.select())}
    connection.rollback()
    return rows


def tables(connection: Connection) -> set[str]:
    return {name.removeprefix("table ") for name in objects(connection) if "table " in name}


def revision(connection: Connection) -> str:
    found = connection.execute(schema.revisions.select()).scalar_one()
    connection.rollback()
    return str(found)


def test_fresh_equals_migrated(conn: Connection, migrated: Connection) -> None:
    """A new database and one that was migrated have the same tables, to the letter."""
    assert objects(conn) == objects(migrated)
    assert counters(conn) == counters(migrated)
    assert revision(conn) == revision(migrated) == schema.HEAD


def test_tables_are_those_of_the_schema(migrated: Connection) -> None:
    """Nothing in ``schema`` lacks its migration."""
    context = MigrationContext.configure(migrated)
    assert compare_metadata(context, schema.metadata) == []
    migrated.rollback()


def test_head_is_the_newest_migration() -> None:
    """``HEAD`` names the last of one unbroken line."""
    assert migrate.heads() == [schema.HEAD]


def test_upgrade_keeps_a_copy(conn: Connection, path: str, scripts: Path) -> None:
    """An older database is copied, then brought up; the copy is what it was."""
    add(scripts, "t2", schema.HEAD, "second")
    add(scripts, "t3", "t2", "third")
    backup = migrate.upgrade(conn, path, schema.HEAD, scripts=str(scripts), head="t3")
    assert {"second", "third"} <= tables(conn)
    assert revision(conn) == "t3"
    for copy in connected(backup):
        assert revision(copy) == schema.HEAD
        assert not {"second", "third"} & tables(copy)


def test_failing_upgrade_changes_nothing(conn: Connection, path: str, scripts: Path) -> None:
    """The second of two migrations fails after it wrote: the first is undone too."""
    add(scripts, "t2", schema.HEAD, "second")
    add(scripts, "t3", "t2", "third", then="op.execute('SELECT * FROM nowhere')")
    before = objects(conn)
    with pytest.raises(Exception, match="no such table: nowhere"):
        migrate.upgrade(conn, path, schema.HEAD, scripts=str(scripts), head="t3")
    assert objects(conn) == before
    assert revision(conn) == schema.HEAD


def test_upgrade_killed_at_each_statement(tmp_path: Path) -> None:
    """
    U4: killed at any of its statements, an upgrade has changed nothing, and the next one is
    complete.
    """
    path = str(tmp_path / "old.db")
    Path(path).touch()
    for connection in connected(path):
        migrate.apply(connection, "0001")
    killed = 0
    while _killed_in_upgrade(path, killed):
        killed += 1
        for connection in connected(path):
            assert revision(connection) == "0001"
    assert killed > 5
    for connection in connected(path):
        assert revision(connection) == schema.HEAD
        assert set(schema.metadata.tables) <= tables(connection)


def _killed_in_upgrade(path: str, statements: int) -> bool:
    """Upgrade in a process that is killed when it has made that many statements."""
    child = os.fork()
    if child == 0:
        left = [statements]

        def strike(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        for connection in connected(path):
            event.listen(connection.engine, "before_cursor_execute", strike)
            event.listen(connection.engine, "commit", strike)
            migrate.apply(connection, schema.HEAD)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
