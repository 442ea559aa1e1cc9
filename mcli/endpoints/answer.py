"""
What is answered: a job's result or its document, or a problem that tells what went wrong.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from mcli.endpoint import Command
from mcli.endpoints.mount import Mount
from mcli.errors import (
    AppBroken,
    BadParameters,
    Conflict,
    InvalidTransition,
    MCLIError,
    RequestError,
    UnknownApp,
    UnknownCommand,
    UnknownJob,
    WrongMedia,
)
from mcli.problem import MEDIA_TYPE, problem
from mcli.states import FINAL, Reason, State

Document = dict[str, Any]

STATUS: Final[dict[type[MCLIError], int]] = {
    UnknownJob: 404,
    UnknownApp: 404,
    UnknownCommand: 404,
    InvalidTransition: 409,
    Conflict: 409,
    WrongMedia: 415,
    RequestError: 422,
    MCLIError: 503,
}
"""The HTTP status of an error: that of its nearest ancestor here."""

RETRY_S: Final = 1
"""Seconds after which it is worth asking for a job again."""

USAGE: Final = 2
"""Exit code of a command that was called wrongly."""

_CLICKS: Final = "Error: "
"""How Click begins the line in which it tells its user what is wrong."""

_NAMED: Final = re.compile(r"'-*([\w-]+)'")


def is_final(job: Mapping[str, Any]) -> bool:
    """Whether the job has ended, by its document."""
    return State(job["state"]) in FINAL


def refused(error: MCLIError, *, public: bool = False) -> Response:
    """The problem document of an error; the *public* is not shown what an app looks like inside."""
    status = next(STATUS[each] for each in type(error).__mro__ if each in STATUS)
    if public and isinstance(error, AppBroken):
        error = AppBroken("the app of this endpoint cannot be loaded now")
    more: Document = {}
    if isinstance(error, BadParameters):
        more["errors"] = error.errors
    if isinstance(error, AppBroken) and error.traceback:
        more["traceback"] = error.traceback
    return _problem(error.code, status, str(error), more)


def accepted(job: Document, applied: str | None) -> Response:
    """The job's document: 200 if it has ended, 202 until then."""
    headers = {"Location": f"/v1/jobs/{job['id']}"}
    if applied is not None:
        headers["Preference-Applied"] = applied
    if is_final(job):
        return JSONResponse(job, 200, headers)
    return JSONResponse(job, 202, headers | {"Retry-After": str(RETRY_S)})


def returned(job: Document, mount: Mount, last_words: str) -> Response:
    """What the command of an ended job has returned, or the problem that it came to."""
    headers = {"Mcli-Job-Id": job["id"]}
    if job["state"] != State.SUCCEEDED:
        return _failed(job, mount, last_words, headers)
    if job["error"] is not None:
        return _problem("result_not_json", 500, job["error"], {"job": job["id"]}, headers)
    return JSONResponse(job["result"], 200, headers)


def _failed(job: Document, mount: Mount, last_words: str, headers: dict[str, str]) -> Response:
    about = {"job": job["id"], "exit_code": job["exit_code"]}
    if job["reason"] == Reason.TIMEOUT:
        limit = f"{job['timeout_s']:g} s" if job["timeout_s"] else "its limit"
        detail = f"the command ran for longer than it may: {limit}"
        return _problem("job_timed_out", 504, detail, about, headers)
    said = last_words.removeprefix(_CLICKS) if last_words.startswith(_CLICKS) else None
    if job["exit_code"] == USAGE and said is not None:
        wrong = {"errors": _errors(mount.command, said)}
        return _problem("bad_parameters", 422, said, about | wrong, headers)
    why = said or ("" if mount.endpoint.public else _last_line(job["error"] or ""))
    detail = _ending(job) + (f": {why}" if why else "")
    return _problem("job_failed", 500, detail, about, headers)


def _ending(job: Document) -> str:
    if job["exit_code"] is not None:
        return f"the command failed with exit code {job['exit_code']}"
    if job["signal"] is not None:
        return f"the command was ended by signal {job['signal']}"
    return f"the job of the command is {job['state']} ({job['reason']})"


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()


def _errors(command: Command, said: str) -> list[dict[str, str]]:
    """The entry for the parameter that Click's line names, if it names one."""
    named = _NAMED.search(said)
    name = named.group(1).replace("-", "_").lower() if named else ""
    return [{"parameter": name, "message": said}] if command.param(name) else []


def _problem(
    code: str,
    status: int,
    detail: str,
    more: Document,
    headers: Mapping[str, str] | None = None,
) -> Response:
    document = problem(code, status, detail) | more
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)
