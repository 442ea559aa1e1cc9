"""
Commands that are HTTP endpoints as well.

    python examples/api.py process-file --input examples/data/sales.csv
    mcli daemon start --app examples/api.py
    curl -H "Authorization: Bearer $(mcli token)" http://localhost:8001/process-file \\
        --json '{"input": "examples/data/sales.csv"}'

``enable_background=True`` is for what takes long: the answer is the job, at once. The others
answer with what they return.
"""

import csv
import hashlib
import json
import math
import sqlite3
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click

import mcli

CHUNK = 1 << 20
"""Bytes that are read at once."""

Row = dict[str, Any]


@click.group()
def cli() -> None:
    """Work on files, a database and a model."""


@cli.command()
@click.option("--input", type=click.Path(exists=True, dir_okay=False), required=True)
@mcli.api("/process-file", "POST", tags=["files"], enable_background=True, background_timeout=3600)
@mcli.background
def process_file(input: str) -> Row:  # noqa: A002 - what requests call it
    """Count the lines of a file, however large, and hash it."""
    path, digest, lines, read = Path(input), hashlib.sha256(), 0, 0
    size = path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            lines += chunk.count(b"\n")
            read += len(chunk)
            click.echo(f"{read:,} of {size:,} bytes", err=True)
    click.echo(f"{path}: {lines:,} lines, sha256 {digest.hexdigest()}")
    return {"bytes": read, "lines": lines, "sha256": digest.hexdigest()}


@cli.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0)
@click.option("--step", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Seconds.")
@mcli.api("/long-task", "POST", enable_background=True, background_timeout=3600)
@mcli.background
def long_task(minutes: float, step: float) -> Row:
    """Take ten minutes, and say at each step how far it is."""
    steps = math.ceil(minutes * 60 / step)
    for number in range(1, steps + 1):
        time.sleep(step)
        click.echo(f"step {number} of {steps}: {number / steps:.0%}")
    return {"steps": steps}


@cli.command()
@click.option("--source", type=click.File(encoding="utf-8"), required=True, help="JSON lines.")
@click.option("--database", type=click.Path(dir_okay=False), required=True)
@click.option("--batch", type=click.IntRange(min=1), default=1000, show_default=True)
@mcli.api("/db/bulk-insert", "POST", tags=["db"], enable_background=True)
@mcli.background
def bulk_insert(source: TextIO, database: str, batch: int) -> Row:
    """Insert each line of a file into the table "records", a batch at a time.

    A line that is no JSON ends it; the batches before are there.
    """
    inserted = 0
    try:
        with closing(sqlite3.connect(database)) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS records (record TEXT CHECK (json_valid(record)))"
            )
            lines = (line.strip() for line in source if line.strip())
            while some := list(islice(lines, batch)):
                with db:
                    db.executemany("INSERT INTO records VALUES (?)", [(each,) for each in some])
                inserted += len(some)
                click.echo(f"{inserted:,} records", err=True)
    except (sqlite3.Error, UnicodeError) as error:
        raise click.ClickException(f"{error}; {inserted:,} records were inserted") from error
    click.echo(f"{inserted:,} records inserted")
    return {"inserted": inserted}


@cli.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False), required=True, help="CSV.")
@click.option("--feature", required=True, help="The column to predict from.")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--epochs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True, max=1), default=0.1)
@mcli.api("/ml/train", "POST", tags=["ml"], enable_background=True, background_timeout=7200)
@mcli.background
def train(data: str, feature: str, target: str, epochs: int, rate: float) -> Row:
    """Fit a line to two columns by gradient descent."""
    xs, ys = columns(data, feature, target)
    mean = math.fsum(xs) / len(xs)
    scale = math.sqrt(math.fsum((x - mean) ** 2 for x in xs) / len(xs)) or 1.0
    slope = offset = 0.0
    for epoch in range(1, epochs + 1):
        errors = [slope * (x - mean) / scale + offset - y for x, y in zip(xs, ys, strict=True)]
        loss = math.fsum(error**2 for error in errors) / len(errors)
        pull = math.fsum(e * (x - mean) / scale for e, x in zip(errors, xs, strict=True))
        slope -= rate * 2 * pull / len(xs)
        offset -= rate * 2 * math.fsum(errors) / len(xs)
        if epoch % 10 == 0 or epoch == epochs:
            click.echo(f"epoch {epoch}/{epochs}: loss {loss:.4f}")
    return {"slope": slope / scale, "intercept": offset - slope * mean / scale, "loss": loss}


def columns(path: str, *names: str) -> list[list[float]]:
    """The named columns of a CSV file."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        found = [[float(row[name]) for row in rows] for name in names]
    except KeyError as missing:
        raise click.ClickException(f"{path} has no column {missing}") from missing
    except (TypeError, ValueError, csv.Error) as error:
        raise click.ClickException(f"{path}: {error}") from error
    if not rows:
        raise click.ClickException(f"{path} holds no rows")
    return found


@cli.command()
@mcli.api("/status", "GET", tags=["mcli"])
def status() -> Row:
    """What the daemon is and does."""
    told = mcli.status_check()
    click.echo(json.dumps(told, indent=2))
    return told


@cli.command()
@mcli.api("/health", "GET", tags=["mcli"])
def health() -> Row:
    """Whether all is well."""
    told = mcli.health_check()
    click.echo(json.dumps(told, indent=2))
    return told


if __name__ == "__main__":
    cli()
