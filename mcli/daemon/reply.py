"""
What answers about jobs have in common: the preference of a request, the headers of an answer.

Called by the routes: those of jobs, and those of endpoints.
"""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, Request
from starlette.responses import Response

from mcli.daemon.ports import Dispatcher
from mcli.errors import RequestError
from mcli.job import JobInfo

Document = dict[str, Any]

WAIT_MAX_S: Final = 60.0
"""Seconds that one request may wait; whoever wants to wait longer asks again."""

RETRY_S: Final = 1
"""Seconds after which it makes sense to ask again."""

_KEY: Final = re.compile(r"[ -~]{1,255}")
_WAIT: Final = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?")


async def _dispatcher(request: Request) -> Dispatcher:
    found: Dispatcher = request.app.state.dispatcher
    return found


Daemon = Annotated[Dispatcher, Depends(_dispatcher)]


class Preference(NamedTuple):
    """What a request says in ``Prefer`` (RFC 7240)."""

    wait_s: int | None = None
    """Seconds that it would wait for the end."""

    respond_async: bool = False
    """It would rather not wait at all; with ``wait_s``: no longer than that."""

    @classmethod
    def of(cls, request: Request) -> "Preference":
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

    async def heeded(self, daemon: Dispatcher, job: JobInfo) -> JobInfo:
        """*job* after as much waiting as is wanted."""
        if self.wait_s is None or job.is_final:
            return job
        return await daemon.wait(job.id, min(self.wait_s, WAIT_MAX_S))


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


def live_headers(job: JobInfo) -> dict[str, str]:
    """When to ask again about a job that has not ended."""
    return {} if job.is_final else {"Retry-After": str(RETRY_S)}


def accepted(job: JobInfo, prefer: Preference, *, replayed: bool = False) -> Response:
    """The answer to a submission: 200 and the document if it has ended, else 202 and where to
    look.

    Args:
        job: As it is after waiting.
        replayed: Its idempotency key has brought it before.
    """
    headers = {
        "Location": f"/v1/jobs/{job.id}",
        **live_headers(job),
        **prefer.applied,
        **({"Idempotent-Replayed": "true"} if replayed else {}),
    }
    return json_response(job.document(), 200 if job.is_final else 202, headers)
