"""
An app's commands as they are declared: Click's or Typer's objects in, ``endpoint`` words out.

Everything is read from the declarations; no command is called. Used where the app is loaded:
by the process that describes it to the daemon, and by a program that serves its own commands.
"""

import enum
import os
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final, NamedTuple
from uuid import UUID

from mcli.call import is_hidden
from mcli.command_line import by_name, exceptions, meaning, missing
from mcli.endpoint import Command, Endpoint, Param
from mcli.policy import Policy

COUNT_MAX: Final = 100
"""How often a counted flag may be given, unless its type says otherwise."""

Schema = dict[str, Any]


class Found(NamedTuple):
    """A command in an app."""

    target: str
    """Of its root: ``place:attribute``."""

    path: tuple[str, ...]
    command: Any


# Finding --------------------------------------------------------------------------------


def find(names: Mapping[str, Any], place: str, attribute: str | None = None) -> dict[str, Found]:
    """The commands with ``@background`` or ``@api`` that can be reached from a module, by name.

    One that can be reached in several ways is taken by its longest path: with its groups.

    Args:
        names: What the module holds.
        place: The module's name, or its file.
        attribute: The only root to look at; None for all.
    """
    known: dict[int, Found] = {}
    for name, root in list(names.items()):
        if name != (attribute or name) or not _is_root(root):
            continue
        for path, command in _walk(_command_of(root), ()):
            function = _innermost(command.callback)
            before = known.get(id(function))
            if before is None or len(path) > len(before.path):
                known[id(function)] = Found(f"{place}:{name}", path, command)
    return _named(known.values())


def _is_root(found: Any) -> bool:
    if isinstance(found, type):
        return False
    return hasattr(found, "registered_commands") or (
        hasattr(found, "main") and hasattr(found, "params")
    )


def _command_of(root: Any) -> Any:
    """Typer makes its commands from what was registered."""
    if hasattr(root, "registered_commands"):
        return sys.modules["typer"].main.get_command(root)
    return root


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if _told(command):
        yield path, command
    if hasattr(command, "list_commands"):
        ctx = command.context_class(command, info_name=command.name)
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            if child is not None:
                yield from _walk(child, (*path, name))


def _told(command: Any) -> bool:
    callback = getattr(command, "callback", None)
    return _mark(callback, "__mcli__") is not None or bool(_mark(callback, "__mcli_api__"))


def _mark(callback: Any, name: str) -> Any:
    """What the outermost decorator has left: the later ones take over what it knows."""
    while callback is not None:
        if hasattr(callback, name):
            return getattr(callback, name)
        callback = getattr(callback, "__wrapped__", None)
    return None


def _innermost(callback: Any) -> Any:
    while hasattr(callback, "__wrapped__"):
        callback = callback.__wrapped__
    return callback


def _named(found: Iterable[Found]) -> dict[str, Found]:
    named: dict[str, Found] = {}
    for each in found:
        name = " ".join(each.path) or str(each.command.name)
        if name in named:
            name = f"{each.target.rpartition(':')[2]} {name}".strip()
        named[name] = each
    return named


# Describing -----------------------------------------------------------------------------


def describe(name: str, found: Found) -> Command:
    """What is declared of one command."""
    command = found.command
    told = _mark(command.callback, "__mcli__")
    return Command(
        name=name,
        target=found.target,
        path=found.path,
        shown=getattr(told, "command_name", None) or name,
        help=command.help or "",
        params=tuple(_params(command)),
        endpoints=tuple(map(_endpoint, _mark(command.callback, "__mcli_api__") or ())),
        timeout_s=getattr(told, "timeout", None),
        policy=Policy.parse(getattr(told, "policy", {})),
        on_finish=getattr(told, "on_finish", None),
    )


def _endpoint(told: Any) -> Endpoint:
    return Endpoint(
        path=told.path,
        method=told.method,
        background=told.background,
        timeout_s=told.timeout_s,
        description=told.description,
        tags=told.tags,
        public=told.public,
    )


def _params(command: Any) -> Iterator[Param]:
    ctx = command.context_class(command, info_name=command.name, **command.context_settings)
    for name, group in by_name(command).items():
        if all(map(_shows_something, group)):
            continue
        required = _is_required(ctx, group)
        schema = _schema(ctx, group, required=required)
        yield Param(
            name=name,
            kind=group[0].param_type_name,
            schema=schema,
            required=required,
            upload=_is_upload(group[-1]),
            secret=any(map(is_hidden, group)),
            help=next((text for param in group if (text := getattr(param, "help", None))), ""),
        )


def _shows_something(param: Any) -> bool:
    """A flag like ``--version``, which does something else instead, and asks nobody."""
    asks = getattr(param, "prompt", None) is not None
    return getattr(param, "is_flag", False) and not param.expose_value and not asks


def _is_required(ctx: Any, group: list[Any]) -> bool:
    try:
        missing(ctx, group)
    except exceptions(ctx).UsageError:
        return True
    return False


def _is_upload(param: Any) -> bool:
    """A path that can only be a directory is none."""
    is_file = getattr(getattr(param, "type", None), "file_okay", True)
    return is_file and _kind(param).get("format") in ("path", "file")


# JSON Schema ----------------------------------------------------------------------------


def _schema(ctx: Any, group: list[Any], *, required: bool) -> Schema:
    flags = [param for param in group if getattr(param, "is_flag", False)]
    schema = _flags(ctx, flags) if len(flags) == len(group) else _value(group[-1], required)
    default = _default(ctx, group)
    schema |= {} if default is None else {"default": default}
    return schema if required else _or_null(schema)


def _or_null(schema: Schema) -> Schema:
    """An optional parameter may be null: it is left out then."""
    told = {key: schema.pop(key) for key in ("default",) if key in schema}
    return {"anyOf": [schema, {"type": "null"}]} | told


def _flags(ctx: Any, flags: list[Any]) -> Schema:
    flag = flags[-1]
    if getattr(flag, "count", False):
        return _count(flag)
    if getattr(flag, "is_bool_flag", False) and len(flags) == 1:
        return {"type": "boolean"}
    one: Schema = {"enum": [_plain(meaning(ctx, each)) for each in flags]}
    return {"type": "array", "items": one} if flag.multiple else one


def _count(param: Any) -> Schema:
    most = getattr(getattr(param, "type", None), "max", None)
    return {"type": "integer", "minimum": 0, "maximum": COUNT_MAX if most is None else most}


def _value(param: Any, required: bool) -> Schema:
    if getattr(param, "count", False):
        return _count(param)
    one = _kind(param)
    several = getattr(param, "multiple", False)
    least = {"minItems": 1} if required else {}
    if param.nargs == -1:
        one = {"type": "array", "items": one} | least
    elif param.nargs != 1:
        one = _tuple(one, param.nargs)
    return {"type": "array", "items": one} | least if several else one


def _tuple(one: Schema, count: int) -> Schema:
    kinds = one.get("prefixItems", [one] * count)
    return {"type": "array", "prefixItems": kinds, "minItems": count, "maxItems": count}


def _kind(param: Any) -> Schema:
    """Of one value, or with ``prefixItems`` of the several that make one."""
    if hasattr(param, "type"):
        return _click_kind(param.type)
    described = param.type_descriptor  # Typer's
    if described.file_annotation is not None:
        return {"type": "string", "format": "file"}
    return _annotated(described.annotation) | _bounds(param.min, param.max)


def _click_kind(kind: Any) -> Schema:
    names = [each.__name__ for each in type(kind).__mro__]
    for name, make in _CLICK.items():
        if name in names:
            schema: Schema = make(kind)
            return schema
    return {"type": "string"}


def _bounds(least: Any, most: Any, *, over: bool = False, under: bool = False) -> Schema:
    found = {
        "exclusiveMinimum" if over else "minimum": least,
        "exclusiveMaximum" if under else "maximum": most,
    }
    return {key: value for key, value in found.items() if value is not None}


def _range(name: str) -> Any:
    def make(kind: Any) -> Schema:
        limits = {} if kind.clamp else _bounds(
            kind.min, kind.max, over=kind.min_open, under=kind.max_open
        )  # fmt: skip
        return {"type": name} | limits

    return make


def _choice(kind: Any) -> Schema:
    return {"enum": [each.name if isinstance(each, enum.Enum) else each for each in kind.choices]}


def _moment(kind: Any) -> Schema:
    return {"type": "string", "description": "One of: " + ", ".join(kind.formats)}


_CLICK: Final[dict[str, Any]] = {
    "Tuple": lambda kind: {"prefixItems": [_click_kind(each) for each in kind.types]},
    "Choice": _choice,
    "IntRange": _range("integer"),
    "FloatRange": _range("number"),
    "IntParamType": lambda _: {"type": "integer"},
    "FloatParamType": lambda _: {"type": "number"},
    "BoolParamType": lambda _: {"type": "boolean"},
    "UUIDParameterType": lambda _: {"type": "string", "format": "uuid"},
    "DateTime": _moment,
    "File": lambda _: {"type": "string", "format": "file"},
    "Path": lambda _: {"type": "string", "format": "path"},
}
"""By the name of the class: Typer has classes of its own that are called the same."""

_PLAIN: Final[dict[type, Schema]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string"},
}


def _annotated(annotation: Any) -> Schema:
    """Of a type as Typer's functions name it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _annotated(next(each for each in inner if each is not type(None)))
    if origin is tuple:
        return {"prefixItems": [_annotated(each) for each in inner]}
    if origin in (list, set) and inner:
        return _annotated(inner[0])
    if origin is typing.Literal:
        return {"enum": list(inner)}
    return _class(annotation) if isinstance(annotation, type) else {"type": "string"}


def _class(annotation: type) -> Schema:
    if issubclass(annotation, enum.Enum):
        return {"enum": [each.value for each in annotation]}
    if issubclass(annotation, PurePath):
        return {"type": "string", "format": "path"}
    return dict(_PLAIN.get(annotation, {"type": "string"}))


# Defaults -------------------------------------------------------------------------------


def _default(ctx: Any, group: list[Any]) -> Any:
    for param in group:
        value = param.get_default(ctx, call=False)
        if not callable(value) and not is_hidden(param) and (known := _plain(value)) is not None:
            return known
    return None


def _plain(value: Any) -> Any:
    """As JSON has it; None for what it cannot have, and for Click's mark of an absent value."""
    if isinstance(value, enum.Enum):
        return None if "UNSET" in value.name else _plain(value.value)
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return None if None in items or not items else items
    return os.fspath(value) if isinstance(value, PurePath) else None
