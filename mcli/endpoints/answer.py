"""
What is answered: a job's result or its document, or a problem that tells what went wrong.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from mcli.endpoint import Command
from mcli.endpoints.mount import Mount
from mcli.endpoints.ports import Document, Kept
from mcli.endpoints.prefer import RETRY_S, Preference, json_response
from mcli.errors import (
    AppBroken,
    BadParameters,
    Conflict,
    DaemonError,
    Incomplete,
    InvalidTransition,
    JobFailed,
    MCLIError,
    NoRoom,
    OutcomeUnknown,
    Refused,
    RequestError,
    Unfinished,
    UnknownApp,
    UnknownJob,
    WrongMedia,
)
from mcli.outcome import read_outcome
from mcli.output import last_line, last_words
from mcli.problem import MEDIA_TYPE, problem
from mcli.states import FINAL, Reason, State
from mcli.stream import Stream

STATUS: Final[dict[type[MCLIError], int]] = {
    UnknownJob: 404,
    UnknownApp: 404,
    InvalidTransition: 409,
    Conflict: 409,
    Unfinished: 409,
    JobFailed: 409,
    Incomplete: 400,
    WrongMedia: 415,
    RequestError: 422,
    NoRoom: 507,
    MCLIError: 503,
}
"""The HTTP status of an error: that of its nearest ancestor here."""

USAGE: Final = 2
"""Exit code of a command that was called wrongly."""

_CLICKS: Final = "Error: "
"""How Click begins the line in which it tells its user what is wrong."""

_NAMED: Final = re.compile(r"'-*([\w-]+)'")


def is_final(job: Mapping[str, Any]) -> bool:
    """Whether the job has ended, by its document."""
    return State(job["state"]) in FINAL


def is_success(job: Mapping[str, Any]) -> bool:
    """Whether it has, and well."""
    return bool(job["state"] == State.SUCCEEDED)


def refused(error: MCLIError, instance: str, *, public: bool = False) -> Response:
    """The problem document of an error.

    Args:
        instance: Path of the request.
        public: It is for anybody, who is not to be shown what an app looks like inside.
    """
    status = next(STATUS[each] for each in type(error).__mro__ if each in STATUS)
    if public and isinstance(error, AppBroken):
        error = AppBroken("the app of this endpoint cannot be loaded now")
    more: Document = {}
    if isinstance(error, BadParameters) and error.errors:
        more["errors"] = error.errors
    if isinstance(error, AppBroken) and error.traceback:
        more["traceback"] = error.traceback
    if isinstance(error, Refused):  # nothing was taken: to send it again is safe
        more["accepted"] = False
    soon = status == HTTPStatus.SERVICE_UNAVAILABLE or isinstance(error, Unfinished)
    if type(error) in (
        DaemonError,
        OutcomeUnknown,
    ):  # the job may run on: whoever asks again runs it twice
        soon = False
    headers = {"Retry-After": str(RETRY_S)} if soon else None
    return _problem(error.code, status, str(error), instance, more, headers)


def live_headers(job: Mapping[str, Any]) -> dict[str, str]:
    """When to ask again about a job that has not ended."""
    return {} if is_final(job) else {"Retry-After": str(RETRY_S)}


def accepted(
    job: Document, preferred: Preference, *, prefix: str = "", replayed: bool = False
) -> Response:
    """The answer to a submission: 200 and the document if it has ended, else 202 and where to
    look.

    Args:
        job: As it is after waiting.
        prefix: What stands before the paths of all routes.
        replayed: Its idempotency key has brought it before.
    """
    headers = {
        "Location": f"{quote(prefix)}/v1/jobs/{job['id']}",
        **live_headers(job),
        **preferred.applied,
        **({"Idempotent-Replayed": "true"} if replayed else {}),
    }
    return json_response(job, 200 if is_final(job) else 202, headers)


async def result(job: Document, kept: Kept) -> Response:
    """What the command of a job returned, alone.

    Raises:
        Unfinished: It has not ended.
        JobFailed: It did not succeed, or what it returned was not kept.
    """
    if not is_final(job):
        raise Unfinished(
            f"job {job['id']} has not ended yet: it is {job['state']}; ask again later"
        )
    if not is_success(job):
        raise JobFailed(f"job {job['id']} {job['state']} ({job['reason']})")
    why = await withheld(job, kept)
    if why is not None:
        raise JobFailed(f"job {job['id']} succeeded, but what it returned {why}")
    return json_response(job["result"])


async def withheld(job: Document, kept: Kept) -> str | None:
    """Why the value that the command returned was not kept: "is not JSON"; None if it was."""
    value = job["result"]
    if not isinstance(value, dict) or set(value) != {"repr", "truncated"}:
        return None  # it is no description of another value
    outcome = await asyncio.to_thread(read_outcome, kept.folder(job["id"]), job["attempt"])
    return outcome.withheld if outcome is not None else None


async def returned(job: Document, kept: Kept, instance: str) -> Response:
    """What the command of a job that succeeded has returned."""
    why = await withheld(job, kept)
    if why is None:
        return json_response(job["result"], 200, _job_id(job))
    detail = f"the command has run, but what it returned {why}"
    return _problem("no_result", 500, detail, instance, _about(job), _job_id(job))


async def failed(job: Document, mount: Mount, kept: Kept, instance: str) -> Response:
    """The problem that the command came to."""
    log = os.path.join(kept.folder(job["id"]), "output.log")
    words = await asyncio.to_thread(last_words, log, Stream.STDERR)
    code, status, detail, more = _failure(job, mount, words)
    return _problem(code, status, detail, instance, _about(job) | more, _job_id(job))


def _job_id(job: Document) -> dict[str, str]:
    return {"Mcli-Job-Id": job["id"]}


def _about(job: Document) -> Document:
    return {"job": job["id"], "exit_code": job["exit_code"]}


def _failure(job: Document, mount: Mount, words: str) -> tuple[str, int, str, Document]:
    if job["reason"] == Reason.TIMEOUT:
        limit = f"its {job['timeout_s']:g} s" if job["timeout_s"] else "it may"
        return "job_timed_out", 504, f"the command ran for longer than {limit}", {}
    said = words.removeprefix(_CLICKS) if words.startswith(_CLICKS) else ""
    if job["exit_code"] == USAGE and said:
        return "bad_parameters", 422, said, {"errors": _errors(mount.command, said)}
    why = said or ("" if mount.endpoint.public else last_line(job["error"] or ""))
    return "job_failed", 500, _ending(job) + (f": {why}" if why else ""), {}


def _ending(job: Document) -> str:
    if job["exit_code"] is not None:
        return f"the command failed with exit code {job['exit_code']}"
    if job["signal"] is not None:
        return f"the command was ended by signal {job['signal']}"
    return f"the job of the command is {job['state']} ({job['reason']})"


def _errors(command: Command, said: str) -> list[dict[str, str]]:
    """The entry for the parameter that Click's line names, if it names one."""
    named = _NAMED.search(said)
    name = named.group(1).replace("-", "_").lower() if named else ""
    return [{"parameter": name, "message": said}] if command.param(name) else []


def _problem(
    code: str,
    status: int,
    detail: str,
    instance: str,
    more: Document,
    headers: Mapping[str, str] | None,
) -> Response:
    document = problem(code, status, detail, instance=instance) | more
    answer = json_response(document, status, headers)
    answer.headers["Content-Type"] = MEDIA_TYPE
    return answer
