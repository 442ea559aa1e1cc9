"""
The program running again in its job process: finding the one call that is to be made.

A worker makes ``current`` before it runs the program. The wrapper of each background
command asks it on arrival; until the right one arrives, the program's output is withheld
and it is kept from asking its user anything. From then on the program simply goes on to
its end, here, and the caller's process only ends as this one does.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcli.invocation import Replay

OPTIONS: Final = (("click.core", "Option"), ("typer.core", "TyperOption"))
COMMANDS: Final = (("click.core", "Command"), ("typer._click.core", "Command"))
"""Click's classes, and those of the copy of it that Typer ships."""

_NOTHING: Final[dict[str, Any]] = {}

DECORATORS: Final = ("click.decorators", "typer._click.decorators")


class Diverged(BaseException):
    """The program did not come to the call that its caller had come to."""


class Replaying:
    """One replay; ``arrive`` is called by wrappers, *reach* and *agree* tell the worker."""

    def __init__(
        self,
        replay: "Replay | None",
        reach: Callable[[], None],
        agree: "Callable[[float | None, dict[str, Any]], None]",
    ) -> None:
        self._replay = replay
        self._reach = reach
        self._agreed = replay is not None  # by its caller, who had come to the command
        self._agree = agree
        self.reached = replay is None
        self._entered = False
        self.returned = False
        self.value: Any = None
        self.named = False
        """It ended with an exception that its command wants to be tried again after."""

        if replay is None:
            reach()

    def arrive(
        self,
        path: tuple[str, ...],
        parameters: str,
        timeout_s: float | None = None,
        policy: "Mapping[str, Any]" = _NOTHING,
    ) -> None:
        """A background command's body is about to run.

        Where neither caller nor request said how, the first one's own *timeout_s* and *policy*
        are the job's.

        Raises:
            Diverged: It is another one than the caller came to first.
        """
        if not self._agreed:
            self._agreed = True
            self._agree(timeout_s, dict(policy))
        if self._replay is None or self.reached:
            return
        if path != self._replay.path:
            raise Diverged(f"came to {_name(path)}, not to {_name(self._replay.path)}")
        if self._replay.parameters not in ("", parameters):
            raise Diverged(f"{_name(path)} was given other parameters than by its caller")
        self.reached = True
        _restore()
        self._reach()

    def enter(self) -> bool:
        """A command's body begins; whether it is the first, whose value is the result."""
        first = self.reached and not self._entered
        self._entered = self._entered or first
        return first

    def leave(self, value: Any) -> None:
        """The first body has returned *value*."""
        self.returned = True
        self.value = value

    def fail(self, error: BaseException, retry_on: tuple[type[BaseException], ...]) -> None:
        """The first body has raised *error*; it is to be tried again after *retry_on*."""
        self.named = isinstance(error, retry_on)

    def prompted(self, path: tuple[str, ...], name: str) -> tuple[bool, Any]:
        """Whether the caller's user has been asked for this parameter, and the answer."""
        for asked_path, asked_name, value, _hidden in self._replay.prompted if self._replay else ():
            if (tuple(asked_path), asked_name) == (path, name):
                return True, value
        return False, None


current: Replaying | None = None
"""The replay that this process is; None in any process that is not a job."""


def path_of(ctx: Any) -> tuple[str, ...]:
    """Names from below the root context down to *ctx*."""
    names: list[str] = []
    while ctx.parent is not None:
        names.append(str(ctx.info_name))
        ctx = ctx.parent
    return tuple(reversed(names))


def _name(path: tuple[str, ...]) -> str:
    return " ".join(path) or "the command"


_changed: dict[tuple[Any, str], Any] = {}
"""What stood in a class under a name."""

_barred: list[Any] = []


def prepare() -> None:
    """Make every Click that is loaded by now hand over answers, and run no sibling's body twice.

    Called by the decorator while the program's modules are imported, in a job only; undone
    when the body is reached, so that no frame of ours is on the stack then.
    """
    for module, name in OPTIONS:
        _change(module, name, "prompt_for_value", _answering)
    for module, name in COMMANDS:
        _change(module, name, "make_context", _barring)


def _change(module: str, name: str, method: str, change: Callable[[Any], Any]) -> None:
    found = getattr(sys.modules.get(module), name, None)
    if found is not None and (found, method) not in _changed:
        _changed[found, method] = before = getattr(found, method)
        setattr(found, method, change(before))


def _restore() -> None:
    for (found, method), before in _changed.items():
        setattr(found, method, before)
    while _barred:
        del _barred.pop().invoke


def _answering(ask: Any) -> Any:
    def prompt_for_value(self: Any, ctx: Any) -> Any:
        known, value = current.prompted(path_of(ctx), self.name) if current else (False, None)
        return value if known else ask(self, ctx)

    return prompt_for_value


def _barring(make: Any) -> Any:
    """A chain makes all its contexts before it runs the first body."""

    def make_context(self: Any, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        ctx = make(self, info_name, args, parent, **extra)
        chained = parent is not None and getattr(parent.command, "chain", False)
        if chained and not is_background(self.callback) and not hasattr(self, "commands"):
            self.invoke = _diverge
            _barred.append(self)
        return ctx

    return make_context


def _diverge(ctx: Any) -> Any:
    raise Diverged(f"{ctx.info_name} comes first in the chain, and is not a background command")


def is_background(callback: Any) -> bool:
    """Whether *callback* is, or wraps, what ``@background`` made."""
    while callback is not None:
        if hasattr(callback, "__mcli__"):
            return True
        callback = getattr(callback, "__wrapped__", None)
    return False
