"""``mcli apps``: the apps whose commands have endpoints."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any, Final

import click

from mcli.cli import complain
from mcli.cli.table import Column, printable, table, terminal_width
from mcli.program import ROOT

Document = dict[str, Any]

QUIET_S: Final = 3.0
"""Seconds after which it is said what is waited for."""

COLUMNS: Final = (
    Column("APP", 8),
    Column("STATE", 7),
    Column("FROM", 7),
    Column("COMMAND", 8),
    Column("ENDPOINT", 12),
    Column("TARGET", 12),
)


@click.group()
def apps() -> None:
    """Show, add and remove the apps that have endpoints."""


@apps.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def listed(as_json: bool) -> None:
    """Show the apps, their commands and endpoints, and what is wrong with those that are broken."""
    from mcli.client import Client

    with Client() as client:
        found = client.apps()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [row for app in found for row in _rows(app)]
    for line in table(COLUMNS, rows, terminal_width()) if rows else ["There are no apps."]:
        click.echo(line)
    for app in found:
        for line in _trouble(app):
            click.echo(line)


def _rows(app: Document) -> list[list[str]]:
    """A line for each command; the first says what the app is."""
    about = [app["name"], app["state"], app["origin"]]
    commands = [
        [command["name"], ", ".join(command["endpoints"])] for command in app["commands"]
    ] or [["", ""]]
    first, *more = commands
    return [[*about, *first, app["target"]], *([app["name"], "", "", *each, ""] for each in more)]


def _trouble(app: Document) -> list[str]:
    if app["error"] is None:
        return []
    lines = [f"  {printable(line)}" for line in app["error"].splitlines()]
    return ["", f"{printable(app['name'])} is broken:", *lines]


@apps.command()
@click.argument("target")
@click.option(
    "--python",
    default=sys.executable,
    metavar="PATH",
    help="Interpreter that runs it. Unless given: the one that runs mcli here.",
)
def add(target: str, python: str) -> None:
    """Load the app TARGET in the daemon, and keep it over restarts.

    TARGET is a script, a module, or either with :attribute. Its commands run in the current
    directory.
    """
    from mcli.client import Client

    root = ROOT if python == sys.executable else ""
    path = os.path.abspath(shutil.which(python) or python)
    waits = f"still waiting for {target} to be imported, for a minute at most"
    with Client() as client, _saying(waits):
        app = client.add_app(target, python=path, cwd=os.getcwd(), mcli_root=root)
    for line in [f"added {app['name']}", *_endpoints(app)]:
        click.echo(printable(line))


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Say *what* on stderr, to a terminal or not, if it takes long."""
    timer = Timer(QUIET_S, complain, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _endpoints(app: Document) -> list[str]:
    return [f"  {each}" for command in app["commands"] for each in command["endpoints"]]


@apps.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the app NAME, which was added."""
    from mcli.client import Client

    with Client() as client:
        client.remove_app(name)
    click.echo(f"removed {printable(name)}")
