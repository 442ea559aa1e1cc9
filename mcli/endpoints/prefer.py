"""
What submissions over HTTP have in common: how long the caller would wait, what it calls the
request, and how JSON is answered.
"""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self

from starlette.requests import Request
from starlette.responses import Response

from mcli.errors import RequestError

WAIT_MAX_S: Final = 60.0
"""Seconds that one request may wait; whoever wants to wait longer asks again."""

RETRY_S: Final = 1
"""Seconds after which it makes sense to ask again."""

_KEY: Final = re.compile(r"[ -~]{1,255}")
_WAIT: Final = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?")


class Preference(NamedTuple):
    """What a request says in ``Prefer`` (RFC 7240)."""

    wait_s: int | None = None
    """Seconds that it would wait for the end."""

    respond_async: bool = False
    """It would rather not wait at all; with ``wait_s``: no longer than that."""

    @classmethod
    def of(cls, request: Request) -> Self:
        """What is not understood is left out, as the RFC has it. The first ``wait`` counts."""
        words = [
            word.partition(";")[0].strip().lower()
            for line in request.headers.getlist("prefer")
            for word in line.split(",")
        ]
        waits = [int(found[1]) for word in words if (found := _WAIT.fullmatch(word))]
        return cls(waits[0] if waits else None, "respond-async" in words)

    @property
    def applied(self) -> dict[str, str]:
        """The header that says what was heeded."""
        if self.wait_s is not None:
            return {"Preference-Applied": f"wait={min(self.wait_s, int(WAIT_MAX_S))}"}
        return {"Preference-Applied": "respond-async"} if self.respond_async else {}


def idempotency_key(request: Request) -> str | None:
    """What the caller calls this request.

    Raises:
        RequestError: It is empty, too long, given twice, or not printable ASCII.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise RequestError("Idempotency-Key must be given once, 1 to 255 printable characters")
    return given[0]


def digest(*parts: Any) -> bytes:
    """Equal for equal requests. *parts* are what JSON can hold."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("ascii"), digest_size=16).digest()


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """*content* in ASCII: whatever a job was given or returns, it can be encoded."""
    return Response(json.dumps(content), status, headers, media_type="application/json")
