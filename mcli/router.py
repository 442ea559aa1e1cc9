"""
Endpoints of commands in a FastAPI application of one's own.

    app = FastAPI()
    app.include_router(mcli.api_router())

The same routes as the daemon's, but asking nobody for a token: who may call them is the
application's business. Parameters are checked in this process; jobs are run by the daemon of
this user, found again by their ids.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from mcli.decorators import declaring
from mcli.description import Found, describe, find
from mcli.endpoints import answer, router
from mcli.endpoints.mount import Mount, refusal
from mcli.errors import JobFailed, MCLIError, RequestError, Unfinished, UnknownJob
from mcli.home import Home
from mcli.ids import is_id
from mcli.local import Local, Offer
from mcli.output import read_records
from mcli.stream import Stream
from mcli.submission import place_of

STREAMS: Final = {
    None: frozenset(Stream),
    "stdout": frozenset({Stream.STDOUT, Stream.TTY}),
    "stderr": frozenset({Stream.STDERR}),
}

Handle = Callable[[Request], Awaitable[Response]]


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

        async def told(request: Request) -> Response:
            try:
                response: Response = await handle(request)
            except MCLIError as error:
                return answer.refused(error, request.url.path)
            return response

        return told


def _job_routes(jobs: Local) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=_Route)

    async def find_job(job_id: str) -> answer.Document:
        """By its whole id: who has it was given it."""
        job = await jobs.job(job_id) if is_id(job_id) else None
        if job is None or not jobs.is_ours(job):
            raise UnknownJob(f"no job has the id {job_id!a}")
        return job

    @routes.get("")
    async def job(job_id: str) -> Response:
        """The job's document."""
        return JSONResponse(await find_job(job_id))

    @routes.get("/result")
    async def result(job_id: str, request: Request) -> Response:
        """What the command has returned."""
        job = await find_job(job_id)
        if not answer.is_final(job):
            raise Unfinished(f"job {job_id} has not ended yet: it is {job['state']}; ask again")
        if not answer.is_success(job):
            raise JobFailed(f"job {job_id} has no result: it is {job['state']}")
        withheld = await jobs.withheld(job_id) if answer.is_doubtful(job) else None
        return answer.returned(job, withheld, request.url.path)

    @routes.get("/output")
    async def output(job_id: str, request: Request) -> Response:
        """What it has printed so far; ``?stream=stdout`` or ``stderr`` for one of them."""
        await find_job(job_id)
        stream = request.query_params.get("stream")
        if stream not in STREAMS:
            raise RequestError(f"stream={stream!a}: stdout, stderr, or nothing for both")
        printed = _printed(f"{jobs.folder(job_id)}/output.log", STREAMS[stream])
        return StreamingResponse(printed, media_type="application/octet-stream")

    @routes.post("/cancel", status_code=202)
    async def cancel(job_id: str) -> Response:
        """Ask the job to end."""
        await find_job(job_id)
        return JSONResponse(await jobs.cancel(job_id), 202)

    return routes


def _printed(path: str, streams: frozenset[Stream]) -> Iterator[bytes]:
    offset = 0
    while block := read_records(path, offset):
        yield b"".join(record.data for record in block if record.stream in streams)
        offset = block[-1].next_offset
