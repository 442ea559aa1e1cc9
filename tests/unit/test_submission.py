"""Parameters as a command line: what Click makes of it is what was given."""

import enum
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest

from mcli import background
from mcli.errors import RequestError
from mcli.submission import command_line


class Colour(enum.Enum):
    RED = "red"


@click.command()
@click.argument("files", nargs=-1)
@click.option("-n", "--number", type=int)
@click.option("-s", type=str)
@click.option("--flag/--no-flag", default=True)
@click.option("--plain", is_flag=True)
@click.option("--always", is_flag=True, default=True)
@click.option("-v", "--verbose", count=True)
@click.option("--tag", multiple=True)
@click.option("--size", nargs=2, type=int)
@click.option("--pair", nargs=2, multiple=True)
@click.option("--up", "case", flag_value="up")
@click.option("--down", "case", flag_value="down")
@click.option("--when", type=click.DateTime())
@background
def everything(**params: Any) -> None:
    """Has an option of every kind."""


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"number": 3}, ["--number=3"]),
    ({"number": None}, []),
    ({"s": "x"}, ["-sx"]),
    ({"flag": False}, ["--no-flag"]),
    ({"flag": True, "plain": True}, ["--flag", "--plain"]),
    ({"plain": False}, []),
    ({"verbose": 3}, ["--verbose"] * 3),
    ({"tag": ["a", "--plain"]}, ["--tag=a", "--tag=--plain"]),
    ({"tag": ()}, []),
    ({"size": (1, -2)}, ["--size", "1", "-2"]),
    ({"pair": [("a", "b"), ("c", "d")]}, ["--pair", "a", "b", "--pair", "c", "d"]),
    ({"case": "down"}, ["--down"]),
    ({"when": datetime(2025, 1, 31, 8, 30)}, ["--when=2025-01-31T08:30:00"]),  # noqa: DTZ001
    ({"files": ["--plain", "-v", "--", ""]}, ["--", "--plain", "-v", "--", ""]),
    ({"files": ["a"], "number": -1}, ["--number=-1", "--", "a"]),
    ({"files": ()}, []),
]


@pytest.mark.parametrize(("params", "words"), CASES, ids=str)
def test_words(params: dict[str, Any], words: list[str]) -> None:
    """Each kind of parameter becomes the words one would type, values never becoming options."""
    assert command_line(everything, params) == words


@pytest.mark.parametrize("params", [params for params, _ in CASES], ids=str)
def test_click_reads_back_what_was_given(params: dict[str, Any]) -> None:
    """The words, parsed by the command itself, are the values again."""
    ctx = everything.make_context("everything", command_line(everything, params))
    for name, value in params.items():
        assert ctx.params[name] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Path("a/b"), "a/b"),
        (b"a\xff", "a\udcff"),
        (Colour.RED, "red"),
        ("-x", "-x"),
        ("", ""),
        (7, "7"),
    ],
)
def test_values_are_written_as_they_would_be_typed(value: object, text: str) -> None:
    """Paths, bytes and members of an enumeration become their text."""
    assert command_line(everything, {"files": [value]}) == ["--", text]


@click.command()
@click.argument("source")
@click.option("--level", type=click.IntRange(1, 9), required=True)
@click.option("--mode", envvar="TESTED_MODE", required=True)
@background
def strict(**params: Any) -> None:
    """Needs what it asks for."""


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"source": "a", "level": 10, "mode": "m"}, "10 is not in the range"),
        ({"source": "a", "level": "x", "mode": "m"}, "'x' is not a valid integer"),
        ({"level": 1, "mode": "m"}, "SOURCE"),
        ({"level": None, "source": "a", "mode": "m"}, "--level"),
        ({"source": "a", "mode": "m"}, "--level"),
        ({"source": "a", "level": 1}, "--mode"),
    ],
    ids=str,
)
def test_wrong_and_missing_values_are_refused(params: dict[str, Any], message: str) -> None:
    """Click's own types are the judge, before anything is sent, in Click's own words."""
    with pytest.raises(click.UsageError) as caught:
        command_line(strict, params)
    assert message in caught.value.format_message() + str(caught.value)


def test_a_variable_stands_in_for_a_missing_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment gives need not be given again."""
    monkeypatch.setenv("TESTED_MODE", "m")
    assert command_line(strict, {"source": "a", "level": 1}) == ["--level=1", "--", "a"]


def test_unknown_parameters_are_refused_with_the_known() -> None:
    """A name that the command does not have is told, with those that it has; --detach is not
    among them.
    """
    with pytest.raises(TypeError, match="strict has no parameter 'sorce'; it has: source, level"):
        command_line(strict, {"sorce": "a"})
    with pytest.raises(TypeError, match="mcli_detach"):
        command_line(strict, {"mcli_detach": True})


def test_a_flag_that_cannot_be_turned_off() -> None:
    """A flag that is on by default and has no counterpart cannot be submitted as off."""
    with pytest.raises(RequestError, match="--always has no counterpart that turns it off"):
        command_line(everything, {"always": False})
