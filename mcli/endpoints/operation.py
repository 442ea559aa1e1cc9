"""
An endpoint in OpenAPI's words: where its parameters stand, and what may be answered.
"""

from collections.abc import Iterable
from typing import Any, Final

from mcli.endpoint import Param
from mcli.endpoints.mount import Mount, depth, without_null
from mcli.endpoints.schema import JOB, Schema
from mcli.problem import MEDIA_TYPE

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"

BEARER: Final = "bearer"
"""Name of the security scheme."""

_TEXT: Final = {"type": "string"}

PROBLEM: Final[Schema] = {
    "type": "object",
    "title": "Problem",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": _TEXT,
    },
    "required": ["type", "title", "status", "detail", "code"],
}

WRONG: Final[Schema] = PROBLEM | {
    "properties": PROBLEM["properties"]
    | {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"parameter": _TEXT, "message": _TEXT},
                "required": ["parameter", "message"],
            },
        }
    }
}


def _header(name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": schema}


KEY: Final = _header("Idempotency-Key", {"type": "string", "pattern": "^[ -~]{1,255}$"})
PREFER: Final = _header("Prefer", {"type": "string", "examples": ["wait=10"]})

REFUSALS: Final = {
    "400": "The body ends before it is whole.",
    "401": "No token, or not the daemon's.",
    "409": "The request contradicts the state of something.",
    "413": "The body is too large.",
    "415": "The body is of a media type that is not read here.",
    "422": "Parameters are missing or wrong: an entry for each in errors.",
    "500": "The command failed.",
    "503": "The app cannot be loaded, or the daemon takes no jobs now.",
    "504": "The command ran for longer than it may.",
    "default": "Anything else that is wrong.",
}


def operation(mount: Mount, *, operation_id: str, bearer: bool) -> dict[str, Any]:
    """The operation object. With *bearer* the token is asked for, unless it is public."""
    command, endpoint = mount.command, mount.endpoint
    secured = bearer and not endpoint.public
    told: dict[str, Any] = {
        "operationId": operation_id,
        "summary": command.shown or command.name,
        "description": endpoint.description or command.help,
        "tags": list(endpoint.tags or (mount.app,)),
        "parameters": _parameters(mount),
        "responses": _responses(mount, secured=secured),
    }
    if not mount.in_query:
        told["requestBody"] = _body(list(mount.others()))
    if bearer:
        told["security"] = [{BEARER: []}] if secured else []
    return told


def _parameters(mount: Mount) -> list[dict[str, Any]]:
    inside = [mount.command.param(name) for name in mount.placeholders()]
    found = [_parameter(param, "path") for param in inside if param is not None]
    if mount.in_query:
        found += [_parameter(param, "query") for param in mount.others()]
    else:
        found.append(KEY)
    if mount.endpoint.background:
        found.append(PREFER)
    return found


def _parameter(param: Param, place: str) -> dict[str, Any]:
    schema = without_null(param.schema)
    if place == "path" and schema.get("type") == "string":
        schema |= {"minLength": 1, "pattern": "^[^/]+$"}
    required = param.required or place == "path"
    told = {"name": param.name, "in": place, "required": required, "schema": schema}
    return told | ({"description": param.help} if param.help else {})


def _body(params: list[Param]) -> dict[str, Any]:
    content = {JSON: {"schema": _object(params, {p.name: p.schema for p in params})}}
    if any(param.upload for param in params):
        fields = [param for param in params if depth(param.schema) < 2]
        content[FORM] = {"schema": _object(fields, {p.name: _field(p) for p in fields})}
    return {"required": any(param.required for param in params), "content": content}


def _object(params: Iterable[Param], schemas: dict[str, Schema]) -> Schema:
    told = {p.name: {"description": p.help} if p.help else {} for p in params}
    return {
        "type": "object",
        "properties": {name: schema | told[name] for name, schema in schemas.items()},
        "required": [p.name for p in params if p.required],
        "additionalProperties": False,
    }


def _field(param: Param) -> Schema:
    """A form's field: a file's content, or the text of a value."""
    if not param.upload:
        return without_null(param.schema)
    content = {"type": "string", "format": "binary"}
    return content if depth(param.schema) == 0 else {"type": "array", "items": content}


def _responses(mount: Mount, *, secured: bool) -> dict[str, Any]:
    responses = {
        status: response(text, WRONG if status == "422" else PROBLEM, MEDIA_TYPE)
        for status, text in REFUSALS.items()
        if secured or status != "401"
    }
    if not mount.endpoint.background:
        return {"200": response("What the command returned.", {})} | responses
    done = response("The job, which has ended in the time that the caller would wait.", JOB)
    return {"200": done, "202": response("The job, accepted.", JOB)} | responses


def response(text: str, schema: Schema, media_type: str = JSON) -> dict[str, Any]:
    """The response object for one status."""
    return {"description": text, "content": {media_type: {"schema": schema}}}
