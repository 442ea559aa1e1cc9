"""
The HTTP server: uvicorn as a guest in the daemon's event loop, with limits of its own.

What reaches no route at all (too many connections, a request that cannot be read, one that
never comes to its end) is answered here, in the same form as everywhere else.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from mcli.daemon.bind import WAITING_MAX
from mcli.daemon.headers import complete
from mcli.daemon.headroom import is_beyond
from mcli.daemon.limits import Limits
from mcli.problem import MEDIA_TYPE, problem

GRACE_S: Final = 0.25
"""Seconds that open answers get when the daemon stops."""

ACCEPTED_MAX: Final = 4
"""Connections that are taken at once, before any is looked at: they must not be all that the
daemon may have open."""

DATE_S: Final = 1.0
"""Seconds after which the date that answers carry is written anew."""

UNREADABLE: Final = "this is no HTTP request, or its head is too long, or has no Host, or two"


class WebServer(uvicorn.Server):
    """uvicorn, without signals, which are the daemon's; it ends as soon as it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():  # uvicorn has one number for both
            listening.listen(WAITING_MAX)

    def stop(self) -> None:
        """Have ``serve`` return, at once if no answer is open and else after ``GRACE_S``."""
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), DATE_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # in which those without an open answer are gone
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)


def web_server(app: ASGIApp, limits: Limits, tls: tuple[str, str] | None = None) -> WebServer:
    """A server of *app*. *tls*: the files of its certificate and of the key to that."""

    class Protocol(Connection):
        connections_max = limits.connections_max
        head_s = limits.head_s

    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        h11_max_incomplete_event_size=limits.header_max,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        backlog=ACCEPTED_MAX,
        log_config=None,
        access_log=False,
        log_level="error",  # a warning for each request that cannot be read would fill the log
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,  # type: ignore[arg-type]  # any number does
    )
    return WebServer(config)


class Connection(H11Protocol):
    """One connection."""

    connections_max = 0
    head_s = 0.0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if len(self.connections) > self.connections_max or is_beyond(connection.fileno()):
            self._answer(503, "too_many_connections", "too many connections; try again")
        else:
            self._patience = self.loop.call_later(self.head_s, self._check_head, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(self.head_s, self._check_head, self.cycle)

    def _check_head(self, last: Any) -> None:
        """Whether another request has come since *last*; if not, it is not waited for any more."""
        if self.cycle is last:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it tells no more than we do
        self._answer(400, "bad_request", UNREADABLE)

    def _answer(self, status: int, code: str, detail: str) -> None:
        """Answer without any application, and close: in the very bytes, whatever came so far."""
        body = json.dumps(problem(code, status, detail)).encode()
        given = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        head += [name + b": " + value for name, value in complete(given)]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        self.transport.close()
