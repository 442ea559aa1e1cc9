"""
The parameters of a request, checked by the command that they are for.

JSON's types are checked here, everything else by the command's own types and in Click's own
words. Used where the app is loaded.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcli.command_line import by_name, exceptions, read
from mcli.description import Found
from mcli.endpoint import Checked, Command, Param
from mcli.errors import MCLIError

Texts = Mapping[str, Sequence[str]]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_BOOLEANS: Final = {"true": True, "false": False}
_CALLED: Final = {
    "integer": "integer",
    "number": "float",
    "boolean": "boolean",
    "string": "string",
    "array": "list",
}
"""What Click calls JSON's types."""


class Wrong(Exception):
    """A value is not of the type that its parameter has."""


def check(found: Found, told: Command, values: Mapping[str, Any], texts: Texts) -> Checked:
    """The words for a request's parameters, or what is wrong with each.

    Args:
        found: The command.
        told: Its description.
        values: From a JSON document. None leaves a parameter out.
        texts: From a path, a query or a form: all that were given under a name.
    """
    given: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in [*values, *texts]:
        param = told.param(name)
        try:
            if param is None:
                raise Wrong(_unknown(name, told))
            given[name] = _value(param, values[name]) if name in values else _of(param, texts[name])
        except Wrong as error:
            errors[name] = _said(found.command, name, str(error))
    words, wrong = read(found.command, {k: v for k, v in given.items() if v is not None})
    for name, problem in wrong.items():
        errors.setdefault(name, _in_clicks_words(problem))
    if errors:
        listed = [{"parameter": name, "message": text} for name, text in errors.items()]
        return Checked(errors=listed)
    return Checked(words=[*found.path, *words], secrets=list(_secrets(told, given)))


def _unknown(name: str, told: Command) -> str:
    known = ", ".join(param.name for param in told.params) or "none"
    return f"{told.name} has no parameter {name!a}; it has: {known}"


def _said(command: Any, name: str, text: str) -> str:
    """As Click says it of a value of its own command line."""
    group = by_name(command).get(name)
    if group is None:
        return text
    ctx = command.context_class(command, info_name=command.name)
    return _in_clicks_words(exceptions(ctx).BadParameter(text, ctx=ctx, param=group[-1]))


def _in_clicks_words(error: Exception) -> str:
    if hasattr(error, "format_message"):
        return str(error.format_message())
    return str(error) if isinstance(error, MCLIError) else f"{type(error).__name__}: {error}"


def _secrets(told: Command, given: Mapping[str, Any]) -> Iterator[str]:
    for param in told.params:
        if param.secret:
            yield from _leaves(given.get(param.name))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


# JSON -----------------------------------------------------------------------------------


def _value(param: Param, value: Any) -> Any:
    return None if value is None else _fitting(_inner(param.schema), value)


def _inner(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the null that an optional one may be."""
    inner: Mapping[str, Any] = schema["anyOf"][0] if "anyOf" in schema else schema
    return inner


def _fitting(schema: Mapping[str, Any], value: Any) -> Any:
    """*value* if it is of the schema's type, its number as the type has it.

    Raises:
        Wrong: It is not.
    """
    if "enum" in schema:
        kinds = {type(each) for each in schema["enum"]}
        return value if type(value) in kinds else _not_a("value", value)
    kind = schema["type"]
    if kind == "array":
        return _items(schema, value)
    if kind == "string":
        return _text(value)
    if kind == "integer":
        return _integer(schema, value)
    if kind == "number":
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if number and math.isfinite(value) else _not_a(kind, value)
    return value if isinstance(value, bool) else _not_a(kind, value)


def _integer(schema: Mapping[str, Any], value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool):
        _not_a("integer", value)
    most = schema.get("maximum", value)
    if value > most:  # before a counted flag is written out so often
        raise Wrong(f"{int(value)} is not in the range {_range(schema)}.")
    return int(value)


def _range(schema: Mapping[str, Any]) -> str:
    least = f"{schema['minimum']}<=" if "minimum" in schema else ""
    least = f"{schema['exclusiveMinimum']}<" if "exclusiveMinimum" in schema else least
    return f"{least}x<={schema['maximum']}"


def _items(schema: Mapping[str, Any], value: Any) -> Any:
    if not isinstance(value, list):
        return _not_a("array", value)
    kinds = schema.get("prefixItems")
    if kinds is None:
        return [_fitting(schema["items"], item) for item in value]
    if len(value) != len(kinds):
        count = f"{len(value)} was" if len(value) == 1 else f"{len(value)} were"
        raise Wrong(f"Takes {len(kinds)} values but {count} given.")
    return [_fitting(kind, item) for kind, item in zip(kinds, value, strict=True)]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _not_a("string", value)
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Wrong(f"{value!a} has a character that no command line can hold")
    text: str = value
    return text


def _not_a(kind: str, value: Any) -> Any:
    shown = repr(value) if isinstance(value, str) else json.dumps(value)
    raise Wrong(f"{shown} is not a valid {_CALLED.get(kind, kind)}.")


# Texts ----------------------------------------------------------------------------------


def _of(param: Param, texts: Sequence[str]) -> Any:
    schema = _inner(param.schema)
    if schema.get("type") != "array":
        if len(texts) != 1:
            raise Wrong(f"is given {len(texts)} times; it takes one value")
        return _fitting(schema, _read(schema, texts[0]))
    kinds = schema.get("prefixItems") or [schema["items"]] * len(texts)
    pairs = [_read(kind, text) for kind, text in zip(kinds, texts, strict=False)]
    return _fitting(schema, [*pairs, *texts[len(pairs) :]])


def _read(schema: Mapping[str, Any], text: str) -> Any:
    """What *text* stands for; *text* itself if that is nothing of this type."""
    if "enum" in schema:
        return next((each for each in schema["enum"] if str(each) == text), text)
    kind = schema["type"]
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "boolean":
        return _BOOLEANS.get(text.lower(), text)
    if kind == "number":
        try:
            return float(text)
        except ValueError:
            return text
    return text
