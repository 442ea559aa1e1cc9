"""
Loading the module that holds an app's commands, without running any of them.

A program may call its command at its end without asking whether it is ``__main__``; its
module then is loaded up to there, and what stands above is all there.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, NoReturn

from mcli.invocation import App
from mcli.worker.preload import compiled

NAME: Final = "__mcli_app__"
"""What a script's module is called: not ``__main__``, so that it does not run its command."""

_CLASSES: Final = (("click.core", "Command"), ("typer._click.core", "Command"), ("typer", "Typer"))


class _Called(BaseException):
    """The module calls a command as it is loaded."""


def load_module(place: str) -> ModuleType:
    """The module of that name, or in that file; loaded as far as it does not call a command.

    Raises:
        ImportError: There is none, or it is no Python file.
        BaseException: Whatever it raises itself.
    """
    if place in sys.modules:
        return sys.modules[place]
    name = NAME if place.endswith(".py") else place
    spec = _spec(place)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    try:
        with _nothing_called():
            if name == NAME:
                exec(compiled(place), vars(module))  # noqa: S102 - it is the user's own program
            else:
                spec.loader.exec_module(module)
    except _Called:
        pass
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _spec(place: str) -> ModuleSpec:
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(NAME, place)
    else:
        spec = importlib.util.find_spec(place)
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no module {place}")
    return spec


@contextmanager
def _nothing_called() -> Iterator[None]:
    """A command that is called ends the loading. The libraries have been loaded in advance."""
    changed: list[tuple[Any, str, Callable[..., Any]]] = []
    for module, name in _CLASSES:
        found = getattr(sys.modules.get(module), name, None)
        method = "__call__" if name == "Typer" else "main"
        if found is not None:
            changed.append((found, method, getattr(found, method)))
            setattr(found, method, _refuse)
    try:
        yield
    finally:
        for found, method, before in changed:
            setattr(found, method, before)


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    raise _Called


def load_command(target: str) -> Any:
    """The command that ``module:attribute`` or ``path.py:attribute`` names."""
    place, _, attribute = target.rpartition(":")
    command = getattr(load_module(place), attribute)
    if hasattr(command, "registered_commands"):  # a Typer app: its command has yet to be made
        command = sys.modules["typer"].main.get_command(command)
    return command


def aim_path(app: App) -> None:
    """``sys.path[0]`` and ``sys.argv`` as the program itself would find them."""
    if not sys.flags.safe_path and sys.path:
        del sys.path[0]  # the directory that this package was found in
        if app.kind == "script":
            sys.path.insert(0, os.path.dirname(os.path.realpath(app.target)))
        elif app.kind == "module":
            sys.path.insert(0, app.cwd)
        elif app.kind == "object":
            place = app.target.rpartition(":")[0]
            sys.path.insert(0, os.path.dirname(place) if place.endswith(".py") else app.cwd)
    sys.argv = [app.target]
