"""
The routes of endpoints: a request becomes a job of its command, and its answer.
"""

import re
from collections.abc import Iterable
from contextlib import suppress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mcli.endpoints import answer
from mcli.endpoints.mount import Mount
from mcli.endpoints.operation import operation
from mcli.endpoints.ports import Call, Document, Jobs
from mcli.endpoints.prefer import WAIT_MAX_S, Preference, idempotency_key
from mcli.endpoints.request import Uploads, read
from mcli.errors import BadParameters, DaemonError, MCLIError
from mcli.ids import new_id


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
        handler = Handler(mount, jobs)
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


class Handler:
    """What answers to one endpoint."""

    def __init__(self, mount: Mount, jobs: Jobs) -> None:
        self.mount = mount
        self._jobs = jobs

    async def __call__(self, request: Request) -> Response:
        try:
            job, repeated = await self._submitted(request)
            response = await self._answer(request, job)
        except MCLIError as error:
            return answer.refused(error, request.url.path, public=self.mount.endpoint.public)
        if repeated:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    async def _submitted(self, request: Request) -> tuple[Document, bool]:
        """The job, and whether it is an earlier request's, which had the same key."""
        job_id = new_id()
        uploads = Uploads(self._jobs.folder(job_id))
        try:
            call = await self._call(request, job_id, uploads)
        except BaseException:
            uploads.remove()
            raise
        try:
            job = await self._jobs.submit(call)
        except MCLIError:  # after anything else, the job may be there
            uploads.remove()
            raise
        if job["id"] == job_id:
            return job, False
        uploads.remove()
        return job, True

    async def _call(self, request: Request, job_id: str, uploads: Uploads) -> Call:
        key = idempotency_key(request)
        given = await read(request, self.mount, uploads)
        checked = await self._jobs.check(self.mount, given.values, given.texts)
        if checked.errors:
            raise BadParameters(checked.errors)
        return Call(mount=self.mount, checked=checked, job_id=job_id, key=key, request=given.digest)

    async def _answer(self, request: Request, job: Document) -> Response:
        if self.mount.endpoint.background:
            preferred = Preference.of(request)
            if preferred.wait_s:
                with suppress(DaemonError):  # it stops: the job is accepted all the same
                    job = await self._jobs.wait(job["id"], min(preferred.wait_s, WAIT_MAX_S))
            prefix = self.mount.prefix(request.url.path)
            return answer.accepted(job, preferred, prefix=prefix)
        while not answer.is_final(job):
            job = await self._jobs.wait(job["id"], WAIT_MAX_S)
        place = request.url.path
        if not answer.is_success(job):
            return await answer.failed(job, self.mount, self._jobs, place)
        return await answer.returned(job, self._jobs, place)
