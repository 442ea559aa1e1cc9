"""
The documents of jobs and attempts as JSON Schema, made from their fields.

For the OpenAPI documents: of endpoints, and of the daemon's own routes.
"""

from enum import Enum
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from mcli.job import KEYS, AttemptInfo, JobInfo

Schema = dict[str, Any]

_WORDS: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _of(key: str, hint: Any) -> Schema:
    choices = get_args(hint)
    if hint is Any:
        return {}
    if NoneType in choices:
        (inner,) = (each for each in choices if each is not NoneType)
        return {"anyOf": [_of(key, inner), {"type": "null"}]}
    if key.endswith("_at"):
        return {"type": "string", "format": "date-time"}
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(choices)}
    if get_origin(hint) is list:
        return {"type": "array", "items": _of("", *choices)}
    if issubclass(hint, Enum):
        return {"type": "string", "enum": [each.value for each in hint]}
    return {"type": _WORDS[hint]}


def _object(title: str, hints: dict[str, Any]) -> Schema:
    return {
        "type": "object",
        "title": title,
        "properties": {key: _of(key, hint) for key, hint in hints.items()},
        "required": list(hints),
    }


def _hints() -> dict[str, Any]:
    run_s = vars(JobInfo)["run_s"].fget  # a property
    return get_type_hints(JobInfo) | {"run_s": get_type_hints(run_s)["return"]}


JOB: Final = _object("Job", {key: _hints()[key] for key in KEYS})
JOBS: Final[Schema] = {"type": "array", "items": JOB}

_ATTEMPT: Final = _object("Attempt", get_type_hints(AttemptInfo))
ATTEMPTS: Final[Schema] = {"type": "array", "items": _ATTEMPT}
