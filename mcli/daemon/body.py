"""
The body of a request, as far as it may be taken in at all.

Its size is watched while it is received, so that a body which does not tell its length is
refused as soon as it is too long, and before anything has tried to make sense of it.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcli.daemon.origin import Headers, values

DRAIN_S: Final = 2.0
DRAIN_BYTES: Final = 1 << 26
"""How long, and how much, a sender is listened to that is refused: it would not read before."""

JSON: Final = b"application/json"
UPLOAD: Final = b"multipart/form-data"


def is_there(headers: Headers) -> bool:
    """Whether a body comes with it."""
    lengths = values(headers, b"content-length")
    return bool(values(headers, b"transfer-encoding")) or any(length != b"0" for length in lengths)


def told_length(headers: Headers) -> int:
    """What the request says of its length; 0 if it says nothing."""
    return max([0, *(int(each) for each in values(headers, b"content-length") if each.isdigit())])


def is_known(headers: Headers, *, upload: bool) -> bool:
    """Whether it is JSON, or, where files may be uploaded, a form with files."""
    kinds = [each.partition(b";")[0].strip().lower() for each in values(headers, b"content-type")]
    return len(kinds) == 1 and (kinds[0] == JSON or (upload and kinds[0] == UPLOAD))


async def drain(headers: Headers, receive: Receive) -> None:
    """Let a sender finish that reads no answer before; not one that waits to be told to begin."""
    if values(headers, b"expect"):
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await _drain(receive)


async def _drain(receive: Receive) -> None:
    left = DRAIN_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


class Measured:
    """One request on its way through *app*, whose body may have *most* bytes."""

    def __init__(self, app: ASGIApp, most: int, receive: Receive, send: Send) -> None:
        self._app = app
        self._left = most
        self._receive = receive
        self._send = send
        self._begun = False
        self.too_long = False
        """It was, and nothing has been answered yet; whatever the app had to say is not sent."""

    async def run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self._take, self._give)
        except Exception:
            if not self.too_long:
                raise

    async def _take(self) -> Message:
        if self._left < 0:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_long = not self._begun
            return {"type": "http.disconnect"}
        return message

    async def _give(self, message: Message) -> None:
        if not self.too_long:
            self._begun = True
            await self._send(message)
