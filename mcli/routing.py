"""
Where a background command's body runs: here, or in a worker of the daemon.

``decide`` is pure: it is given what is known and names the place. ``Passage`` is one call
of a wrapper; it asks ``decide``, and sends the call to the daemon or lets it run here.
"""

import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from mcli import replay
from mcli.errors import DaemonError, DaemonNotRunning, MCLIError, OutcomeUnknown

if TYPE_CHECKING:
    from mcli.decorators import Background

Place = Literal["here", "daemon"]

DETACH: Final = "mcli_detach"
"""The parameter behind ``--detach``: the body is not given it."""

_answers: Final = (str, int, float, bool, type(None))
_passed_here = False
"""A body has run in this process. A replay would run it again, so nothing is routed any more."""


def decide(
    *, inside_job: bool, enabled: bool, auto_route: bool, detach: bool, replayable: bool
) -> Place:
    """Where the body should run, if the daemon takes it."""
    if inside_job or not replayable:
        return "here"
    if detach:
        return "daemon"
    return "daemon" if enabled and auto_route else "here"


class Passage:
    """One call of a wrapper. ``with`` it; if ``here``, the body is to run inside."""

    __slots__ = ("_background", "_detach", "_settled", "here", "value")

    def __init__(self, background: "Background", detach: bool) -> None:
        self._background = background
        self._detach = detach
        self._settled: str | None = None
        self.here = True
        self.value: Any = None

    def __enter__(self) -> "Passage":
        global _passed_here
        ctx = current_context()
        if replay.current is not None:
            if ctx is not None:
                replay.current.arrive(replay.path_of(ctx), fingerprint(ctx))
        elif ctx is not None and not _passed_here:
            self._route(ctx)
            _passed_here = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and replay.current is not None:
            replay.current.leave(self.value)
        if self._settled is not None:
            _note_end(self._settled, error)

    def _route(self, ctx: Any) -> None:
        """Send the call to the daemon; return only if the body is to run here."""
        try:
            place, invocation = self._prepare(ctx)
            if place == "daemon" and invocation is not None:
                self._send(ctx, invocation)
                self._take_back(invocation)
            elif self._detach and not inside_job():
                raise DaemonError(
                    "--detach needs a command that was started from the command line; "
                    "call submit() instead"
                )
        except MCLIError as error:
            _fail(error)

    def _prepare(self, ctx: Any) -> tuple[Place, dict[str, Any] | None]:
        from mcli.settings import Settings

        if inside_job():
            return "here", None
        settings = Settings.load()
        wanted = self._detach or (settings.enabled and self._background.auto_route)
        invocation = describe(ctx, self._background) if wanted else None
        place = decide(
            inside_job=False,
            enabled=settings.enabled,
            auto_route=self._background.auto_route,
            detach=self._detach,
            replayable=invocation is not None,
        )
        return place, invocation

    def _send(self, ctx: Any, invocation: dict[str, Any]) -> None:
        from mcli import attach

        try:
            end = attach.run(invocation, detach=self._detach)
        except DaemonNotRunning:
            if self._detach or not self._background.fallback_to_local:
                raise
            return
        except OutcomeUnknown:
            raise
        except DaemonError as error:
            if self._detach or not self._background.fallback_to_local:
                raise
            sys.stderr.write(f"mcli: {error}; running here\n")
            return
        if end.reached:
            release(ctx)
            end.leave()
        if end.settled:
            self._settled = end.job_id

    def _take_back(self, invocation: dict[str, Any]) -> None:
        """It runs here after all: with what had been taken out of standard input."""
        from mcli import standard_input

        standard_input.unread(invocation["ahead"])


def _note_end(job_id: str, error: BaseException | None) -> None:
    """Tell the store how a job ended that this process took from the daemon."""
    import time

    from mcli.home import Home
    from mcli.store.arbiter import close_local

    code = 0 if error is None else getattr(error, "exit_code", getattr(error, "code", 1))
    code = code if isinstance(code, int) else 0 if code is None else 1
    close_local(Home.find().database, job_id, code, time.time())


def inside_job() -> bool:
    """Whether this process is a job, or was started by one."""
    return "MCLI_JOB_ID" in os.environ


def current_context() -> Any:
    """The context of the innermost command, of Click or of Typer's copy of it; or None."""
    for name in ("click.globals", "typer._click.globals"):
        module = sys.modules.get(name)
        ctx = module.get_current_context(silent=True) if module else None
        if ctx is not None:
            return ctx
    return None


def fingerprint(ctx: Any) -> str:
    """What the user chose for the command, as text: equal in caller and replay."""
    import json

    chosen = {
        name: _plain(value)
        for name, value in sorted(ctx.params.items())
        if getattr(ctx.get_parameter_source(name), "name", "") in ("COMMANDLINE", "ENVIRONMENT")
    }
    return json.dumps(chosen)


def _plain(value: Any) -> Any:
    if isinstance(value, _answers):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return os.fspath(value) if hasattr(value, "__fspath__") else type(value).__qualname__


def describe(ctx: Any, background: "Background") -> dict[str, Any] | None:
    """The running call, as ``invocation.Invocation`` has it; None if none could make it again.

    A plain document: the classes would cost each caller some milliseconds.
    """
    from mcli import program, standard_input, stdio

    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        return None
    found = program.current() if _from_command_line(ctx) else None
    prompted = answers(ctx)
    if found is None or prompted is None:
        return None
    try:
        ahead = standard_input.read_ahead()
    except ValueError:
        return None
    app, argv0, argv = found
    plugs, terminal = stdio.survey()
    mask = os.umask(0)
    os.umask(mask)
    return {
        "name": background.command_name or str(ctx.command_path),
        "app": app,
        "argv": argv,
        "argv0": argv0,
        "cwd": cwd,
        "env": dict(os.environ),
        "umask": mask,
        "stdio": plugs,
        "terminal": terminal,
        "ignored_signals": stdio.ignored_signals(),
        "replay": {
            "path": replay.path_of(ctx),
            "parameters": fingerprint(ctx),
            "prompted": prompted,
        },
        "ahead": ahead,
        "timeout_s": background.timeout,
    }


def _from_command_line(ctx: Any) -> bool:
    """Whether this call is what the program's own command line asked for."""
    import threading

    if threading.current_thread() is not threading.main_thread():
        return False
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return False  # somebody collects the output in this process: a test runner, say
    return sys.stdin is sys.__stdin__ and _parents_are_groups(ctx) and _root_parses(ctx)


def _parents_are_groups(ctx: Any) -> bool:
    """No ancestor is a command whose body has begun, and which a replay would begin again."""
    while ctx.parent is not None:
        ctx = ctx.parent
        if not hasattr(ctx.command, "resolve_command"):
            return False
    return True


def _root_parses(ctx: Any) -> bool:
    """``sys.argv`` leads to this context's branch (``main(["other", "args"])`` does not)."""
    below = None
    while ctx.parent is not None:
        below, ctx = ctx, ctx.parent
    try:
        _, rest, _ = ctx.command.make_parser(ctx).parse_args(args=sys.argv[1:])
        if below is None:
            return True
        if ctx.invoked_subcommand is None:
            return not rest  # the group's own callback invoked it, for want of a subcommand
        return (
            not rest
            or ctx.invoked_subcommand == "*"
            or (str(ctx.command.resolve_command(ctx, rest)[0]) == below.info_name)
        )
    except Exception:  # noqa: BLE001 - a usage error of either Click: not this command line
        return False


def answers(ctx: Any) -> list[list[Any]] | None:
    """[path, parameter, value] of all that was prompted for; None if one cannot be handed over."""
    found: list[list[Any]] = []
    while ctx is not None:
        for parameter in ctx.command.params:
            if getattr(ctx.get_parameter_source(parameter.name), "name", "") != "PROMPT":
                continue
            known, value = _answer(ctx, parameter)
            if not known:
                return None
            found.append([list(replay.path_of(ctx)), parameter.name, value])
        ctx = ctx.parent
    return found


def _answer(ctx: Any, parameter: Any) -> tuple[bool, Any]:
    """The value as JSON, or as text that the parameter's type turns back into it."""
    if parameter.name not in ctx.params:
        return _confirmed(parameter), True
    value = ctx.params[parameter.name]
    if isinstance(value, _answers):
        return True, value
    for text in (str(value), str(getattr(value, "name", value))):
        try:
            if parameter.type.convert(text, parameter, ctx) == value:
                return True, text
        except Exception:  # noqa: BLE001, S112 - a type of the user's own may raise anything
            continue
    return False, None


def _confirmed(parameter: Any) -> bool:
    """Whether it is Click's ``confirmation_option``: whoever came here has said yes."""
    home = getattr(parameter.callback, "__module__", "")
    return bool(getattr(parameter, "is_bool_flag", False)) and home in replay.DECORATORS


def release(ctx: Any) -> None:
    """Let go of what the caller's own process holds: the job has closed its own.

    Callbacks for the end were run by the job; here they would come a second time. What a
    resource says when it is closed was said by the job's. An atomic file of ``click.File``
    must not be closed: that would put it in place, empty.
    """
    from types import MethodType

    from mcli import stdio

    while ctx is not None:
        for value in ctx.params.values():
            draft = getattr(getattr(value, "_f", value), "_tmp_filename", None)
            if draft is not None and os.path.exists(draft):
                os.unlink(draft)
        stack = getattr(ctx, "_exit_stack", None)
        for _, close in reversed(getattr(stack, "_exit_callbacks", ())):
            if isinstance(close, MethodType):
                stdio.mute()
                with suppress(Exception):
                    close(None, None, None)
        ctx = ctx.parent


def _fail(error: MCLIError) -> NoReturn:
    sys.stderr.write(f"mcli: {error}\n")
    sys.stderr.flush()
    raise SystemExit(error.exit_code)
