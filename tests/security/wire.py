"""Requests in the very bytes that are sent, and what comes back."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from acceptance.daemon import DEADLINE_S
from starlette.types import ASGIApp

from mcli.daemon.limits import Limits
from mcli.daemon.web import web_server


class Answer(NamedTuple):
    """An HTTP answer; status 0 if the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def together(asks: Iterable[Callable[[], Answer]]) -> list[Answer]:
    """The answers, in order: who fails to be let in is kept waiting, so many ask at once."""
    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(lambda ask: ask(), asks))


class Wire:
    """Where a daemon listens, and the token to send there."""

    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        self.url = url
        self.token = token
        self.host, self.port = str(place.hostname), int(place.port or 0)

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=DEADLINE_S)

    def send(self, data: bytes) -> Answer:
        """Send exactly that, and read to the end of the connection."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it has answered, and does not listen any more
                connection.sendall(data)
            return parse(read(connection))

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        token: str | None = "",
        host: str | None = "",
        **headers: str,
    ) -> Answer:
        """One request. *token*, *host*: empty for the right one, None for none."""
        lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
        if host is not None:
            lines.append(f"Host: {host or self.authority}")
        if token is not None:
            lines.append(f"Authorization: Bearer {token or self.token}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def post(self, path: str, document: Any, **headers: Any) -> Answer:
        """Send JSON."""
        body = json.dumps(document).encode()
        return self.ask("POST", path, body=body, Content_Type="application/json", **headers)


@contextmanager
def serving(app: ASGIApp, limits: Limits, listening: socket.socket) -> Iterator[None]:
    """Have *app* served on a socket, as the daemon serves its own."""
    loop = asyncio.new_event_loop()
    server = web_server(app, limits)
    serve = server.serve(sockets=[listening])
    thread = Thread(target=loop.run_until_complete, args=[serve])
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()


def read(connection: socket.socket) -> bytes:
    """All that comes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    return Answer(int(first.split()[1]), headers, body)
