"""``mcli cancel``, ``kill`` and ``rerun``: one request for each job named."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from mcli.cli import complain
from mcli.errors import DaemonError, MCLIError, RequestError

Document = dict[str, Any]


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
def cancel(jobs: Sequence[str]) -> None:
    """Ask each JOB to end: SIGTERM to its process group, and SIGKILL after the grace.

    One that has not begun never will.
    """
    from mcli.client import Client

    with Client() as client:
        each(jobs, client.cancel, "{id}  {state}")


@click.command()
@click.option(
    "-s",
    "--signal",
    "signum",
    default="KILL",
    show_default=True,
    metavar="SIG",
    callback=lambda _ctx, _param, value: signal_number(value),
    help="Signal to send, by name or number.",
)
@click.argument("job")
def kill(signum: int, job: str) -> None:
    """Send JOB a signal."""
    from mcli.client import Client

    with Client() as client:
        client.kill(job, signum)


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
def rerun(jobs: Sequence[str]) -> None:
    """Run each JOB again, as a new job, and print the new ids."""
    from mcli.client import Client

    with Client() as client:
        each(jobs, client.rerun, "{id}")


def signal_number(text: str) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM`` or ``15``.

    Raises:
        RequestError: There is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    known = {each.name.removeprefix("SIG"): each.value for each in signal.Signals}
    number = int(name) if name.isdecimal() else known.get(name, 0)
    if number not in signal.valid_signals():
        raise RequestError(f"{text!r} is no signal; it must be a name such as TERM, or 15")
    return number


def each(jobs: Sequence[str], act: Callable[[str], Document], told: str) -> None:
    """Do it to every job, though some refuse; then exit with the first refusal's code."""
    refusals: list[MCLIError] = []
    for job in jobs:
        try:
            click.echo(told.format_map(act(job)))
        except DaemonError:
            raise
        except MCLIError as error:
            complain(str(error))
            refusals.append(error)
    if refusals:
        sys.exit(refusals[0].exit_code)
