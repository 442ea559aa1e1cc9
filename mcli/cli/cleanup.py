"""``mcli cleanup``: what is stale, said first, and tidied up when that is wanted."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from mcli.amount import TIME_MAX_S
from mcli.cli import complain
from mcli.cli.clean import age, ended, remove_all
from mcli.cli.jobs import ID_LENGTH, command_line, id_length
from mcli.cli.table import Column, moment, space, table, terminal_width
from mcli.errors import DaemonNotRunning

Document = dict[str, Any]

COLUMNS: Final = (
    Column("JOB", ID_LENGTH),
    Column("ACTION", 9),
    Column("STARTED", 8),
    Column("LAST SIGN", 9),
    Column("PROGRESS", 8),
    Column("COMMAND", 8),
)

HOUR_S: Final = 3600.0


def _hours(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    if not value * HOUR_S <= TIME_MAX_S:
        raise click.BadParameter(f"{value} is no number of hours, such as 12")
    return value


@click.command()
@click.option(
    "--stale-hours",
    "stale_hours",
    type=click.FloatRange(min=0),
    callback=_hours,
    default=0.0,
    show_default=True,
    metavar="H",
    help="Only runs that have given no sign of life for H hours.",
)
@click.option(
    "--older-than",
    "older_s",
    callback=age,
    metavar="AGE",
    help="Also remove the jobs that ended so long ago: 90s, 12h, 7d.",
)
@click.option(
    "--dry-run/--no-dry-run",
    "dry_run",
    default=True,
    show_default=True,
    help="Only say what would be done.",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    metavar="FORM",
    help="table or json.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
def cleanup(
    stale_hours: float, older_s: float | None, dry_run: bool, form: str, as_json: bool
) -> None:
    """Find runs that nothing will end, and end them; only with --no-dry-run.

    ACTION is keep for a run that lives, which is never touched; lost for one whose process is
    gone, or the state that its outcome tells; and remove for a job that ended long ago. LAST
    SIGN is when it last printed something, or began; PROGRESS is how much it has printed,
    with what tells time and stream.
    """
    from mcli.client import Client

    now = time.time()
    try:
        client = Client()
    except DaemonNotRunning as error:
        raise DaemonNotRunning(
            "the daemon is not running, and only it can tell; mcli daemon start ends as lost each "
            "run whose process is gone, and takes over those that live"
        ) from error
    with client:
        runs = client.cleanup(stale_s=stale_hours * HOUR_S, dry_run=dry_run)
        old = [] if older_s is None else list(ended(client, (), older_s))
        if not dry_run:
            remove_all(client, iter(old), lambda _: None)
    if as_json or form == "json":
        told = {"dry_run": dry_run, "runs": runs, "removed": old}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo("\n".join(listing(runs, old, now)))
    to_do = sum(not run["alive"] for run in runs) + len(old)
    if dry_run and to_do:
        complain(f"nothing was changed; to do the {to_do} of them, add --no-dry-run")


def listing(runs: Sequence[Document], old: Sequence[Document], now: float) -> list[str]:
    """The table, as wide as the terminal."""
    length = id_length([job["id"] for job in (*(run["job"] for run in runs), *old)])
    columns = (COLUMNS[0]._replace(least=length), *COLUMNS[1:])
    return table(columns, list(_rows(runs, old, now, length)), terminal_width())


def _rows(
    runs: Sequence[Document], old: Sequence[Document], now: float, length: int
) -> Iterator[tuple[str, ...]]:
    for run in runs:
        job, sign = run["job"], run["last_sign_at"]
        yield _row(job, run["action"], sign, space(run["output_bytes"]), now, length)
    for job in old:
        yield _row(job, "remove", job["finished_at"], job["state"], now, length)


def _row(
    job: Document, action: str, sign: str, progress: str, now: float, length: int
) -> tuple[str, ...]:
    started, last = moment(job["started_at"], now), moment(sign, now)
    return job["id"][:length], action, started, last, progress, command_line(job)
