"""
Parameters of a Click or Typer command as the words that one would type.

The values are checked by the command's own types. The words are ``--option=value``, and
``--`` before arguments, so that a value can never become an option. They are read back by
the command's own parser and types: what would arrive as something else is refused. Files
are not opened for it, see ``filename``.
"""

import enum
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from mcli.errors import RequestError
from mcli.filename import FileName, openings
from mcli.routing import DETACH


class Written(NamedTuple):
    """The words for one parameter."""

    param: Any
    words: list[str]
    texts: Any = None
    """What the parser is to read out of them: a text, or tuples of texts. None for flags."""


def command_line(command: Any, params: dict[str, Any]) -> list[str]:
    """*params* as words that Click parses back into the same values. None leaves one out.

    Raises:
        TypeError: The command has no such parameter.
        click.UsageError: A value is missing or wrong, or no words stand for it.
        RequestError: A flag cannot be turned off.
    """
    for name in params:
        check_known(command, name)
    words, wrong = read(command, params)
    for error in wrong.values():
        raise error
    return words


def check_known(command: Any, name: str) -> None:
    """Raise TypeError unless the command has a parameter of that name."""
    groups = by_name(command)
    if name not in groups:
        names = ", ".join(groups) or "none"
        raise TypeError(f"{command.name} has no parameter {name!r}; it has: {names}")


def read(command: Any, params: dict[str, Any]) -> tuple[list[str], dict[str, Exception]]:
    """The words for *params*, and what is wrong, by parameter. The words are whole if nothing is.

    What is wrong is a ``click.UsageError``, a ``RequestError`` for a flag that cannot be
    turned off, or what a type of the user's own has raised.
    """
    found: dict[str, Written] = {}
    wrong: dict[str, Exception] = {}
    ctx = command.context_class(command, info_name=command.name, **command.context_settings)
    with ctx:  # closes what a type of the user's own has opened
        for name, group in by_name(command).items():
            try:
                found[name] = _write(ctx, group, params.get(name))
            except Exception as error:  # noqa: BLE001 - a type of the user's own may raise anything
                wrong[name] = error
        words = _joined(found.values())
        misread = None if wrong else _misread(ctx, found, words)
        if misread is not None:
            wrong[misread] = _unsayable(ctx, found[misread].param, params.get(misread))
    return words, wrong


def by_name(command: Any) -> dict[str, list[Any]]:
    """The parameters by name. Flags may share one: each stands for a value of its own."""
    found: dict[str, list[Any]] = {}
    for param in command.params:
        if param.name != DETACH:
            found.setdefault(param.name, []).append(param)
    return found


def _joined(found: Iterable[Written]) -> list[str]:
    options: list[str] = []
    arguments: list[str] = []
    for written in found:
        of_kind = arguments if written.param.param_type_name == "argument" else options
        of_kind += written.words
    return [*options, "--", *arguments] if arguments else options


def _misread(ctx: Any, found: dict[str, Written], words: list[str]) -> str | None:
    """The first parameter that the parser does not find in *words* as it was written."""
    texts = _parsed(ctx, words)
    if texts is not None:
        return next((name for name in found if not _is_read(found[name], texts.get(name))), None)
    # A value became an option, and there is no such option: whose value?
    alone = (name for name in found if _parsed(ctx, _joined([found[name]])) is None)
    return next(alone, next(iter(found)))


def _parsed(ctx: Any, words: list[str]) -> Any:
    """What the parser reads, by parameter; None if it would refuse the words."""
    try:
        return ctx.command.make_parser(ctx).parse_args(list(words))[0]
    except exceptions(ctx).UsageError:
        return None


def _is_read(written: Written, read: Any) -> bool:
    """Whether the parser finds the texts where they belong, and none where none belongs."""
    if not written.words:
        return _is_absent(written.param, read)
    return written.texts is None or bool(_rows(read) == written.texts)


def _is_absent(param: Any, value: Any) -> bool:
    # Click tells an absent value from None by a mark of its own since 8.3.
    return value is None or bool(param.value_is_missing(value))


# One parameter --------------------------------------------------------------------------


def _write(ctx: Any, group: list[Any], given: Any) -> Written:
    param = next((each for each in reversed(group) if not _is_flag(each)), group[-1])
    if given is None:
        missing(ctx, group)
        return Written(param, [])
    value = _rows(given) if _is_many(param) else given
    wanted = _converted(ctx, param, value)
    written = _write_flag(ctx, group, wanted) or _write_value(ctx, param, value, wanted)
    if not written.words:
        missing(ctx, group)
        if _left_out(ctx, param) != wanted:
            raise _unsayable(ctx, param, given)
    return written


def missing(ctx: Any, group: list[Any]) -> None:
    """Nothing is given: the environment or a default must do, since a job can ask nobody.

    Raises:
        click.MissingParameter: Neither does.
    """
    if any(param.value_from_envvar(ctx) is not None for param in group):
        return
    for param in group:
        absent = param.required and _is_absent(param, param.get_default(ctx))
        asks = getattr(param, "prompt", None) is not None
        if absent or (asks and (param.required or param.prompt_required)):
            raise exceptions(ctx).MissingParameter(ctx=ctx, param=param)


def _left_out(ctx: Any, param: Any) -> Any:
    """The value of a parameter that is not on the command line."""
    value = param.value_from_envvar(ctx)
    value = param.get_default(ctx) if value is None else value
    return _converted(ctx, param, None if _is_absent(param, value) else value)


def _converted(ctx: Any, param: Any, value: Any) -> Any:
    value = _unopened(ctx, param, openings(param), value)
    if hasattr(param, "type_cast_value"):
        return param.type_cast_value(ctx, value)
    # Typer's parameters leave it to another object.
    return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _unopened(ctx: Any, param: Any, opening: Any, value: Any) -> Any:
    """*value* with names in the place of files, which are checked, and not opened."""
    if opening is None or value is None:
        return value
    if isinstance(value, (tuple, list)):
        row = isinstance(opening, tuple) and not any(isinstance(each, tuple) for each in value)
        kinds = opening if row else [opening] * len(value)
        if len(kinds) != len(value):
            return value  # of which Click says so
        return tuple(map(partial(_unopened, ctx, param), kinds, value))
    if isinstance(opening, tuple) or not _is_text(value):
        return value
    name = FileName(os.fsdecode(value))
    try:
        opening.check(name)
    except OSError as error:
        shown = os.fsencode(name).decode(errors="replace")
        raise exceptions(ctx).BadParameter(
            f"'{shown}': {error.strerror}", ctx=ctx, param=param
        ) from error
    return name


def exceptions(ctx: Any) -> Any:
    """Those of Click, or of Typer's copy of it."""
    return sys.modules[type(ctx).__mro__[-2].__module__.replace(".core", ".exceptions")]


def _unsayable(ctx: Any, param: Any, given: Any) -> Exception:
    error: Exception = exceptions(ctx).BadParameter(
        f"{given!r} cannot be given on a command line", ctx=ctx, param=param
    )
    return error


# Flags ----------------------------------------------------------------------------------


def _is_flag(param: Any) -> bool:
    return bool(getattr(param, "is_flag", False))


def _write_flag(ctx: Any, group: list[Any], wanted: Any) -> Written | None:
    """The flags that stand for the value; no words if it is what no flag means."""
    flags = [param for param in group if _is_flag(param)]
    words: list[str] = []
    for item in wanted if flags and flags[0].multiple else [wanted]:
        words += next((word for flag in flags if (word := _flag(ctx, flag, item))), [])
    if not words and len(flags) < len(group):
        return None
    param = flags[-1]
    if not words and getattr(param, "is_bool_flag", False) and _left_out(ctx, param) is True:
        raise RequestError(f"{_longest(param.opts)} has no counterpart that turns it off")
    return Written(param, words)


def _flag(ctx: Any, flag: Any, wanted: Any) -> list[str]:
    if flag.secondary_opts:
        names = flag.opts if wanted else flag.secondary_opts
        return [_longest(names)] if names else []
    return [_longest(flag.opts)] if meaning(ctx, flag) == wanted else []


def meaning(ctx: Any, flag: Any) -> Any:
    """The value of a flag that is given."""
    value = getattr(flag, "flag_activation_value", getattr(flag, "flag_value", True))
    one = (value,) if flag.multiple else value
    converted = _converted(ctx, flag, one)
    return converted[0] if flag.multiple else converted


def _longest(names: list[str]) -> str:
    return max(names, key=len)


# Values ---------------------------------------------------------------------------------


def _write_value(ctx: Any, param: Any, value: Any, wanted: Any) -> Written:
    if getattr(param, "count", False):
        return Written(param, [_longest(param.opts)] * wanted)
    texts = _texts(ctx, param, value)
    if texts != value and not _is_same(value, wanted, _read(ctx, param, texts, value)):
        raise _unsayable(ctx, param, value)
    if param.param_type_name == "argument":
        return Written(param, [*texts] if param.nargs != 1 else [texts], texts)
    return Written(param, [*_option(param, texts)], texts)


def _read(ctx: Any, param: Any, texts: Any, value: Any) -> Any:
    try:
        return _converted(ctx, param, texts)
    except exceptions(ctx).UsageError as error:
        raise _unsayable(ctx, param, value) from error


def _is_same(value: Any, wanted: Any, read: Any) -> bool:
    """Whether the words mean the value. A text means itself, whatever is made of it."""
    if _is_text(value):
        return True
    if isinstance(value, tuple) and isinstance(wanted, (tuple, list)):
        return all(map(_is_same, value, wanted, read))
    return type(wanted) is type(read) and bool(wanted == read)


def _option(param: Any, texts: Any) -> Iterator[str]:
    name = _longest(param.opts)
    for row in texts if param.multiple else [texts]:
        if param.nargs != 1:
            yield from (name, *row)
        elif len(name) > 2:
            yield f"{name}={row}"
        else:  # a short one
            yield from [f"{name}{row}"] if row else [name, ""]


def _is_many(param: Any) -> bool:
    return getattr(param, "multiple", False) or param.nargs != 1


def _rows(value: Any) -> Any:
    """Lists and the like as tuples, so that they can be read twice."""
    many = isinstance(value, Iterable) and not _is_text(value) and not isinstance(value, enum.Enum)
    return tuple(map(_rows, value)) if many else value


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike)) and not isinstance(value, enum.Enum)


def _texts(ctx: Any, param: Any, value: Any) -> Any:
    """The value, each part of it as it would be typed."""
    if not (isinstance(value, tuple) and _is_many(param)):
        return _text(ctx, param, param.type if hasattr(param, "type") else None, value)
    if param.nargs != 1 and getattr(param, "multiple", False):
        return tuple(_row(ctx, param, row) for row in value)
    return _row(ctx, param, value)


def _row(ctx: Any, param: Any, row: Any) -> Any:
    kind = getattr(param, "type", None)
    kinds = getattr(kind, "types", None) or [kind] * len(row)
    return tuple(_text(ctx, param, each, item) for each, item in zip(kinds, row, strict=True))


def _text(ctx: Any, param: Any, kind: Any, value: Any) -> str:
    if isinstance(value, (bytes, os.PathLike)):
        return os.fsdecode(value)
    if _is_text(value):
        return str(value)
    if hasattr(kind, "normalize_choice"):  # Click's Choice
        return str(kind.normalize_choice(value, ctx))
    if isinstance(value, enum.Enum):
        return str(value.value)
    return _moment(param, kind, value) if isinstance(value, datetime) else str(value)


def _moment(param: Any, kind: Any, value: datetime) -> str:
    """In the first of the formats that loses nothing, else in the first; else as ISO 8601."""
    info = getattr(getattr(param, "type_descriptor", None), "parameter_info", None)
    formats = getattr(kind, "formats", None) or getattr(info, "formats", None)
    texts = {each: value.strftime(each) for each in formats or ()}
    exact = [text for each, text in texts.items() if datetime.strptime(text, each) == value]  # noqa: DTZ007
    return next(iter([*exact, *texts.values()]), value.isoformat())
