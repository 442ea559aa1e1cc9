"""
What stands on every answer, so that a browser neither keeps it, nor guesses at it, nor lends
it to another page.
"""

from typing import Final

from starlette.types import Message, Send

ALWAYS: Final = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        b" frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
"""Unless the route has said otherwise itself."""

DOWNLOADS: Final = (b"application/octet-stream", b"text/plain")
"""What jobs have printed comes as one of these: to be saved, never shown as a page of ours."""


def protected(send: Send) -> Send:
    """*send*, with those headers."""

    async def send_protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = complete(list(message.get("headers", ())))
        await send(message)

    return send_protected


def complete(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """*headers* and those that they lack."""
    given = dict(headers)
    wanted = dict(ALWAYS)
    if given.get(b"content-type", b"").partition(b";")[0] in DOWNLOADS:
        wanted[b"content-disposition"] = b"attachment"
    return headers + [(name, value) for name, value in wanted.items() if name not in given]
