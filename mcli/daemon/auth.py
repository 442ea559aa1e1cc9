"""
Who may speak to the daemon over HTTP.

An ASGI middleware around everything else, so that a route, a mount or an error page that
somebody adds later is behind it as well, and no byte of a stranger's body is parsed. It asks
in this order, and the first no is the answer:

    421  for one of our own hosts?           ``origin``
    403  from no page but our own?           ``origin``
    413  with a body that is not too long?   ``body``
    401  with the token, or a session?
    415  with a body of a kind we take?      ``body``
    429  and not too often?                  ``limits``

What ``is_open`` says is open needs no token, and nothing else of this is different for it.
"""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcli.daemon import body
from mcli.daemon.audit import noting
from mcli.daemon.headers import protected
from mcli.daemon.keyfile import kept
from mcli.daemon.limits import Bucket, Buckets, Limits, Open
from mcli.daemon.login import Logins
from mcli.daemon.origin import Headers, is_for_us, is_from_our_page, values
from mcli.problem import MEDIA_TYPE, problem

TOKEN: Final = re.compile(r"[!-~]{32,}")
"""What a token looks like: nothing that a header cannot hold, and not too short to guess."""

LOGIN: Final = ("POST", "/v1/login")
"""Open, or nobody could sign in; whoever is wrong there counts as one with a wrong token."""

Rule = Callable[[str, str], bool]
"""Says something of a method and a path."""


async def at_once(_method: str, _path: str) -> None:
    """There is nothing to wait for."""


def never(_method: str, _path: str) -> bool:
    """No route is so."""
    return False


def unknown(_method: str, _path: str) -> str:
    """No route has a name."""
    return "-"


class Refusal(Exception):
    """The answer to a request that is not let in."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        self.status = status
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._code, self._detail, self._headers = code, detail, named

    def answer(self, path: str) -> Response:
        """The problem document, for a request to *path*."""
        told = problem(self._code, self.status, self._detail, instance=path)
        return JSONResponse(told, self.status, self._headers, media_type=MEDIA_TYPE)


class Guard:
    """Lets a request through if it may come, and sees to it that no more come than may.

    Args:
        token: The daemon's own.
        allowed_hosts: ``host:port`` as callers may write it in the URL, compared exactly.
        logins: Where the sessions of browsers are.
        prepare: Waited for before the rules are asked: what is open may have changed.
        is_open: Routes that need no token.
        is_call: Routes that run a command, whatever their method.
        takes_upload: Routes that take ``multipart/form-data`` beside JSON.
        template: What the log calls the route of a method and a path.
        clock: Seconds; only goes forward.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        allowed_hosts: Collection[str],
        logins: Logins,
        limits: Limits,
        prepare: Callable[[str, str], Awaitable[None]] = at_once,
        is_open: Rule = never,
        is_call: Rule = never,
        takes_upload: Rule = never,
        template: Callable[[str, str], str] = unknown,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {host.lower().encode() for host in allowed_hosts}
        self._logins = logins
        self._limits = limits
        self._prepare = prepare
        self._is_open = is_open
        self._is_call = is_call
        self._takes_upload = takes_upload
        self._template = template
        self._clock = clock
        self._failures = Bucket(limits.failures_per_min / 60, limits.failures_per_min)
        self._submissions = Buckets(limits.submissions_per_s, limits.submissions_burst)
        self._streams = Open(limits.streams_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            noted = noting(scope, protected(send), self._template, self._is_call)
            await self._http(scope, receive, noted)
        # A websocket is answered with nothing, and so refused by the server: there is none.

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            client = await self._admit(scope)
            scope.setdefault("state", {})["client"] = client
            await self._serve(scope, receive, self._watched(scope, send), client)
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, send)

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal.status == 401:
            await self._slow_down()
        elif refusal.status == 413:
            await body.drain(scope["headers"], receive)
        await refusal.answer(scope["path"])(scope, receive, send)

    # Who comes --------------------------------------------------------------------------

    async def _admit(self, scope: Scope) -> str:
        """Who it is: ``token``, ``session …``, or ``open`` where nobody needs to be known.

        Raises:
            Refusal: It may not come.
        """
        headers, at = scope["headers"], (scope["method"], scope["path"])
        if not is_for_us(headers, scope["raw_path"], scope["http_version"], self._hosts):
            raise Refusal(421, "forbidden_host", "this Host is not served here")
        await self._prepare(*at)
        is_open = at == LOGIN or self._is_open(*at)
        opens_page = is_open and scope["method"] == "GET"
        if not is_from_our_page(headers, scope["scheme"], opens_page=opens_page):
            raise Refusal(403, "foreign_origin", "requests of other sites' pages are refused")
        if body.told_length(headers) > self._limits.body_max:
            raise self._too_long()
        client = "open" if is_open else self._client(headers)
        self._check_kind(headers, *at)
        return client

    def _client(self, headers: Headers) -> str:
        given = values(headers, b"authorization")
        scheme, _, secret = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() == b"bearer":
            if hmac.compare_digest(secret, self._token):  # bytes: text has to be ASCII
                return "token"
            if self._logins.is_session(secret.decode("latin-1")):
                return f"session {secret[:8].decode('latin-1')}"
        raise Refusal(
            401,
            "unauthorized",
            "send the daemon's token: Authorization: Bearer TOKEN; mcli token prints it",
            WWW_Authenticate="Bearer",
        )

    def _check_kind(self, headers: Headers, method: str, path: str) -> None:
        upload = self._takes_upload(method, path)
        if body.is_there(headers) and not body.is_known(headers, upload=upload):
            forms = "application/json or multipart/form-data" if upload else "application/json"
            raise Refusal(415, "unsupported_media_type", f"a body must be {forms}")

    def _too_long(self) -> Refusal:
        most = self._limits.body_max
        return Refusal(
            413,
            "body_too_long",
            f"a body may have {most} bytes; the setting body_max allows more",
            Connection="close",
        )

    # How much they may ---------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send, client: str) -> None:
        at = scope["method"], scope["path"]
        if is_submission(*at) or self._is_call(*at):
            wait_s = self._submissions.take(client, self._clock())
            if wait_s:
                raise _too_many("submissions", wait_s)
        if not is_stream(scope):
            await self._measured(scope, receive, send)
            return
        if not self._streams.enter(client):
            raise _too_many("streams at once", 1)
        try:
            await self._measured(scope, receive, send)
        finally:
            self._streams.leave(client)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        measured = body.Measured(self._app, self._limits.body_max, receive, send)
        await measured.run(scope)
        if measured.too_long:
            raise self._too_long()

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Wrong codes are slowed down as wrong tokens are."""
        if (scope["method"], scope["path"]) != LOGIN:
            return send

        async def send_watched(message: Any) -> None:
            if message.get("status") == 401:
                await self._slow_down()
            await send(message)

        return send_watched

    async def _slow_down(self) -> None:
        if self._failures.take(self._clock()):
            await asyncio.sleep(self._limits.failure_wait_s)


def _too_many(what: str, wait_s: float) -> Refusal:
    seconds = str(max(1, round(wait_s)))
    detail = f"too many {what}; try again in {seconds} s"
    return Refusal(429, "too_many_requests", detail, Retry_After=seconds)


def is_submission(method: str, path: str) -> bool:
    """Whether it makes a job by what it looks like: on its own route, by running one again, or at
    what may be an endpoint.
    """
    if method not in ("POST", "PUT", "PATCH", "DELETE"):
        return False
    if not path.startswith("/v1/"):
        return True
    return method in ("POST", "PUT") and (
        path == "/v1/jobs" or path.endswith("/rerun") or method == "PUT"
    )


def is_stream(scope: Scope) -> bool:
    """Whether its answer goes on for as long as a job does."""
    events = any(b"text/event-stream" in each for each in values(scope["headers"], b"accept"))
    return events or b"follow=" in scope["query_string"]


def make_token(path: str) -> str:
    """The token in the file at *path*, made if there is none.

    Raises:
        UnsafeHome: Others may know it, see ``keyfile``.
    """
    return kept(path, "token", TOKEN, lambda: secrets.token_urlsafe(32))
