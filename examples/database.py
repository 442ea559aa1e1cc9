"""
Load a large CSV or JSON-lines file into SQLite, batch by batch.

    python examples/database.py load examples/data/events.jsonl --database events.db --table events
    python examples/database.py count --database events.db --table events

``load`` may take an hour, so it runs in the background. ``count`` takes no time, so it does
not: the two live in one group.
"""

import csv
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn, TextIO

import click

import mcli

Cell = str | int | float | None
Row = list[Cell]
Reject = Callable[[int, str], None]
"""Told of each bad line: its number and what is wrong with it. Returns to skip the line."""


@click.group()
def database() -> None:
    """Load files into SQLite."""


@database.command()
@mcli.background
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--database", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--table", required=True)
@click.option("--batch", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), help="[by the name]")
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True)
def load(
    source: Path, database: Path, table: str, batch: int, kind: str | None, on_error: str
) -> dict[str, int]:
    """Insert the rows of SOURCE into a table, which is made if it is missing.

    Each batch is one transaction: after an error the batches before it are there.
    """
    read = READERS.get(kind or source.suffix.removeprefix("."))
    if read is None:
        raise click.ClickException(f"{source} is neither .csv nor .jsonl; say which with --format")
    loaded = skipped = 0

    def skip(line: int, problem: str) -> None:
        nonlocal skipped
        skipped += 1
        click.echo(f"{source}, line {line}: {problem}; skipped", err=True)

    def stop(line: int, problem: str) -> NoReturn:
        raise click.ClickException(f"{source}, line {line}: {problem}; {loaded} rows were loaded")

    started = time.monotonic()
    try:
        with (
            source.open(encoding="utf-8-sig", newline="") as file,
            closing(connect(database, "rwc")) as db,
        ):
            columns, rows = read(file, skip if on_error == "skip" else stop)
            if not columns:
                raise click.ClickException(f"{source} holds no rows")
            create(db, table, columns)
            while some := list(islice(rows, batch)):
                insert(db, table, columns, some)
                loaded += len(some)
                click.echo(f"{loaded:,} rows", err=True)
    except UnicodeError as error:
        raise click.ClickException(f"{source} is not UTF-8; {loaded} rows were loaded") from error
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"{error}; {loaded} rows were loaded") from error
    seconds = time.monotonic() - started
    click.echo(
        f"{table}: {loaded:,} rows loaded, {skipped:,} lines skipped, "
        f"{loaded / seconds:,.0f} rows/s"
    )
    return {"loaded": loaded, "skipped": skipped}


@database.command()
@click.option(
    "--database", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True
)
@click.option("--table", required=True)
def count(database: Path, table: str) -> None:
    """Print the number of rows of a table."""
    try:
        with closing(connect(database, "ro")) as db:
            [rows] = db.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()
    except sqlite3.Error as error:
        raise click.ClickException(f"{database}: {error}") from error
    click.echo(rows)


def csv_rows(file: TextIO, reject: Reject) -> tuple[list[str], Iterator[Row]]:
    """The header, and the rows below it that have as many fields."""
    lines = csv.reader(file)

    def rows() -> Iterator[Row]:
        while True:
            first = lines.line_num + 1  # not counted: a quoted field may hold line ends
            try:
                fields = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                reject(first, str(error))
                continue
            if len(fields) == len(columns):
                yield list(fields)
            elif fields:
                reject(first, f"{len(fields)} fields where the header has {len(columns)}")

    columns = next(lines, [])
    return columns, rows()


def jsonl_rows(file: TextIO, reject: Reject) -> tuple[list[str], Iterator[Row]]:
    """The keys of the first object, and every object's values for them (none is NULL)."""
    objects = json_objects(file, reject)
    first = next(objects, (0, {}))
    columns = list(first[1])

    def rows() -> Iterator[Row]:
        for line, item in chain([first], objects):
            if unknown := item.keys() - columns:
                reject(line, f"the first object has no {min(unknown)!r}")
            else:
                yield [cell(item.get(column)) for column in columns]

    return columns, rows()


def json_objects(file: TextIO, reject: Reject) -> Iterator[tuple[int, dict[str, object]]]:
    """Each object with the number of its line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            reject(number, f"not JSON: {error}")
            continue
        if isinstance(item, dict):
            yield number, item
        else:
            reject(number, "not a JSON object")


READERS = {"csv": csv_rows, "jsonl": jsonl_rows}


def cell(value: object) -> Cell:
    """*value* as SQLite can hold it; what it cannot (lists, objects, huge numbers) as JSON."""
    match value:
        case None | str() | float():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case _:
            return json.dumps(value)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the database at *path*; *mode* is ``rwc`` (made if missing) or ``ro``."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)


def create(db: sqlite3.Connection, table: str, columns: list[str]) -> None:
    """Make the table, without types: SQLite keeps each value as it comes."""
    names = ", ".join(map(quoted, columns))
    db.execute(f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({names})")


def insert(db: sqlite3.Connection, table: str, columns: list[str], rows: list[Row]) -> None:
    """Insert *rows*, all or none."""
    names, marks = ", ".join(map(quoted, columns)), ", ".join("?" * len(columns))
    with db:
        db.executemany(f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})", rows)


def quoted(name: str) -> str:
    """*name* as an SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


if __name__ == "__main__":
    database()
