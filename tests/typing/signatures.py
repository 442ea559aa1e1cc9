"""
What mypy and editors see of decorated commands. Checked by mypy; never run.

Each ``type: ignore`` is an error that must be found: mypy complains of those that are not
needed.
"""

from collections.abc import Callable
from typing import Any, assert_type

import click
import typer

import mcli


@mcli.background
def bare(path: str, *, size: int = 1) -> bytes:
    return path.encode() * size


@mcli.background(command_name="job", auto_route=False, fallback_to_local=False, timeout=1.5)
def told(path: str, *, size: int = 1) -> bytes:
    return path.encode() * size


@mcli.background()
def told_nothing(path: str) -> None:
    """Parentheses change nothing."""


@click.command()
@mcli.background
def below(path: str) -> None:
    """The decorator stands below Click's."""


@mcli.background
@click.command()
def above(path: str) -> None:
    """The decorator stands above Click's."""


@mcli.background(timeout=1)
@click.command()
@click.pass_context
def above_with_arguments(ctx: click.Context, path: str) -> None:
    """The decorator stands above Click's, with arguments."""


@click.group()
def group() -> None:
    """Groups are as they were."""


@group.command()
@mcli.background
@click.pass_obj
def inside(obj: object, path: str) -> int:
    return len(path)


class Special(click.Command):
    """A command class of the program's own."""


@mcli.background
@click.command(cls=Special)
def special() -> None:
    """Stays of its class."""


app = typer.Typer()


@app.command()
@mcli.background
def of_typer(path: str, size: int = 1) -> float:
    return len(path) / size


def signatures_are_kept() -> None:
    """A call returns what the function returns, and takes what the function takes."""
    assert_type(bare("a"), bytes)
    assert_type(bare("a", size=2), bytes)
    assert_type(told("a", size=2), bytes)
    assert_type(of_typer("a"), float)
    narrowed: Callable[[str], None] = told_nothing
    narrowed("a")


def wrong_calls_are_found() -> None:
    """What mypy refuses of the function, it refuses of the decorated one."""
    bare(1)  # type: ignore[arg-type]
    bare("a", 2)  # type: ignore[call-arg]
    told()  # type: ignore[call-arg]
    told("a", sise=2)  # type: ignore[call-arg]
    told_nothing("a", "b")  # type: ignore[call-arg]
    of_typer("a", size="b")  # type: ignore[arg-type]
    bare("a").bit_length()  # type: ignore[attr-defined]


def commands_stay_commands() -> None:
    """Above or below, what ``@click.command()`` makes is what the program has."""
    assert_type(below, click.Command)
    assert_type(above, click.Command)
    assert_type(above_with_arguments, click.Command)
    assert_type(inside, click.Command)
    assert_type(special, Special)


def wrong_arguments_are_found() -> None:
    """The decorator's own arguments are checked."""
    mcli.background(timeout="1 h")  # type: ignore[call-overload]
    mcli.background(auto_rout=True)  # type: ignore[call-overload]
    mcli.background("name")  # type: ignore[call-overload]
    mcli.background(bare, timeout=1)  # type: ignore[call-overload]


def submission_is_typed() -> None:
    """A job is a ``Job``, its documents are plain dicts, its output is bytes."""
    job = mcli.submit(below, path="a")
    assert_type(job, mcli.Job)
    assert_type(job.id, str)
    assert_type(job.wait(timeout_s=1), dict[str, Any])
    assert_type(job.output("stdout"), bytes)
    assert_type(mcli.is_background_available(), bool)
    assert_type(mcli.status_check(), dict[str, Any])
    assert_type(mcli.health_check(), dict[str, Any])
    job.wait(timeout="1")  # type: ignore[call-arg]
    job.output(1)  # type: ignore[arg-type]
