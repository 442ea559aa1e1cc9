"""
Who may speak to the daemon over HTTP.

An ASGI middleware around everything else, so that a route, a mount or an error page that
somebody adds later is behind it as well, and no byte of a stranger's body is parsed.
First the ``Host`` must be one of ours, exactly: a page in a browser that has rebound its
own name to 127.0.0.1 is turned away here. Then the token is asked for.
"""

import hmac
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcli.problem import MEDIA_TYPE, problem

TOKEN: Final = re.compile(r"[!-~]{32,}")
"""What a token looks like: nothing that a header cannot hold, and not too short to guess."""


class Guard:
    """Lets a request through if its Host is allowed and it carries the token."""

    def __init__(self, app: ASGIApp, *, token: str, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._credentials = f"Bearer {token}".encode()
        self._hosts = {host.lower().encode() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (refusal := self._refusal(scope)) is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        # A websocket that is answered with nothing is refused by the server.

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts = [value.lower() for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return _refuse("forbidden_host", 403, "this Host is not served here")
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._credentials):
            return _refuse("unauthorized", 401, "send the daemon's token: Authorization: Bearer …")
        return None


def _refuse(code: str, status: int, detail: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(problem(code, status, detail), status, headers, media_type=MEDIA_TYPE)


def make_token(path: str) -> str:
    """The token in the file at *path*, which only its owner can read.

    Made if there is none, or if what stands there cannot be one.
    """
    with suppress(FileNotFoundError):
        with open(path, encoding="ascii", errors="replace") as file:
            token = file.read().strip()
        if TOKEN.fullmatch(token):
            return token
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        token = secrets.token_urlsafe(32)
        file.write(token + "\n")
    return token
