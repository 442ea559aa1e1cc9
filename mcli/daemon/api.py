"""
The HTTP API, version 1: the daemon's verbs as routes, and errors as problem documents.

Every route is behind ``Guard``. A job is named by its id, a unique prefix of it, or ``-``
for the latest. A failed *job* is not a failed request: its document comes with status 200.
"""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Collection
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from mcli.daemon import login
from mcli.daemon.auth import Guard, Rule, never
from mcli.daemon.limits import Limits
from mcli.daemon.login import Logins
from mcli.daemon.ports import Dispatcher
from mcli.errors import (
    Conflict,
    InvalidTransition,
    MCLIError,
    Refused,
    RequestError,
    UnknownJob,
)
from mcli.job import JobInfo
from mcli.output import Record, read_records
from mcli.problem import MEDIA_TYPE, problem
from mcli.states import State
from mcli.stream import Stream
from mcli.version import __version__

STATUS: Final[dict[type[MCLIError], int]] = {
    UnknownJob: 404,
    InvalidTransition: 409,
    Conflict: 409,
    RequestError: 422,
    MCLIError: 503,
}
"""The HTTP status of an error: that of its nearest ancestor here."""

CODES: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
}
"""What a problem is called that only has a status."""

BYTES: Final = "application/octet-stream"
RECORDS: Final = "application/x-ndjson"

WAIT_MAX_S: Final = 60.0
"""Seconds that one request may wait; whoever wants to wait longer asks again."""

STREAMS: Final = {
    "stdout": {Stream.STDOUT, Stream.TTY},
    "stderr": {Stream.STDERR},
}

Document = dict[str, Any]


def create_app(
    dispatcher: Dispatcher,
    *,
    token: str,
    allowed_hosts: Collection[str],
    limits: Limits | None = None,
    is_open: Rule = never,
    takes_upload: Rule = never,
) -> FastAPI:
    """The application that serves *dispatcher*.

    Args:
        dispatcher: The daemon.
        token: What a caller must send as ``Authorization: Bearer``.
        allowed_hosts: ``host:port`` as callers may write it in the URL, compared exactly.
        limits: How much a client may ask.
        is_open: Routes that need no token.
        takes_upload: Routes that take a form with files beside JSON.
    """
    app = FastAPI(
        title="mcli", version=__version__, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.dispatcher = dispatcher
    app.state.logins = Logins()
    app.include_router(routes)
    app.include_router(login.routes)
    app.add_exception_handler(MCLIError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_middleware(
        Guard,
        token=token,
        allowed_hosts=allowed_hosts,
        logins=app.state.logins,
        limits=limits or Limits(),
        is_open=is_open,
        takes_upload=takes_upload,
    )
    return app


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MCLIError)
    status = next(STATUS[each] for each in type(error).__mro__ if each in STATUS)
    if isinstance(error, Refused):  # nothing was taken: to send it again is safe
        told = problem(error.code, status, str(error)) | {"accepted": False}
        return JSONResponse(told, status, {"Retry-After": "1"}, media_type=MEDIA_TYPE)
    return _problem(error.code, status, str(error))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _problem(RequestError.code, STATUS[RequestError], f"{place}: {first['msg']}")


async def _no_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "http")
    return _problem(code, error.status_code, str(error.detail), error.headers)


def _problem(code: str, status: int, detail: str, headers: Any = None) -> Response:
    return JSONResponse(problem(code, status, detail), status, headers, media_type=MEDIA_TYPE)


async def _dispatcher(request: Request) -> Dispatcher:
    found: Dispatcher = request.app.state.dispatcher
    return found


Daemon = Annotated[Dispatcher, Depends(_dispatcher)]


async def _job(job_id: str, daemon: Daemon) -> JobInfo:
    return daemon.find(job_id)


Job = Annotated[JobInfo, Depends(_job)]

routes = APIRouter()


@routes.get("/healthz")
async def health() -> Document:
    """The daemon lives."""
    return {"ok": True}


@routes.get("/v1/status")
async def status(daemon: Daemon) -> Document:
    """What the daemon is and does."""
    return daemon.status()


@routes.get("/v1/jobs")
async def jobs(
    daemon: Daemon,
    state: Annotated[list[State] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: str | None = None,
) -> list[Document]:
    """Jobs, newest first. The next page is before the last id of this one."""
    found = daemon.page(states=state, limit=limit, before=before)
    return [job.document() for job in found]


@routes.get("/v1/jobs/{job_id}")
async def job(job: Job) -> Document:
    """One job."""
    return job.document()


@routes.get("/v1/jobs/{job_id}/wait")
async def wait(
    job: Job, daemon: Daemon, timeout_s: Annotated[float, Query(ge=0, le=WAIT_MAX_S)] = 30.0
) -> Document:
    """The job when it is final, or as it is when the time is up."""
    return (await daemon.wait(job.id, timeout_s)).document()


@routes.get("/v1/jobs/{job_id}/output")
async def output(
    request: Request,
    job: Job,
    daemon: Daemon,
    stream: Annotated[str | None, Query(pattern="^(stdout|stderr)$")] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    follow: bool = False,
) -> Response:
    """What the job printed: its bytes, or with ``Accept: application/x-ndjson`` its records.

    *after* is the ``next_offset`` of the last record seen. With *follow* the answer goes on
    until the job is final.
    """
    records = _records(daemon, job, after, follow)
    wanted = STREAMS[stream] if stream else set(Stream)
    chosen = (record async for record in records if record.stream in wanted)
    if RECORDS in request.headers.get("accept", ""):
        return StreamingResponse((_line(each) async for each in chosen), media_type=RECORDS)
    return StreamingResponse((each.data async for each in chosen), media_type=BYTES)


async def _records(
    daemon: Dispatcher, job: JobInfo, offset: int, follow: bool
) -> AsyncIterator[Record]:
    path = os.path.join(daemon.home.job(job.id), "output.log")
    while True:
        block = await asyncio.to_thread(read_records, path, offset)
        for record in block:
            yield record
            offset = record.next_offset
        if block:
            continue
        if not follow or job.is_final or not await daemon.output_grew(job.id, offset):
            return
        # A final job is read once more and no longer: its last record may be cut short.
        job = daemon.find(job.id)


def _line(record: Record) -> bytes:
    fields = record._asdict() | {
        "stream": record.stream.name.lower(),
        "data": base64.b64encode(record.data).decode(),
    }
    fields["time"] = fields.pop("time_s")
    return json.dumps(fields).encode() + b"\n"


@routes.post("/v1/jobs/{job_id}/cancel", status_code=202)
async def cancel(job: Job, daemon: Daemon) -> Document:
    """Ask the job to end: SIGTERM, and SIGKILL after the grace."""
    return (await daemon.cancel(job.id)).document()


class Kill(BaseModel):
    """The signal to send, by number."""

    signal: Annotated[int, Field(ge=1, le=64)]


@routes.post("/v1/jobs/{job_id}/kill", status_code=202)
async def kill(job: Job, daemon: Daemon, body: Kill) -> Document:
    """Send the job a signal."""
    return (await daemon.signal(job.id, body.signal)).document()


@routes.post("/v1/jobs/{job_id}/rerun", status_code=202)
async def rerun(job: Job, daemon: Daemon, response: Response) -> Document:
    """Run the same invocation again, as a new job."""
    again = await daemon.rerun(job.id)
    response.headers["Location"] = f"/v1/jobs/{again.id}"
    return again.document()


class Shutdown(BaseModel):
    """How to stop."""

    kill_jobs: bool = False


@routes.post("/v1/shutdown", status_code=202)
async def shutdown(daemon: Daemon, body: Shutdown) -> Document:
    """Stop the daemon. Running jobs run on, unless they are to be killed."""
    await daemon.shutdown(body.kill_jobs)
    return {"stopping": True}
