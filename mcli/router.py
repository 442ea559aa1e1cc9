"""
Endpoints of commands in a FastAPI application of one's own.

    app = FastAPI()
    app.include_router(mcli.api_router())

The same routes as the daemon's, but asking nobody for a token: who may call them is the
application's business. Parameters are checked in this process; jobs are run by the daemon of
this user, found again by their ids.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from mcli.decorators import declaring
from mcli.description import Found, describe, find
from mcli.endpoints import answer, feed, router
from mcli.endpoints.mount import Mount, refusal
from mcli.endpoints.operation import response
from mcli.endpoints.ports import Document
from mcli.endpoints.prefer import json_response
from mcli.endpoints.schema import JOB
from mcli.errors import MCLIError, RequestError, UnknownJob
from mcli.home import Home
from mcli.ids import is_id
from mcli.local import Local, Offer
from mcli.submission import place_of


def api_router(*apps: Any) -> APIRouter:
    """The endpoints of *apps* as routes for a FastAPI application, and those of their jobs.

    Args:
        apps: Click commands or groups, or Typer apps, that are found under a name in their
            module. None: all that were declared with ``@mcli.api`` so far in this process.

    Raises:
        RequestError: One has no name in a module, or two want the same path and method.
    """
    mounts: list[Mount] = []
    offers: dict[tuple[str, str], Offer] = {}
    for place, found in _found(apps):
        for name, each in found.items():
            command = describe(name, each)
            offers[place, name] = Offer(each, command)
            for endpoint in command.endpoints:
                mount = Mount(place, command, endpoint)
                if why := refusal(mount, mounts):
                    raise RequestError(why)
                mounts.append(mount)
    jobs = Local(Home.find(), offers)
    routes = APIRouter()
    routes.include_router(router.router(mounts, jobs, bearer=False))
    routes.include_router(_job_routes(jobs))
    return routes


# Finding --------------------------------------------------------------------------------


def _found(apps: tuple[Any, ...]) -> Iterator[tuple[str, dict[str, Found]]]:
    """Places, and the commands that are found there."""
    if apps:
        for app in apps:
            module, name = _home_of(app)
            yield f"{module.__name__}:{name}", find(vars(module), place_of(module), name)
        return
    for name in declaring:
        if module := sys.modules.get(name):
            yield name, find(vars(module), place_of(module))


def _home_of(app: Any) -> tuple[Any, str]:
    """The module that holds *app* under a name, best the one that has declared a command."""
    for module in [*map(sys.modules.get, declaring), *list(sys.modules.values())]:
        for name, each in list(getattr(module, "__dict__", {}).items()):
            if each is app:
                return module, name
    raise RequestError(f"{app!r} has no name in a module that a worker could find it by")


# Jobs -----------------------------------------------------------------------------------


class _Route(APIRoute):
    """A route whose errors are problem documents, in whatever application it stands."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                told: Response = await handle(request)
            except MCLIError as error:
                return answer.refused(error, request.url.path)
            return told

        return handled


def _job_routes(jobs: Local) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=_Route)

    async def find_job(job_id: str) -> Document:
        """By its whole id: who has it was given it."""
        job = await jobs.job(job_id) if is_id(job_id) else None
        if job is None or not jobs.is_ours(job):
            raise UnknownJob(f"no job has the id {job_id!a}")
        return job

    @routes.get("", responses={200: response("The job.", JOB)})
    async def job(job_id: str) -> Response:
        """The job's document."""
        found = await find_job(job_id)
        return json_response(found, headers=answer.live_headers(found))

    @routes.get("/result")
    async def result(job_id: str) -> Response:
        """What the command has returned."""
        return await answer.result(await find_job(job_id), jobs)

    @routes.get("/output", response_class=Response, responses=feed.PRINTED)
    async def output(
        request: Request,
        job_id: str,
        stream: str | None = None,
        after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0,
        follow: bool = False,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """What it has printed; ``Accept`` and ``Range`` choose how it comes, and how much."""
        if stream not in (None, *feed.STREAMS):
            raise RequestError(f"stream={stream!a}: stdout, stderr, or nothing for both")
        return await feed.output(
            request,
            jobs,
            await find_job(job_id),
            stream=stream,
            after=after,
            follow=follow,
            last_event_id=last_event_id,
        )

    @routes.post("/cancel", status_code=202, responses={202: response("The job.", JOB)})
    async def cancel(job_id: str) -> Response:
        """Ask the job to end."""
        await find_job(job_id)
        return json_response(await jobs.cancel(job_id), 202)

    return routes
