"""The same with Typer, which brings its own copy of Click."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

import mcli

app = typer.Typer()


class Size(enum.StrEnum):
    big = "big"
    small = "small"


@app.callback()
def main(ctx: typer.Context, verbose: bool = False):
    typer.echo(f"group verbose={verbose}")
    ctx.obj = {"verbose": verbose}


@app.command()
@mcli.background
def hello(name: str, size: Size = Size.big, times: Annotated[int, typer.Option(min=1)] = 1):
    for _ in range(times):
        typer.echo(f"hello {name} {size.value}")
    typer.secho("in colour", fg="green")


@app.command()
@mcli.background
def context(ctx: typer.Context):
    typer.echo(f"{ctx.obj} {ctx.command_path}")


@app.command()
@mcli.background
def asked(name: Annotated[str, typer.Option(prompt=True)]):
    typer.echo(f"{name} {typer.confirm('Sure?')}")


@app.command()
@mcli.background
def leave(code: int):
    typer.echo("leaving")
    raise typer.Exit(code)


@app.command()
@mcli.background
def abort():
    raise typer.Abort


@app.command()
@mcli.background
def bad():
    raise typer.BadParameter("not this")


@app.command()
@mcli.background
def crash():
    secret = "a local"
    raise ValueError(f"typer crash {len(secret)}")


@app.command()
@mcli.background
def progress():
    with typer.progressbar(range(10), show_eta=False) as bar:
        for _ in bar:
            pass
    print(sys.stdout.isatty())


@app.command()
@mcli.background
def write(path: Path):
    path.write_text("by typer\n")
    typer.echo(path)


if __name__ == "__main__":
    app()
