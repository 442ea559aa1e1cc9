"""Every type of parameter that Click has, behind endpoints."""

import enum
from typing import Any

import click

import mcli


class Colour(enum.Enum):
    red = 1
    blue = 2


def told(**values: Any) -> dict[str, str]:
    return {name: repr(value) for name, value in sorted(values.items())}


@click.group()
@click.option("--verbose", is_flag=True)
def cli(verbose: bool) -> None:
    """A group with an option of its own."""


@cli.command()
@click.option("--number", type=int, required=True, help="How many.")
@click.option("--ranged", type=click.IntRange(0, 5, max_open=True), default=2)
@click.option("--clamped", type=click.IntRange(0, 5, clamp=True))
@click.option("--ratio", type=float)
@click.option("--share", type=click.FloatRange(0, 1))
@click.option("--deep/--shallow", default=True)
@click.option("--flag", is_flag=True)
@click.option("-v", "--volume", count=True)
@click.option("--upper", "case", flag_value="upper")
@click.option("--lower", "case", flag_value="lower")
@click.option("--letter", "letters", type=click.Choice(["a", "b"]), multiple=True)
@click.option("--colour", type=click.Choice(Colour))
@click.option("--day", type=click.DateTime())
@click.option("--key-id", type=click.UUID)
@click.option("--pair", type=(int, str))
@click.option("--point", "points", nargs=2, type=float, multiple=True)
@click.option("--password", prompt=True, hide_input=True)
@click.option("--text", default="x" * 3)
@click.version_option("1")
@click.argument("words", nargs=-1)
@mcli.api("/kinds", "POST", tags=["kinds"])
def kinds(**values: Any) -> dict[str, str]:
    """Take a value of each kind."""
    return told(**values)


@cli.command()
@click.option("--number", type=int, required=True)
@click.option("--deep/--shallow", default=True)
@click.option("--letter", "letters", type=click.Choice(["a", "b"]), multiple=True)
@click.option("--share", type=click.FloatRange(0, 1))
@click.argument("item", type=int)
@mcli.api("/kinds/{item}", "GET", tags=["kinds"])
@mcli.api("/kinds/{item}", "DELETE", tags=["kinds"])
def look(**values: Any) -> dict[str, str]:
    """Take values from a path and a query."""
    return told(**values)


@cli.command()
@click.option("--source", type=click.File("rb"), required=True)
@click.option("--label", default="none")
@mcli.background(timeout=30)
@mcli.api("/kinds/file", "PUT", tags=["kinds"])
def size(source: Any, label: str) -> dict[str, Any]:
    """Count the bytes of a file."""
    return {"bytes": len(source.read()), "label": label}


@cli.command()
@click.option("--folder", type=click.Path(file_okay=False))
@click.option("--path", type=click.Path(exists=True))
@click.option("--source", "sources", type=click.File("rb"), multiple=True)
@click.option("--region", envvar="KINDS_REGION", default="here")
@click.option("--size", type=click.Choice(["Small", "Large"], case_sensitive=False))
@click.argument("corner", type=float, nargs=2)
@mcli.api("/kinds/more", "POST", tags=["kinds"])
def more(sources: tuple[Any, ...], **values: Any) -> dict[str, Any]:
    """Take paths, files and what is seldom."""
    return told(**values) | {"bytes": sum(len(each.read()) for each in sources)}


@click.command()
@click.option("--seconds", type=click.FloatRange(0, 60), default=0.0)
@mcli.api("/kinds/slow", "PATCH", enable_background=True, background_timeout=20, public=True)
def slow(seconds: float) -> float:
    """A command of its own, in the background."""
    return seconds


if __name__ == "__main__":
    cli()
