"""
Commands called by a program in ways of its own: ``inner.py HOW [WORDS]``.

Each says whether it runs in a job. HOW is taken off the command line first.
"""

import os
import sys

import click

import mcli


def where() -> str:
    return "job" if "MCLI_JOB_ID" in os.environ else "here"


@click.command()
@click.option("--number", default=1)
@mcli.background
def solo(number: int) -> None:
    click.echo(f"{number} {where()}")


@click.group()
def cli() -> None:
    pass


cli.add_command(solo)


@cli.command()
@click.pass_context
def outer(ctx: click.Context) -> None:
    ctx.invoke(solo, number=4)


def runner() -> None:
    from click.testing import CliRunner

    click.echo(CliRunner().invoke(solo, []).output, nl=False)


def thread() -> None:
    import threading

    worker = threading.Thread(target=lambda: solo.main([], standalone_mode=False))
    worker.start()
    worker.join()


HOW = {
    "call": lambda: solo(),
    "words": lambda: solo(["--number", "3"]),
    "no-words": lambda: solo(args=[]),
    "main": lambda: solo.main(),
    "main-words": lambda: solo.main(["--number", "3"]),
    "group": lambda: cli(),
    "group-words": lambda: cli(["solo"]),
    "group-main": lambda: cli.main(),
    "group-main-words": lambda: cli.main(["solo"]),
    "runner": runner,
    "thread": thread,
    "twice": lambda: [solo.main(["--number", str(n)], standalone_mode=False) for n in (1, 2)],
}

if __name__ == "__main__":
    HOW[os.environ["HOW"]]()
    sys.exit(0)
