"""``mcli rm`` and ``mcli clean``: jobs that have ended, removed with all that they printed."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mcli.allowance import age_s
from mcli.cli import complain
from mcli.cli.act import each
from mcli.cli.table import unix_time
from mcli.errors import InvalidTransition, UnknownJob
from mcli.states import FINAL

if TYPE_CHECKING:
    from mcli.client import Client

Document = dict[str, Any]


def age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """An option's length of time as seconds."""
    try:
        return None if value is None else age_s(value)
    except ValueError as wanted:
        raise click.BadParameter(f"{value!r} must be {wanted}") from None


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
def rm(jobs: Sequence[str]) -> None:
    """Remove each JOB, which must have ended, and all that it has printed."""
    from mcli.client import Client

    with Client() as client:

        def remove(name: str) -> Document:
            job = client.job(name)
            client.delete(job["id"])
            return job

        each(jobs, remove, "{id}")


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in sorted(FINAL)]),
    metavar="STATE",
    help=f"Only jobs in this state: {', '.join(sorted(FINAL))}. May be repeated.",
)
@click.option(
    "--older",
    "older_s",
    callback=age,
    metavar="AGE",
    help="Only jobs that ended so long ago: 90s, 12h, 7d.",
)
@click.option("-a", "--all", "every", is_flag=True, help="All that have ended; needs --yes.")
@click.option("-y", "--yes", is_flag=True, help="Yes, all of them.")
def clean(states: Sequence[str], older_s: float | None, every: bool, yes: bool) -> None:
    """Remove the jobs that have ended, of a state, of an age, or all, and what they printed.

    Prints their ids. Jobs that have not ended are never touched.
    """
    from mcli.client import Client

    if every and (states or older_s is not None):
        raise click.UsageError("--all goes without --state and --older")
    if not every and not states and older_s is None:
        raise click.UsageError("say which: --state, --older, or --all --yes")
    if every and not yes:
        raise click.UsageError("--all removes every job that has ended; if so, add --yes")
    with Client() as client:
        found = remove_all(client, ended(client, states, older_s), click.echo)
    complain(f"{found} removed")


def ended(client: "Client", states: Sequence[str], older_s: float | None) -> Iterator[Document]:
    """The jobs that ended in one of *states* (none: any), so long ago or longer."""
    before = None if older_s is None else time.time() - older_s
    until = None if before is None else datetime.fromtimestamp(before, UTC)
    for job in client.jobs(states=states or sorted(FINAL), until=until):
        if before is None or unix_time(job["finished_at"]) <= before:
            yield job


def remove_all(client: "Client", jobs: Iterator[Document], tell: Callable[[str], object]) -> int:
    """Remove them one by one; how many. One that is gone meanwhile is no error."""
    found = 0
    for job in jobs:
        try:
            client.delete(job["id"])
        except (UnknownJob, InvalidTransition):
            continue
        tell(job["id"])
        found += 1
    return found
