"""
The routes of endpoints: a request becomes a job of its command, and its answer.
"""

import re
from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mcli.endpoints import answer
from mcli.endpoints.mount import Mount
from mcli.endpoints.operation import operation
from mcli.endpoints.ports import Call, Document, Jobs
from mcli.endpoints.prefer import WAIT_MAX_S, preference
from mcli.endpoints.request import Uploads, key_of, read
from mcli.errors import BadParameters, MCLIError
from mcli.ids import new_id

Handler = Callable[[Request], Awaitable[Response]]


def router(mounts: Iterable[Mount], jobs: Jobs, *, bearer: bool) -> APIRouter:
    """A route for each of *mounts*, those without placeholders first.

    Args:
        jobs: Who checks parameters and runs jobs.
        bearer: Whether the description says that the token is asked for. Asking for it is
            the caller's business.
    """
    routes = APIRouter()
    taken: set[str] = set()
    for mount in sorted(mounts, key=Mount.rank):
        handler = _handler(mount, jobs)
        told = operation(mount, operation_id=_operation_id(mount, taken), bearer=bearer)
        method, path = mount.endpoint.method, mount.endpoint.path
        routes.add_api_route(
            path,
            handler,
            methods=[method],
            response_class=Response,
            response_model=None,
            status_code=202 if mount.endpoint.background else 200,
            openapi_extra=told,
        )
        if method == "GET":
            routes.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
    return routes


def _operation_id(mount: Mount, taken: set[str]) -> str:
    words = f"{mount.app} {mount.command.name} {mount.route}"
    stem = name = re.sub(r"\W+", "_", words).strip("_").lower()
    number = 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def _handler(mount: Mount, jobs: Jobs) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            job, repeated = await _submit(request, mount, jobs)
            respond = _in_background if mount.endpoint.background else _at_once
            response = await respond(request, mount, jobs, job)
        except MCLIError as error:
            return answer.refused(error, public=mount.endpoint.public)
        if repeated:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    return handle


async def _submit(request: Request, mount: Mount, jobs: Jobs) -> tuple[Document, bool]:
    """The job of this request, and whether it is an earlier one's, which had the same key."""
    job_id = new_id()
    uploads = Uploads(jobs.folder(job_id))
    try:
        call = await _call(request, mount, jobs, job_id, uploads)
    except BaseException:
        uploads.remove()
        raise
    try:
        job = await jobs.submit(call)
    except MCLIError:  # after anything else, the job may be there
        uploads.remove()
        raise
    repeated = bool(job["id"] != job_id)
    if repeated:
        uploads.remove()
    return job, repeated


async def _call(request: Request, mount: Mount, jobs: Jobs, job_id: str, uploads: Uploads) -> Call:
    key = key_of(request)
    given = await read(request, mount, uploads)
    checked = await jobs.check(mount, given.values, given.texts)
    if checked.errors:
        first, more = checked.errors[0]["message"], len(checked.errors) - 1
        raise BadParameters(f"{first} (and {more} more)" if more else first, checked.errors)
    return Call(mount=mount, checked=checked, job_id=job_id, key=key, request=given.digest)


async def _in_background(request: Request, _mount: Mount, jobs: Jobs, job: Document) -> Response:
    preferred = preference(request.headers.getlist("prefer"))
    if preferred.wait_s:
        job = await jobs.wait(job["id"], preferred.wait_s)
    return answer.accepted(job, preferred.applied)


async def _at_once(_request: Request, mount: Mount, jobs: Jobs, job: Document) -> Response:
    while not answer.is_final(job):
        job = await jobs.wait(job["id"], WAIT_MAX_S)
    succeeded = job["state"] == "succeeded"
    return answer.returned(job, mount, "" if succeeded else await jobs.last_words(job["id"]))
