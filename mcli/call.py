"""
The running call of a command, described so that another process can make it again.

``describe`` answers None when none could: the call did not come from the program's own
command line, or its user was asked for something that cannot be handed over.
"""

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mcli import replay

if TYPE_CHECKING:
    from mcli.decorators import Background

_ANSWERS: Final = (str, int, float, bool, type(None))
"""Types of values that JSON carries as they are."""


def describe(ctx: Any, background: "Background", timeout_s: float | None) -> dict[str, Any] | None:
    """The running call, as ``invocation.Invocation`` has it; None if none could make it again.

    A plain document: the classes would cost each caller some milliseconds.
    """
    from mcli import program, standard_input, stdio
    from mcli.surroundings import surroundings

    try:
        around = surroundings()
    except FileNotFoundError:
        return None
    found = program.current() if _from_command_line(ctx) else None
    prompted = answers(ctx)
    if found is None or prompted is None:
        return None
    try:
        ahead = standard_input.read_ahead()  # last: what is taken out has to go along
    except ValueError:
        return None
    app, argv0, argv = found
    plugs, terminal = stdio.survey()
    return {
        **around,
        "name": background.command_name or str(ctx.command_path),
        "app": app,
        "argv": argv,
        "argv0": argv0,
        "stdio": plugs,
        "terminal": terminal,
        "replay": {
            "path": replay.path_of(ctx),
            "parameters": fingerprint(ctx),
            "prompted": prompted,
        },
        "ahead": ahead,
        "timeout_s": timeout_s,
        "policy": background.policy,
        "on_finish": background.on_finish,
        "secrets": secrets(ctx),
    }


def _from_command_line(ctx: Any) -> bool:
    """Whether this call is what the program's own command line asked for."""
    import threading

    if threading.current_thread() is not threading.main_thread():
        return False
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return False  # somebody collects the output in this process: a test runner, say
    return sys.stdin is sys.__stdin__ and _parents_are_groups(ctx) and _argv_leads_to(ctx)


def _parents_are_groups(ctx: Any) -> bool:
    """No ancestor is a command whose body has begun, and which a replay would begin again."""
    while ctx.parent is not None:
        ctx = ctx.parent
        if not hasattr(ctx.command, "resolve_command"):
            return False
    return True


def _argv_leads_to(ctx: Any) -> bool:
    """``sys.argv`` is what was parsed, and not ``cli(["other", "words"])`` of some program.

    Such a program may have begun anything before, which a replay would begin again.
    """
    below = None
    while ctx.parent is not None:
        below, ctx = ctx, ctx.parent
    given = _was_given_words(ctx.command)
    if given:
        return False
    try:
        chosen, rest, _ = ctx.command.make_parser(ctx).parse_args(args=sys.argv[1:])
        if given is None and not _same_choice(ctx, chosen, rest):
            return False
        if below is None:
            return True
        if ctx.invoked_subcommand is None:  # the group's own callback invoked it, for want of one
            return not rest
        found = str(ctx.command.resolve_command(ctx, rest)[0])
        return bool(ctx.invoked_subcommand == "*" or found == below.info_name)
    except Exception:  # noqa: BLE001 - a usage error of either Click: not this command line
        return False


def _was_given_words(root: Any) -> bool | None:
    """Whether ``cli(...)`` was called with words to parse; None if it was not called so."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        told = frame.f_locals
        if frame.f_code.co_name == "__call__" and told.get("self") is root and "args" in told:
            return bool(told["args"]) or told.get("kwargs", {}).get("args") is not None
    return None


def _same_choice(ctx: Any, chosen: dict[str, Any], rest: list[str]) -> bool:
    """With ``cli.main(...)``: the command line has something on it, and it is what was parsed."""
    given = {
        param.name: _plain(ctx.params[param.name])
        for param in ctx.command.params
        if param.name in ctx.params
        and getattr(ctx.get_parameter_source(param.name), "name", "") == "COMMANDLINE"
    }
    typed = {
        param.name: _plain(param.type_cast_value(ctx, chosen[param.name]))
        for param in ctx.command.params
        if param.name in ctx.params and _is_typed(chosen.get(param.name))
    }
    return bool(given or rest) and given == typed


def _is_typed(value: Any) -> bool:
    """Click marks what is absent with None, or since 8.3 with an object of its own."""
    return value is not None and "UNSET" not in repr(value)


def answers(ctx: Any) -> list[list[Any]] | None:
    """All that was prompted for, as ``invocation.Replay.prompted``; None if one cannot go along."""
    found: list[list[Any]] = []
    while ctx is not None:
        for parameter in ctx.command.params:
            if getattr(ctx.get_parameter_source(parameter.name), "name", "") != "PROMPT":
                continue
            known, value = _answer(ctx, parameter)
            if not known:
                return None
            hidden = bool(getattr(parameter, "hide_input", False))
            found.append([list(replay.path_of(ctx)), parameter.name, value, hidden])
        ctx = ctx.parent
    return found


def secrets(ctx: Any) -> list[str]:
    """Values that were given, by whatever way, and are to be shown to nobody."""
    found: list[str] = []
    while ctx is not None:
        for param in ctx.command.params:
            source = getattr(ctx.get_parameter_source(param.name), "name", "")
            if source in ("COMMANDLINE", "PROMPT", "ENVIRONMENT") and is_hidden(param):
                found += texts(ctx.params.get(param.name))
        ctx = ctx.parent
    return found


def is_hidden(param: Any) -> bool:
    """Whether the values of a parameter are secrets.

    Its own words say so (``hide_input``, ``hidden``), or its name, or that of its variable.
    """
    from mcli.secret import is_secret

    if getattr(param, "hide_input", False) or getattr(param, "hidden", False):
        return True
    variables = getattr(param, "envvar", None) or ()
    variables = (variables,) if isinstance(variables, str) else variables
    return any(map(is_secret, (param.name or "", *variables)))


def texts(value: Any) -> list[str]:
    """What a person would have typed for it."""
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in texts(each)]
    return [] if value is None or value == "" or isinstance(value, bool) else [str(value)]


def _answer(ctx: Any, parameter: Any) -> tuple[bool, Any]:
    """The value as JSON, or as text that the parameter's type turns back into it."""
    if parameter.name not in ctx.params:
        return _confirmed(parameter), True
    value = ctx.params[parameter.name]
    if isinstance(value, _ANSWERS):
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
    if isinstance(value, _ANSWERS):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return os.fspath(value) if hasattr(value, "__fspath__") else type(value).__qualname__
