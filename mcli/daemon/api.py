"""
The HTTP API, version 1: the application, its errors as problem documents, its meta routes.

Every route is behind ``Guard``. A failed *job* is not a failed request: its document comes
with status 200. Jobs are in ``jobs`` and ``feed``.
"""

import json
import logging
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from mcli.daemon import cleanup, docs, feed, jobs, login, programs
from mcli.daemon.auth import Guard
from mcli.daemon.canary import Canary
from mcli.daemon.endpoints import Endpoints
from mcli.daemon.limits import Limits
from mcli.daemon.login import Logins
from mcli.daemon.metrics import Counted, Metrics
from mcli.daemon.paths import Paths
from mcli.daemon.ports import Apps, Dispatcher, NoApps
from mcli.daemon.reply import Daemon, Document
from mcli.endpoints.answer import STATUS, refused
from mcli.errors import MCLIError, RequestError
from mcli.problem import MEDIA_TYPE, problem
from mcli.version import __version__

log = logging.getLogger("mcli.http")

CODES: Final = {404: "no_such_path", 405: "method_not_allowed", 413: "content_too_large"}
"""The ``code`` of an error that the framework tells; others are spelled as HTTP calls them."""


def create_app(
    dispatcher: Dispatcher,
    *,
    token: str,
    allowed_hosts: Collection[str],
    apps: Apps | None = None,
    endpoints: Endpoints | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """The application that serves *dispatcher*.

    Args:
        dispatcher: The daemon.
        token: What a caller must send as ``Authorization: Bearer``.
        allowed_hosts: ``host:port`` as callers may write it in the URL, compared exactly.
        apps: What ``POST /v1/jobs`` finds commands in.
        endpoints: The routes of those apps.
        limits: How much a client may ask.
    """
    app = FastAPI(
        title="mcli",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.dispatcher = dispatcher
    app.state.logins = Logins()
    app.state.apps = apps or NoApps()
    app.state.canary = Canary(dispatcher)
    app.state.metrics = Metrics(dispatcher)
    own = [routes, jobs.routes, feed.routes, login.routes, cleanup.routes]
    if endpoints is not None:
        app.state.endpoints = endpoints
        own += [programs.routes, docs.routes]
        app.router.default = endpoints
    for router in own:
        app.include_router(router)
    app.state.paths = Paths(own, endpoints)
    app.add_exception_handler(MCLIError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(
        Guard,
        token=token,
        allowed_hosts=allowed_hosts,
        logins=app.state.logins,
        limits=limits or Limits(),
        template=app.state.paths.template,
        **_rules(endpoints),
    )
    app.add_middleware(Counted, metrics=app.state.metrics)
    return app


def _rules(endpoints: Endpoints | None) -> dict[str, Any]:
    """What the guard has to know of the apps' routes."""
    if endpoints is None:
        return {}
    return {
        "prepare": endpoints.prepare,
        "is_open": lambda *at: docs.is_open(*at) or endpoints.is_public(*at),
        "is_call": endpoints.is_call,
        "takes_upload": endpoints.takes_upload,
    }


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, MCLIError)
    return refused(error, request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [{"parameter": _place(each), "message": each["msg"]} for each in error.errors()]
    detail = "; ".join(f"{each['parameter']}: {each['message']}" for each in wrong)
    return _problem(request, RequestError.code, STATUS[RequestError], detail, errors=wrong)


def _place(error: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in error["loc"][1:]) or "body"


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, detail, headers = error.status_code, str(error.detail), error.headers
    if status == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "there is nothing at this path; /docs and /openapi.json show all that there is"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(request.app.state.paths.methods(request.url.path))
        detail, headers = (
            f"{request.method} cannot be asked for here; use {allow}",
            {"Allow": allow},
        )
    code = CODES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "_")
    return _problem(request, code, status, detail, headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    """What nobody has foreseen: the log tells all of it, the answer nothing."""
    log.error("http.failed method=%s path=%r", request.method, request.url.path, exc_info=error)
    detail = "the daemon failed to answer this; its log says why: mcli daemon logs"
    return _problem(request, "internal", HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _problem(
    request: Request,
    code: str,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Collection[Mapping[str, str]] = (),
) -> Response:
    told = problem(code, status, detail, instance=request.url.path, errors=list(errors))
    # In ASCII: what a request has sent, and is quoted here, need not be encodable.
    return Response(json.dumps(told), status, headers, media_type=MEDIA_TYPE)


routes = APIRouter()


@routes.get("/healthz")
async def health() -> Document:
    """The daemon lives."""
    return {"ok": True}


@routes.get("/readyz")
async def ready(request: Request, fresh: bool = False) -> Document:
    """A small job has come through queue and worker within the last 30 seconds; fresh: now."""
    canary: Canary = request.app.state.canary
    return {"ok": True, "seconds_ago": round(await canary.age_s(fresh=fresh), 3)}


@routes.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """What is counted, as Prometheus reads it."""
    counted: Metrics = request.app.state.metrics
    content, media_type = counted.text()
    return Response(content, media_type=media_type)


@routes.get("/v1/status")
async def status(daemon: Daemon) -> Document:
    """What the daemon is and does."""
    return daemon.status()


class Shutdown(BaseModel):
    """How to stop."""

    kill_jobs: bool = False


@routes.post("/v1/shutdown", status_code=202)
async def shutdown(daemon: Daemon, body: Shutdown) -> Document:
    """Stop the daemon. Running jobs run on, unless they are to be killed."""
    await daemon.shutdown(body.kill_jobs)
    return {"stopping": True}
