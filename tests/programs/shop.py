"""Commands that a program submits by their parameters: Click above and below, groups, Typer."""

import json
import sys

import click
import typer

import mcli


@mcli.background
@click.command()
@click.option("--times", type=click.IntRange(1, 9), default=1)
@click.argument("words", nargs=-1)
def above(times: int, words: tuple[str, ...]) -> list[str]:
    """Decorated above."""
    click.echo(" ".join(words))
    return list(words) * times


@click.command()
@click.option("--flag/--no-flag", default=True)
@mcli.background
def below(flag: bool) -> bool:
    """Decorated below."""
    return flag


@click.group()
def group() -> None:
    """Holds another."""


@group.group()
def inner() -> None:
    """Holds the command."""


@inner.command()
@click.argument("number", type=int)
@mcli.background(command_name="deep one")
def deep(number: int) -> int:
    """Two groups down."""
    return number + 1


app = typer.Typer()


@app.command()
@mcli.background
def typed(name: str, count: int = 1) -> str:
    """Typer's."""
    return name * count


@app.command()
def other() -> None:
    """So that the app is a group."""


@click.command()
@mcli.background
def failing() -> None:
    """Fails."""
    raise RuntimeError("out of stock")


@click.command()
@click.argument("size", type=int)
@mcli.background
def large(size: int) -> object:
    """Returns a text of that size; a set, which JSON has not, if it is 0; a look-alike below."""
    if size < 0:
        return {"repr": "x", "truncated": True}
    return "x" * size if size else {1}


@click.command()
@click.argument("gate")
@mcli.background
def waiting(gate: str) -> None:
    """Waits for the test."""
    from puppet import serve

    serve(gate)


@click.command()
@click.pass_context
@mcli.background
def calling(ctx: click.Context) -> str:
    """Calls another command's body."""
    return f"outer of {ctx.invoke(below, flag=False)}"


def main() -> None:
    """Run the code that comes on stdin, with these commands in reach; print its answer."""
    names = dict(globals())
    exec(sys.stdin.read(), names)
    print(json.dumps(names["answer"]))


if __name__ == "__main__":
    main()
