"""Commands that are tried again, and commands that have a time: what a test tells them, they do."""

import os
import signal
import sys

import click
from puppet import body, serve

import mcli

SOON = 0.02
LONG = 600.0


@click.group()
def cli() -> None:
    """Commands that do not give up."""


@cli.command()
@click.argument("gate")
@mcli.background(retries=2, retry_delay=SOON)
def again(gate: str) -> object:
    """Three attempts."""
    with body():
        return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(retries=2, retry_delay=SOON, retry_on=(75, ConnectionError))
def picky(gate: str) -> object:
    """Three attempts, if it ends so."""
    with body():
        return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(retries=1, retry_delay=LONG)
def slow(gate: str) -> object:
    """Two attempts, far apart."""
    with body():
        return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(retries=1, retry_delay=SOON, on_lost="retry")
def risky(gate: str) -> object:
    """Two attempts, also when nobody knows how the first one ended."""
    with body():
        return serve(gate)


@cli.command()
@mcli.background(retries=1, retry_delay=SOON)
def reading() -> None:
    """Fails once it has read its input, the first time."""
    text = sys.stdin.read()
    print(os.environ.get("MCLI_ATTEMPT", "here"), text, end="")
    sys.exit(0 if os.environ.get("MCLI_ATTEMPT") == "2" else 3)


@cli.command()
@click.argument("way", type=click.Choice(["tidy", "raise", "finish", "deaf"]))
@click.argument("gate")
@mcli.background(timeout=0.2)
def timed(way: str, gate: str) -> object:
    """Waits for the end of its time, and takes it in one way or another."""
    if way == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        return serve(gate)
    except mcli.JobTimeout:
        print("tidied", flush=True)
        if way == "finish":
            return "in time"
        if way == "tidy":
            sys.exit(3)
        raise


@cli.command()
@click.argument("gate")
@mcli.background(timeout=LONG)
def lasting(gate: str) -> object:
    """Has a time that no test waits for."""
    return serve(gate)


if __name__ == "__main__":
    cli()
