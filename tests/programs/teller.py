"""Commands whose end is told to the URL in ``$HOOK``, and one that is told to ``$OTHER_HOOK``."""

import os
import sys

import click
from puppet import serve

import mcli

NOWHERE = "http://127.0.0.1:1/"


@click.group()
def cli() -> None:
    """Ends that are told."""


@cli.command()
@click.argument("words", nargs=-1)
@mcli.background(on_finish=os.environ.get("HOOK", NOWHERE))
def tell(words: tuple[str, ...]) -> dict[str, object]:
    """Return what it was given."""
    return {"words": words}


@cli.command()
@click.argument("code", type=int)
@mcli.background(on_finish=os.environ.get("OTHER_HOOK", NOWHERE))
def leave(code: int) -> None:
    """Exit with that code."""
    sys.exit(code)


@cli.command()
@click.argument("gate")
@mcli.background(on_finish=os.environ.get("HOOK", NOWHERE))
def obey(gate: str) -> object:
    """Do what the test says."""
    return serve(gate)


@cli.command()
@click.argument("words", nargs=-1)
@mcli.background(on_finish=os.environ.get("HOOK", NOWHERE))
def submit(words: tuple[str, ...]) -> None:
    """Submit another from Python: as a job of its own, when run here."""
    print(mcli.submit(tell, words=words).id)


if __name__ == "__main__":
    cli()
