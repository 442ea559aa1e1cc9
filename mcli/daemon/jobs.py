"""
Jobs over HTTP: submit, list, look, wait, act, remove.

A job is named by its id, a unique beginning of it, or ``-`` for the latest; nothing else ever
becomes a path.
"""

import asyncio
import re
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mcli.daemon import removal
from mcli.daemon.kept import Kept
from mcli.daemon.ports import Apps, Dispatcher
from mcli.daemon.reply import Daemon, heeded
from mcli.endpoints import answer
from mcli.endpoints.answer import accepted, live_headers
from mcli.endpoints.operation import KEY, PREFER, response
from mcli.endpoints.prefer import WAIT_MAX_S, Preference, digest, idempotency_key, json_response
from mcli.endpoints.schema import ATTEMPTS, JOB, JOBS
from mcli.errors import InvalidTransition, RequestError, UnknownJob
from mcli.ids import is_id, new_id
from mcli.invocation import Source
from mcli.job import JobInfo
from mcli.states import State

Responses = dict[int | str, dict[str, Any]]

SUBMITTED: Final[Responses] = {
    200: response("The job: it was there before, or has ended in the time to wait.", JOB),
    202: response("The job, accepted.", JOB),
}
FOUND: Final[Responses] = {200: response("The job.", JOB)}
TOLD: Final[Responses] = {202: response("The job, which has been told.", JOB)}

HEADERS: Final = {"parameters": [KEY, PREFER]}
"""What a submission may say besides."""

_NAME: Final = re.compile(r"[0-9a-f-]{1,36}")


async def _job(job_id: str, daemon: Daemon) -> JobInfo:
    if not _NAME.fullmatch(job_id):
        raise UnknownJob(f"no job has the id {job_id[:80]!a}")
    return daemon.find(job_id)


Job = Annotated[JobInfo, Depends(_job)]

routes = APIRouter()


# Submitting -----------------------------------------------------------------------------


class Submission(BaseModel):
    """A command of an app, by name, and its parameters."""

    model_config = ConfigDict(extra="forbid")

    app: str
    command: str
    params: dict[str, Any] = Field(default_factory=dict)


@routes.post("/v1/jobs", status_code=202, responses=SUBMITTED, openapi_extra=HEADERS)
async def submit(request: Request, daemon: Daemon, body: Submission) -> Response:
    """Run a command of an app as a job."""
    job, repeated = await _submitted(request, daemon, new_id(), body)
    prefer = Preference.of(request)
    return accepted(await heeded(prefer, daemon, job), prefer, replayed=repeated)


@routes.put("/v1/jobs/{job_id}", status_code=202, responses=SUBMITTED, openapi_extra=HEADERS)
async def put(request: Request, daemon: Daemon, job_id: str, body: Submission) -> Response:
    """The same under an id that the caller has made: to be repeated when no answer came."""
    if not is_id(job_id):
        raise RequestError(
            f"{job_id[:80]!a} is no job id: a UUID of version 7 in lower case is one"
        )
    job, repeated = await _submitted(request, daemon, job_id, body)
    prefer = Preference.of(request)
    told = accepted(await heeded(prefer, daemon, job), prefer, replayed=job.id != job_id)
    if repeated:
        told.status_code = 200
    return told


async def _submitted(
    request: Request, daemon: Dispatcher, job_id: str, body: Submission
) -> tuple[JobInfo, bool]:
    """The job, and whether the same request has made it before."""
    key = idempotency_key(request)
    mark = digest("jobs", body.model_dump())
    # First of all: what the app has become since then makes no difference to a repetition.
    before = daemon.earlier(job_id=job_id, key=key, request=mark)
    if before is not None:
        return before, True
    apps: Apps = request.app.state.apps
    invocation = await apps.checked(body.app, body.command, body.params)
    return await daemon.accept(invocation, job_id=job_id, key=key, request=mark)


# Looking --------------------------------------------------------------------------------


@routes.get("/v1/jobs", responses={200: response("Jobs.", JOBS)})
async def jobs(
    request: Request,
    daemon: Daemon,
    state: Annotated[list[State] | None, Query()] = None,
    command: str | None = None,
    name: str | None = None,
    source: Source | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[str | None, Query(pattern="^[0-9a-f-]{36}$")] = None,
) -> Response:
    """Jobs, newest first; of those accepted from *since* on and before *until*.

    ``Link`` has the next page, if there is one: *before* is the last id of this one.
    """
    found = await asyncio.to_thread(
        daemon.page,
        states=state,
        limit=limit + 1,
        before=before,
        command=command,
        name=name,
        source=source,
        since=since and since.timestamp(),
        until=until and until.timestamp(),
    )
    page = found[:limit]
    headers = {"Link": _next(request, page[-1].id)} if len(found) > limit else None
    return json_response([job.document() for job in page], headers=headers)


def _next(request: Request, last: str) -> str:
    asked = [pair for pair in request.query_params.multi_items() if pair[0] != "before"]
    return f'<{request.url.path}?{urlencode([*asked, ("before", last)])}>; rel="next"'


@routes.get("/v1/jobs/{job_id}", responses=FOUND | {304: {"description": "It is as it was."}})
async def job(request: Request, job: Job) -> Response:
    """One job. It is 200 also for one that failed; ``If-None-Match`` spares what is known."""
    document = job.document()
    etag = f'W/"{digest(document).hex()}"'
    headers = {"ETag": etag, **live_headers(document)}
    if _is_known(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return json_response(document, headers=headers)


def _is_known(lines: list[str], etag: str) -> bool:
    known = [each.strip().removeprefix("W/") for line in lines for each in line.split(",")]
    return "*" in known or etag.removeprefix("W/") in known


@routes.get("/v1/jobs/{job_id}/wait", responses=FOUND)
async def wait(
    job: Job, daemon: Daemon, timeout_s: Annotated[float, Query(ge=0, le=WAIT_MAX_S)] = 30.0
) -> Response:
    """The job when it is final, or as it is when the time is up."""
    found = await daemon.wait(job.id, timeout_s)
    document = found.document()
    return json_response(document, headers=live_headers(document))


@routes.get("/v1/jobs/{job_id}/attempts", responses={200: response("Attempts.", ATTEMPTS)})
async def attempts(job: Job, daemon: Daemon) -> Response:
    """Every attempt of the job, the first one first: how it ended, when, where its output is."""
    return json_response([each.document() for each in daemon.attempts(job.id)])


@routes.get("/v1/jobs/{job_id}/result")
async def result(job: Job, daemon: Daemon) -> Response:
    """What the command returned: any JSON value. 409 if it has not ended, or not well."""
    return await answer.result(job.document(), Kept(daemon))


# Acting ---------------------------------------------------------------------------------


@routes.post("/v1/jobs/{job_id}/cancel", status_code=202, responses=TOLD)
async def cancel(job: Job, daemon: Daemon) -> Response:
    """Ask the job to end: SIGTERM, and SIGKILL after the grace. Repeating it does no harm."""
    return json_response((await daemon.cancel(job.id)).document(), 202)


class Kill(BaseModel):
    """The signal to send, by number."""

    signal: Annotated[int, Field(ge=1, le=64)] = 9


@routes.post("/v1/jobs/{job_id}/kill", status_code=202, responses=TOLD)
async def kill(job: Job, daemon: Daemon, body: Kill | None = None) -> Response:
    """Send the job a signal; SIGKILL unless another is named."""
    found = await daemon.signal(job.id, (body or Kill()).signal)
    return json_response(found.document(), 202)


@routes.post("/v1/jobs/{job_id}/rerun", status_code=202, responses=SUBMITTED, openapi_extra=HEADERS)
async def rerun(request: Request, job: Job, daemon: Daemon) -> Response:
    """Run the same invocation again, as a new job."""
    key = idempotency_key(request)
    again, repeated = await daemon.rerun(job.id, key=key, request=digest("rerun", job.id))
    prefer = Preference.of(request)
    return accepted(await heeded(prefer, daemon, again), prefer, replayed=repeated)


@routes.delete("/v1/jobs/{job_id}", status_code=204)
async def remove(job: Job, daemon: Daemon) -> Response:
    """Remove a job that has ended, and all that it has printed."""
    await removed(daemon, job)
    return Response(status_code=204)


async def removed(daemon: Dispatcher, job: JobInfo) -> None:
    """Remove *job*, files and all.

    Raises:
        InvalidTransition: It has not ended.
    """
    if not job.is_final:
        raise InvalidTransition(
            f"job {job.id} is {job.state.value}; only an ended job can be removed"
        )
    folder = daemon.home.jobs
    moved = await asyncio.to_thread(removal.put_away, folder, [job.id])
    try:
        await daemon.forget(job.id)
    except UnknownJob:  # somebody else has removed it meanwhile
        await asyncio.to_thread(removal.erase, folder, moved)
        raise
    except Exception:
        await asyncio.to_thread(removal.put_back, folder, moved)
        raise
    await asyncio.to_thread(removal.erase, folder, moved)
