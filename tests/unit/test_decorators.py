"""What ``@mcli.background`` makes of a command, and what it refuses."""

from collections.abc import Callable
from typing import Any

import click
import pytest
import typer
from click.testing import CliRunner

import mcli
from mcli.decorators import Background
from mcli.replay import is_background
from mcli.routing import DETACH

Decorate = Callable[[Any], Any]
WAYS: dict[str, Decorate] = {
    "below": lambda body: click.command()(mcli.background(body)),
    "above": lambda body: mcli.background(click.command()(body)),
    "below-with-arguments": lambda body: click.command()(mcli.background(timeout=1)(body)),
    "above-with-arguments": lambda body: mcli.background(timeout=1)(click.command()(body)),
    "twice": lambda body: mcli.background(click.command()(mcli.background(body))),
}


def detach_options(command: click.Command) -> list[str | None]:
    return [param.name for param in command.params if "--detach" in param.opts]


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_above_and_below(way: str) -> None:
    """The body runs once, gets its own parameters only, and there is one --detach, shown last."""
    calls = []

    @click.option("--number", type=int)
    def body(number: int) -> None:
        """Counts."""
        calls.append(number)

    command = WAYS[way](body)
    result = CliRunner().invoke(command, ["--number", "3"])
    assert (result.exit_code, result.output, calls) == (0, "", [3])
    assert is_background(command.callback)
    assert not is_background(getattr(command.callback, "__wrapped__", None))
    assert detach_options(command) == [DETACH]
    assert [param.name for param in command.params] == ["number", DETACH]
    assert command.help == "Counts."


def test_a_decorator_only_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told stands on the wrapper; the body is not called, the function not changed."""

    def body() -> None:
        raise AssertionError

    before = dict(vars(body))
    wrapper: Any = mcli.background(command_name="job", timeout=2, auto_route=False)(body)
    told: Background = wrapper.__mcli__
    assert (told.command_name, told.timeout, told.auto_route) == ("job", 2, False)
    assert told.fallback_to_local
    assert (wrapper.__wrapped__, wrapper.__name__, vars(body)) == (body, "body", before)


@pytest.mark.parametrize("above", [False, True])
def test_a_command_keeps_its_own_detach(above: bool) -> None:
    """An option of that name is the command's own: it gets its value, and no second one is made."""

    @click.option("--detach", default="own")
    def body(detach: str) -> None:
        click.echo(detach)

    command: click.Command = WAYS["above" if above else "below"](body)
    assert detach_options(command) == ["detach"]
    assert CliRunner().invoke(command, ["--detach", "x"]).output == "x\n"


def test_a_typer_command_gets_the_option_once() -> None:
    """Typer reads options from the signature: the wrapper's has --detach, the body's stays."""
    app = typer.Typer()

    @app.command()
    @mcli.background
    def body(number: int = 1) -> None:
        """Counts."""

    command: Any = typer.main.get_command(app)
    assert detach_options(command) == [DETACH]
    assert [param.name for param in command.params][:2] == ["number", DETACH]


def test_a_typer_command_keeps_its_own_detach() -> None:
    """A parameter called detach is the command's own under Typer as well."""
    app = typer.Typer()

    @app.command()
    @mcli.background
    def body(detach: bool = False) -> None:
        """Has an option of that name."""

    assert detach_options(typer.main.get_command(app)) == ["detach"]  # type: ignore[arg-type]


def test_a_click_command_may_take_anything_where_typer_is_loaded() -> None:
    """A body with ``**params`` has no place for one more name; it is a command all the same."""

    @click.command()
    @click.option("--number", type=int)
    @mcli.background
    def body(**params: object) -> None:
        click.echo(params)

    assert CliRunner().invoke(body, ["--number", "3"]).output == "{'number': 3}\n"


def test_groups_are_refused() -> None:
    """A group holds commands and runs none of its own: the decorator goes on those."""
    with pytest.raises(TypeError, match="on commands, not on the group"):
        mcli.background(click.Group("tools"))


def test_a_command_without_a_body_is_refused() -> None:
    """There would be nothing to run."""
    with pytest.raises(TypeError, match="'idle' has no function to run"):
        mcli.background(click.Command("idle"))


def test_what_is_no_command_is_refused() -> None:
    """A name in the place of the command is an error where it stands, not later."""
    with pytest.raises(TypeError, match="goes on a command, not on 'name'"):
        mcli.background("name")  # type: ignore[call-overload]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout: float) -> None:
    """A timeout that no command can keep is refused where it is written."""
    with pytest.raises(ValueError, match="seconds above 0, or None for no limit"):
        mcli.background(timeout=timeout)


def test_called_as_a_function_it_is_the_function() -> None:
    """Without a command line around it, a decorated function is called and returns as ever."""

    @mcli.background
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert (add(1), add(1, b=2), add.__doc__) == (2, 3, "Adds.")


def test_detach_is_never_ignored() -> None:
    """Where ``--detach`` cannot be had, before or after another body, it is an error: exit 125."""
    calls = []

    @click.command()
    @mcli.background
    def body() -> None:
        calls.append("run")

    codes = [
        CliRunner().invoke(body, words).exit_code for words in (["--detach"], [], ["--detach"])
    ]
    assert codes == [125, 0, 125]
    assert calls == ["run"]
