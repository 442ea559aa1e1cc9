"""
Submitting a command from a program, by its parameters instead of a command line.

What is sent is a command line: ``mcli.command_line`` makes it, and checks the values,
before anything is sent.
"""

import os
import sys
from typing import Any

from mcli import replay
from mcli.attach import submit as send
from mcli.call import is_hidden, texts
from mcli.command_line import command_line
from mcli.errors import MCLIError, RequestError
from mcli.handle import Job
from mcli.home import Home
from mcli.ids import new_id
from mcli.program import ROOT
from mcli.routing import DETACH
from mcli.surroundings import surroundings


def submit(command: Any, /, **params: Any) -> Job:
    """Run *command* in the background with these parameters; it is accepted when this returns.

    Args:
        command: A ``@mcli.background`` command: the Click command, or the function that is
            a Typer app's. It must be found under a name in its module, or in a group that is.
        **params: Values by parameter name, as the function has them.

    Raises:
        TypeError: Not a background command, or an unknown parameter.
        click.UsageError: A value is missing or wrong, in Click's own words; or no words
            stand for it.
        DaemonNotRunning: There is no daemon. Nothing was sent, and nothing is run here.
        Refused: It was not accepted, and will not be.
        OutcomeUnknown: It may have been accepted.
    """
    click_command = _command(command)
    callback = click_command.callback
    if not replay.is_background(callback):
        raise TypeError(f"{click_command.name!r} is not a command with @mcli.background")
    background = _background(callback)
    place, path = _locate(command, click_command, callback)
    words = [*path, *command_line(click_command, params)]
    name = background.command_name or " ".join(path) or str(click_command.name)
    home = Home.find()
    job_id = new_id()
    hidden = [params.get(param.name) for param in click_command.params if is_hidden(param)]
    told = {
        "timeout_s": background.timeout,
        "policy": background.policy,
        "on_finish": background.on_finish,
        "secrets": texts(hidden),
    }
    invocation = invocation_of(name, place, words, source="python", **told)
    wire, _ = send(invocation, home=home, job_id=job_id, detach=True, here=False)
    if wire is not None:
        wire.close()
    return Job(job_id, home=home)


def _background(callback: Any) -> Any:
    while not hasattr(callback, "__mcli__"):
        callback = callback.__wrapped__
    return callback.__mcli__


def _command(command: Any) -> Any:
    """The Click command of what was decorated; Typer's are made from their function."""
    if hasattr(command, "callback") and hasattr(command, "params"):
        return command
    if not callable(command):
        raise TypeError(f"{command!r} is not a command")
    typer = sys.modules.get("typer")
    if typer is None or (hasattr(command, "__click_params__") and _is_click_function(command)):
        import click

        return click.command()(command)
    app = typer.Typer()
    app.command()(command)
    return typer.main.get_command(app)


def _is_click_function(function: Any) -> bool:
    """Whether Click's decorators have left more on it than our own option."""
    return any(param.name != DETACH for param in function.__click_params__)


# Finding the command again --------------------------------------------------------------


def _locate(given: Any, command: Any, callback: Any) -> tuple[dict[str, Any], list[str]]:
    """The app that a worker is to load, and the names from its root to the command."""
    function = _innermost(callback)
    module = sys.modules.get(function.__module__)
    if module is None:
        raise MCLIError(f"the module {function.__module__} of {command.name!r} is not loaded")
    for name, found in list(vars(module).items()):
        path = _path_to(found, command, callback) if found is not given else []
        if path is not None and _is_command(found):
            return app_of(f"{place_of(module)}:{name}"), path
    raise RequestError(
        f"{command.name!r} has no name in {module.__name__} that a worker could find it by"
    )


def _innermost(callback: Any) -> Any:
    while hasattr(callback, "__wrapped__"):
        callback = callback.__wrapped__
    return callback


def _is_command(found: Any) -> bool:
    return hasattr(found, "main") or hasattr(found, "registered_commands")


def _path_to(found: Any, command: Any, callback: Any) -> list[str] | None:
    """Names from *found* down to the command; None if it is not in there."""
    if found is command or _runs(found, callback):
        return []
    if hasattr(found, "registered_commands"):  # a Typer app
        found = sys.modules["typer"].main.get_command(found)
        return _path_to(found, command, callback)
    for name, child in getattr(found, "commands", {}).items():
        below = _path_to(child, command, callback)
        if below is not None:
            return [name, *below]
    return None


def _runs(found: Any, callback: Any) -> bool:
    """Whether *found* is a command with the same function: Typer makes a new one each time."""
    own = getattr(found, "callback", None)
    return hasattr(found, "params") and own is not None and _innermost(own) is _innermost(callback)


def place_of(module: Any) -> str:
    """What another process finds *module* by: its name, or the file of a script."""
    spec = getattr(module, "__spec__", None)
    if module.__name__ == "__main__" and spec is None:
        return os.path.abspath(str(module.__file__))
    return str(spec.name if spec is not None else module.__name__)


def app_of(target: str) -> dict[str, Any]:
    """``invocation.App`` of ``place:attribute``, as this process would load it."""
    return {
        "kind": "object",
        "target": target,
        "python": sys.executable,
        "flags": [],
        "mcli_root": ROOT,
        "cwd": os.getcwd(),
    }


def invocation_of(name: str, app: dict[str, Any], words: list[str], **more: Any) -> dict[str, Any]:
    """``invocation.Invocation`` of a call that nobody has typed: without terminal or input."""
    return {
        **surroundings(),
        "name": name,
        "app": app,
        "argv": words,
        "argv0": name,
        "stdio": ["null", "pipe", "pipe"],
        "terminal": None,
        "replay": None,
        "by_line": True,
        **more,
    }
