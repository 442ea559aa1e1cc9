"""Commands as they are declared, in the words that the daemon knows them by."""

import enum
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import click
import pytest
import typer

import mcli
from mcli.description import COUNT_MAX, describe, find
from mcli.endpoint import Command, Description, Endpoint
from tests.programs import kinds


def known(**names: Any) -> dict[str, Command]:
    return {name: describe(name, each) for name, each in find(names, "place").items()}


def only(*decorators: Callable[[Any], Any]) -> dict[str, Any]:
    """The schemas of a command with these parameters."""
    command: Any = lambda **_: None  # noqa: E731
    for decorate in reversed([click.command("one"), *decorators, mcli.api("/one")]):
        command = decorate(command)
    (one,) = known(one=command).values()
    return {param.name: param.schema for param in one.params}


def test_commands_are_found_under_their_groups() -> None:
    """A command that is reached through its group is called by its path; a lone one by its name."""
    found = find(vars(kinds), "kinds.py")
    assert {name: each.target for name, each in found.items()} == {
        "kinds": "kinds.py:cli",
        "look": "kinds.py:cli",
        "size": "kinds.py:cli",
        "more": "kinds.py:cli",
        "slow": "kinds.py:slow",
    }


def test_only_the_named_attribute() -> None:
    """With an attribute, other roots of the module are not looked at."""
    assert list(find(vars(kinds), "kinds.py", "slow")) == ["slow"]


def test_equal_names_are_told_apart() -> None:
    """Two groups with a command of one name: the second is called with its group's."""

    def group() -> click.Group:
        made = click.Group()
        made.add_command(click.command("load")(mcli.api("/load")(lambda: None)))
        return made

    assert list(known(first=group(), second=group())) == ["load", "second load"]


def test_commands_without_decorator_are_not_offered() -> None:
    """A plain Click command is none of ours."""
    assert known(plain=click.command()(lambda: None)) == {}


def test_what_decorators_were_told() -> None:
    """Endpoints, timeout and name come from the decorators, in whatever order they stand."""

    @click.command("one")
    @mcli.background(timeout=7, command_name="the one")
    @mcli.api("/b", "get", public=True)
    @mcli.api("/a", tags=["t"], description="d", enable_background=True, background_timeout=3)
    def one() -> None:
        """Help."""

    (told,) = known(one=one).values()
    assert (told.shown, told.help, told.timeout_s) == ("the one", "Help.", 7)
    assert told.endpoints == (
        Endpoint(
            path="/a", method="POST", background=True, timeout_s=3, description="d", tags=("t",)
        ),
        Endpoint(path="/b", method="GET", public=True),
    )


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (click.STRING, {"type": "string"}),
        (click.INT, {"type": "integer"}),
        (click.FLOAT, {"type": "number"}),
        (click.BOOL, {"type": "boolean"}),
        (click.UUID, {"type": "string", "format": "uuid"}),
        (click.IntRange(1, 5), {"type": "integer", "minimum": 1, "maximum": 5}),
        (click.IntRange(min=1, min_open=True), {"type": "integer", "exclusiveMinimum": 1}),
        (click.IntRange(1, 5, clamp=True), {"type": "integer"}),
        (click.FloatRange(max=1.5), {"type": "number", "maximum": 1.5}),
        (click.Choice(["a", "b"]), {"enum": ["a", "b"]}),
        (click.Choice(kinds.Colour), {"enum": ["red", "blue"]}),
        (click.File(), {"type": "string", "format": "file"}),
        (click.Path(), {"type": "string", "format": "path"}),
        (click.DateTime(["%Y"]), {"type": "string", "description": "One of: %Y"}),
    ],
)
def test_schema_of_a_type(kind: Any, schema: dict[str, Any]) -> None:
    """A required parameter's schema is its type's; an optional one may be null as well."""
    required = only(click.argument("a", type=kind), click.option("--b", type=kind))
    assert required == {"a": schema, "b": {"anyOf": [schema, {"type": "null"}]}}


def test_schema_of_several_values() -> None:
    """Multiple options and arguments are lists, pairs are lists of two, a required list is not
    empty."""
    found = only(
        click.option("--many", multiple=True, type=int, required=True),
        click.option("--pair", nargs=2, required=True),
        click.option("--mixed", type=(int, str), required=True),
        click.argument("rest", nargs=-1, required=True),
    )
    integer, text = {"type": "integer"}, {"type": "string"}
    two = {"minItems": 2, "maxItems": 2}
    assert found == {
        "many": {"type": "array", "items": integer, "minItems": 1},
        "pair": {"type": "array", "prefixItems": [text, text]} | two,
        "mixed": {"type": "array", "prefixItems": [integer, text]} | two,
        "rest": {"type": "array", "items": text, "minItems": 1},
    }


def test_schema_of_flags() -> None:
    """A flag is true or false, a counted one a number, flags that share a name a choice."""
    found = only(
        click.option("--on/--off"),
        click.option("-v", "level", count=True),
        click.option("--up", "way", flag_value="up"),
        click.option("--down", "way", flag_value="down"),
    )
    assert [each["anyOf"][0] for each in found.values()] == [
        {"type": "boolean"},
        {"type": "integer", "minimum": 0, "maximum": COUNT_MAX},
        {"enum": ["up", "down"]},
    ]


def test_secrets_and_uploads() -> None:
    """Hidden input and names of secrets are known; files and paths may be uploaded."""

    @click.command()
    @click.option("--pin-code", hide_input=True, prompt=True, default="1")
    @click.option("--db-password", default="no")
    @click.option("--where", type=click.Path(file_okay=False))
    @click.option("--what", type=click.Path())
    @mcli.api("/one")
    def one(**_: Any) -> None: ...

    (told,) = known(one=one).values()
    assert {param.name: (param.secret, param.upload) for param in told.params} == {
        "pin_code": (True, False),
        "db_password": (True, False),
        "where": (False, False),
        "what": (False, True),
    }
    assert all("default" not in param.schema for param in told.params)


def test_paths_files_and_what_is_seldom() -> None:
    """Several files are a list that may be uploaded, a directory is not; an argument of two has
    two; a choice in any case is described as it is written.
    """
    command = describe("more", find(vars(kinds), "kinds.py")["more"])
    params = {param.name: param for param in command.params}
    assert [name for name, param in params.items() if param.upload] == ["path", "sources"]
    assert params["sources"].schema["anyOf"][0] == {
        "type": "array",
        "items": {"type": "string", "format": "file"},
    }
    assert params["folder"].schema["anyOf"][0] == {"type": "string", "format": "path"}
    assert params["corner"].schema == {
        "type": "array",
        "prefixItems": [{"type": "number"}] * 2,
        "minItems": 2,
        "maxItems": 2,
    }
    assert params["size"].schema["anyOf"][0] == {"enum": ["Small", "Large"]}
    assert (params["region"].required, params["region"].schema["default"]) == (False, "here")


def test_typer_is_described_by_its_annotations() -> None:
    """A Typer command's parameters have the same schemas as Click's."""
    app = typer.Typer()

    class Way(enum.StrEnum):
        UP = "up"

    @app.command()
    @mcli.api("/typed")
    def typed(
        number: int,
        part: Annotated[float, typer.Option(min=0, max=1)],
        way: Annotated[Way, typer.Option()],
        when: Annotated[datetime, typer.Option()],
        key: Annotated[UUID, typer.Option()],
        file: Annotated[Path, typer.Option()],
        pair: Annotated[tuple[int, str], typer.Option()],
        words: Annotated[list[str], typer.Option()],
        deep: bool = False,
    ) -> None: ...

    (told,) = known(app=app).values()
    assert {param.name: param.schema for param in told.params} == {
        "number": {"type": "integer"},
        "part": {"type": "number", "minimum": 0, "maximum": 1},
        "way": {"enum": ["up"]},
        "when": {"type": "string"},
        "key": {"type": "string", "format": "uuid"},
        "file": {"type": "string", "format": "path"},
        "pair": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
        },
        "words": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "deep": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": False},
    }


def test_description_survives_json() -> None:
    """What is told as JSON is the same when it is read."""
    commands = tuple(known(cli=kinds.cli, slow=kinds.slow).values())
    description = Description(commands=commands, sources=(("a.py", 1, 2),), error="no")
    assert Description.parse(description.document()) == description


def test_group_commands_that_a_program_imports_are_its_own(monkeypatch: Any) -> None:
    """A class is no command, though it has what commands have."""
    monkeypatch.setitem(sys.modules, "nothing", None)
    assert known(Command=click.Command, Group=click.Group) == {}
