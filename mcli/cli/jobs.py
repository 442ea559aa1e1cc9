"""``mcli ps`` and ``mcli inspect``: what jobs there are, and all about one."""

import json
import os
import shlex
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from mcli.cli.table import (
    Column,
    coloured,
    moment,
    printable,
    span,
    table,
    terminal_width,
    unix_time,
)
from mcli.states import FINAL, LIVE, State

Document = dict[str, Any]

RECENT_COUNT: Final = 10
"""Ended jobs that ``ps`` shows beside the live ones."""

ID_LENGTH: Final = 13
"""Characters of an id that hold its time in milliseconds: unique, but for a storm of jobs."""

COLUMNS: Final = (
    Column("JOB", ID_LENGTH),
    Column("STATE", 10),
    Column("EXIT", 4),
    Column("NAME", 6),
    Column("TOOK", 6),
    Column("CREATED", 8),
    Column("COMMAND", 8),
)


ATTEMPT_COLUMNS: Final = (
    Column("ATTEMPT", 3),
    Column("STATE", 9),
    Column("REASON", 6),
    Column("EXIT", 4),
    Column("STARTED", 8),
    Column("FINISHED", 8),
)


@click.command()
@click.option("-a", "--all", "every", is_flag=True, help="All jobs, however old.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    metavar="STATE",
    help=f"Only jobs in this state: {', '.join(State)}. May be repeated.",
)
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="Only the latest N.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of job documents.")
def ps(
    every: bool = False,
    states: Sequence[str] = (),
    count: int | None = None,
    as_json: bool = False,
) -> None:
    """List jobs, the newest first.

    Without options: the live ones, and the ten latest that have ended. In place of its state
    stands why the process of one does nothing: stopped, by a signal or a debugger, or unkillable.
    """
    from mcli.client import Client

    now = time.time()
    with Client() as client:
        if every or states or count:
            found = list(client.jobs(states=states, limit=count))
        else:
            ended = client.jobs(states=_values(FINAL), limit=RECENT_COUNT)
            found = [*client.jobs(states=_values(LIVE)), *ended]
            found.sort(key=lambda job: job["id"], reverse=True)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(listing(found, now)))


def _values(states: frozenset[State]) -> list[str]:
    return sorted(state.value for state in states)


def listing(jobs: Sequence[Document], now: float) -> list[str]:
    """The table of *jobs*, as wide as the terminal."""
    length = id_length([job["id"] for job in jobs])
    rows = [
        (
            job["id"][:length],
            standing(job),
            ending(job),
            job["name"],
            span(_took(job, now)),
            moment(job["created_at"], now),
            command_line(job),
        )
        for job in jobs
    ]
    columns = (COLUMNS[0]._replace(least=length), *COLUMNS[1:])
    titles, *lines = table(columns, rows, terminal_width()) or [""]
    if len(lines) != len(jobs):  # blocks of lines, not rows
        return [titles, *lines]
    return [titles, *(coloured(line, job["state"]) for line, job in zip(lines, jobs, strict=True))]


def command_line(job: Document) -> str:
    """The job as one would type it, its program by its last name."""
    app = job["app"]
    program = app if app.startswith("-m ") else shlex.quote(os.path.basename(app))
    return " ".join([program, *map(shlex.quote, job["argv"])])


def id_length(ids: Sequence[str]) -> int:
    """How much of each id to show, so that all differ."""
    return next(
        (
            length
            for length in range(ID_LENGTH, 36)
            if len({each[:length] for each in ids}) == len(ids)
        ),
        36,
    )


def standing(job: Document) -> str:
    """Its state; of one whose process does nothing, why."""
    return str(job["condition"] or job["state"])


def ending(job: Document) -> str:
    """How the job's process ended: its exit code, or the signal that killed it."""
    if job["signal"] is not None:
        return signal_name(job["signal"])
    return "" if job["exit_code"] is None else str(job["exit_code"])


def signal_name(number: int) -> str:
    """``KILL`` for 9, and ``34`` for a signal without a name."""
    import signal

    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _took(job: Document, now: float) -> float | None:
    if job["finished_at"] is None and job["started_at"] is not None:
        return max(0.0, now - unix_time(job["started_at"]))
    took: float | None = job["run_s"]
    return took


@click.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="The job document as JSON.")
def inspect(job: str, as_json: bool) -> None:
    """Show all that is known about JOB."""
    from mcli.client import Client

    with Client() as client:
        found = client.job(job)
        attempts = client.attempts(found["id"]) if found["attempt"] > 1 and not as_json else []
    lines = [json.dumps(found, indent=2)] if as_json else description(found)
    click.echo("\n".join(lines + history(attempts, time.time())))


def history(attempts: Sequence[Document], now: float) -> list[str]:
    """The attempts of a job that has had several, as a table below the rest."""
    if len(attempts) < 2:
        return []
    rows = [
        (
            str(each["attempt"]),
            each["state"],
            each["reason"] or "",
            ending(each),
            moment(each["started_at"], now),
            moment(each["finished_at"], now),
        )
        for each in attempts
    ]
    return ["", *table(ATTEMPT_COLUMNS, rows, terminal_width())]


def description(job: Document) -> list[str]:
    """``key value`` lines, without what is not known or not worth it. An error keeps its lines."""
    usual = {"max_attempts": 1}
    known = {key: value for key, value in job.items() if value not in (None, "", usual.get(key))}
    shown = {key: _told(key, value) for key, value in known.items()}
    width = max(map(len, shown))
    return [
        f"{'' if at else key:<{width}}  {line}".rstrip()
        for key, text in shown.items()
        for at, line in enumerate(text)
    ]


def _told(key: str, value: Any) -> list[str]:
    if key == "argv":
        return [printable(shlex.join(value))]
    if key.endswith("_at"):
        return [time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(unix_time(value)))]
    if key == "result":
        return [printable(json.dumps(value, ensure_ascii=False))]
    return [printable(line) for line in str(value).splitlines()] or [""]
