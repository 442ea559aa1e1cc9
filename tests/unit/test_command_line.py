"""Parameters as a command line: what Click makes of it is what was given."""

import enum
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from mcli import background
from mcli.command_line import command_line
from mcli.errors import RequestError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


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
@click.option("-word")
@click.option("--colour", type=click.Choice(Colour, case_sensitive=True))
@click.option("--day", type=click.DateTime(["%d.%m.%Y", "%Y"]))
@click.option("--both", type=(click.DateTime(["%d/%m/%Y"]), click.Choice(Colour)))
@click.option("--rank", type=click.IntRange(1, 9))
@click.option("--raw", type=click.UNPROCESSED)
@click.option("--file", type=click.File())
@click.option("--target", type=click.Path())
@click.option("--maybe", is_flag=False, flag_value="yes")
@click.option("--fixed", flag_value="x")
@click.option("--named", envvar="TESTED_NAMED", is_flag=True)
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
    ({"case": "up"}, ["--up"]),
    ({"s": ""}, ["-s", ""]),
    ({"word": "a"}, ["-word=a"]),
    ({"colour": Colour.RED}, ["--colour=RED"]),
    ({"day": datetime(2025, 1, 31)}, ["--day=31.01.2025"]),  # noqa: DTZ001
    ({"both": (datetime(2025, 1, 31), Colour.RED)}, ["--both", "31/01/2025", "RED"]),  # noqa: DTZ001
    ({"when": datetime(2025, 1, 31, 8, 30)}, ["--when=2025-01-31T08:30:00"]),  # noqa: DTZ001
    ({"files": ["--plain", "-v", "--", ""]}, ["--", "--plain", "-v", "--", ""]),
    ({"files": ["a"], "number": -1}, ["--number=-1", "--", "a"]),
    ({"files": ()}, []),
]


@pytest.mark.parametrize(("params", "words"), CASES)
def test_words(params: dict[str, Any], words: list[str]) -> None:
    """Each kind of parameter becomes the words one would type, values never becoming options."""
    assert command_line(everything, params) == words


@pytest.mark.parametrize("params", [params for params, _ in CASES])
def test_click_reads_back_what_was_given(params: dict[str, Any]) -> None:
    """The words, parsed by the command itself, are the values again."""
    ctx = everything.make_context("everything", command_line(everything, params))
    for name, value in params.items():
        assert ctx.params[name] == (tuple(value) if isinstance(value, list) else value)


def test_an_iterator_is_read_once() -> None:
    """What can be gone through only once is checked and written all the same."""
    assert command_line(everything, {"tag": iter(["a", "b"])}) == ["--tag=a", "--tag=b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Path("a/b"), "a/b"),
        (b"a\xff", "a\udcff"),
        ("-x", "-x"),
        ("", ""),
        (7, "7"),
    ],
)
def test_values_are_written_as_they_would_be_typed(value: object, text: str) -> None:
    """Paths, bytes and numbers become their text."""
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


@pytest.mark.parametrize(
    "params",
    [
        {"when": datetime(2025, 1, 31, 8, 30, 0, 5)},  # noqa: DTZ001
        {"day": datetime(2025, 1, 31, 8, 30)},  # noqa: DTZ001
        {"when": datetime(2025, 1, 31, tzinfo=UTC)},
        {"rank": True},
        {"rank": 2.5},
        {"raw": 5},
        {"raw": object()},
        {"s": Colour.RED},
        {"fixed": "y"},
        {"case": "left"},
        {"maybe": "-v"},
        {"maybe": "-x"},
        {"number": 1, "maybe": "--nothing", "tag": ["a"]},
    ],
)
def test_what_would_arrive_as_another_value_is_refused(params: dict[str, Any]) -> None:
    """The words are read back: a value that they do not stand for is never sent."""
    with pytest.raises(click.BadParameter, match="cannot be given on a command line"):
        command_line(everything, params)


def test_an_open_file_is_refused_and_its_name_is_not(tmp_path: Path) -> None:
    """A file object has no text. A path has."""
    path = tmp_path / "file"
    path.write_text("text")
    with path.open() as file, pytest.raises(click.BadParameter, match="cannot be given"):
        command_line(everything, {"file": file})
    assert command_line(everything, {"file": str(path)}) == [f"--file={path}"]
    assert command_line(everything, {"target": path}) == [f"--target={path}"]


def test_a_variable_that_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is given by leaving the option out is refused if a variable stands in."""
    monkeypatch.setenv("TESTED_NAMED", "1")
    with pytest.raises(RequestError, match="--named has no counterpart that turns it off"):
        command_line(everything, {"named": False})


@click.command()
@click.argument("first", required=False)
@click.argument("second", required=False)
@background
def places(**params: Any) -> None:
    """Has arguments that are told apart by their place."""


def test_an_argument_that_would_slip_into_the_place_of_another() -> None:
    """An argument is refused if one before it is left out: it would become that one."""
    with pytest.raises(click.BadParameter, match="cannot be given on a command line"):
        command_line(places, {"second": "b"})
    assert command_line(places, {"first": "a"}) == ["--", "a"]


@click.command()
@click.option("--name", prompt=True, default="somebody", envvar="TESTED_NAME")
@click.option("--sure", prompt=True, prompt_required=False, default="no")
@click.option("--yes", is_flag=True, prompt="Really?")
@background
def asking(**params: Any) -> None:
    """Asks for what is left out."""


def test_a_job_has_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Click would ask for, default or not, must be given, unless a variable gives it."""
    with pytest.raises(click.MissingParameter) as caught:
        command_line(asking, {"yes": True})
    assert "--name" in caught.value.format_message()
    with pytest.raises(click.MissingParameter):
        command_line(asking, {"name": "a", "yes": False})
    assert command_line(asking, {"name": "a", "yes": True}) == ["--name=a", "--yes"]
    monkeypatch.setenv("TESTED_NAME", "b")
    assert command_line(asking, {"yes": True}) == ["--yes"]


def test_typer() -> None:
    """Typer's parameters are written as Typer reads them, and refused in Typer's errors."""
    app = typer.Typer()

    @app.command()
    def typed(
        colour: Colour = Colour.BLUE,
        when: datetime = typer.Option(None, formats=["%d.%m.%Y"]),  # noqa: B008
        many: list[int] = typer.Option([]),  # noqa: B008
    ) -> None:
        """Has Typer's kinds."""

    command = typer.main.get_command(app)
    day = datetime(2025, 1, 31)  # noqa: DTZ001
    params = {"colour": Colour.RED, "when": day, "many": [1, 2]}
    words = ["--colour=red", "--when=31.01.2025", "--many=1", "--many=2"]
    assert command_line(command, params) == words
    with pytest.raises(typer.BadParameter, match="cannot be given on a command line"):
        command_line(command, {"when": datetime(2025, 1, 31, 8)})  # noqa: DTZ001


@click.command()
@click.option("--read", type=click.File())
@click.option("--later", type=click.File("w"))
@click.option("--now", type=click.File("w", lazy=False))
@click.option("--more", type=click.File("a"))
@click.option("--new", type=click.File("x"))
@click.option("--change", type=click.File("r+", lazy=True))
@click.option("--several", type=click.File("rb"), multiple=True)
@click.option("--pair", type=(click.File(), int))
@click.option("--pairs", type=(int, click.File("a")), multiple=True)
@background
def files(**params: Any) -> None:
    """Has files of every kind."""


typed_files = typer.Typer()


@typed_files.command()
def typed(
    read: typer.FileText = typer.Option(None),  # noqa: B008
    later: typer.FileTextWrite = typer.Option(None),  # noqa: B008
    now: typer.FileTextWrite = typer.Option(None, lazy=False),  # noqa: B008
    more: typer.FileText = typer.Option(None, mode="a"),  # noqa: B008
    new: typer.FileText = typer.Option(None, mode="x"),  # noqa: B008
    change: typer.FileText = typer.Option(None, mode="r+"),  # noqa: B008
    several: list[typer.FileBinaryRead] = typer.Option([]),  # noqa: B008
) -> None:
    """Has Typer's."""


OF_BOTH = pytest.mark.parametrize(
    "command", [files, typer.main.get_command(typed_files)], ids=["click", "typer"]
)


@OF_BOTH
def test_files_are_checked_and_not_opened(command: Any, tmp_path: Path) -> None:
    """Nothing is emptied, made or waited for: a pipe that nobody writes to is fine."""
    kept, pipe, absent = tmp_path / "kept", tmp_path / "pipe", tmp_path / "absent"
    kept.write_text("text")
    os.mkfifo(pipe)
    for name in ("read", "later", "now", "more", "change"):
        for path in (kept, pipe, "-"):
            assert command_line(command, {name: path}) == [f"--{name}={path}"]
    for name in ("later", "now", "more", "new"):
        assert command_line(command, {name: absent}) == [f"--{name}={absent}"]
    words = [f"--several={kept}", f"--several={pipe}"]
    assert command_line(command, {"several": [kept, pipe]}) == words
    assert kept.read_text() == "text"
    assert not absent.exists()


@OF_BOTH
@pytest.mark.parametrize(
    ("name", "place", "why"),
    [
        ("read", "nowhere", "No such file or directory"),
        ("read", "", "Is a directory"),
        ("read", "kept/x", "Not a directory"),
        ("change", "nowhere", "No such file or directory"),
        ("several", "nowhere", "No such file or directory"),
        ("now", "nowhere/x", "No such file or directory"),
        ("more", "", "Is a directory"),
        ("new", "kept", "File exists"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    command: Any, tmp_path: Path, name: str, place: str, why: str
) -> None:
    """In the words in which the command itself would refuse it."""
    (tmp_path / "kept").write_text("text")
    path = str(tmp_path / place)
    with pytest.raises((click.BadParameter, typer.BadParameter)) as ours:
        command_line(command, {name: [path] if name == "several" else path})
    with pytest.raises((click.BadParameter, typer.BadParameter)) as its:
        command.make_context("files", [f"--{name}={path}"])
    assert str(ours.value) == str(its.value)
    assert f"'{path}': {why}" in str(ours.value)


def test_files_among_other_values(tmp_path: Path) -> None:
    """In a row that has several types, the files are the files."""
    kept, absent = str(tmp_path / "kept"), str(tmp_path / "absent")
    Path(kept).write_text("text")
    words = ["--pair", kept, "1", "--pairs", "2", absent]
    assert command_line(files, {"pair": (kept, 1), "pairs": [(2, absent)]}) == words
    assert not Path(absent).exists()
    with pytest.raises(click.BadParameter, match="No such file"):
        command_line(files, {"pair": (absent, 1)})
    with pytest.raises(click.BadParameter, match="not a valid integer"):
        command_line(files, {"pair": (kept, "x")})
    with pytest.raises(click.BadParameter):
        command_line(files, {"pair": (kept, 1, 2)})
