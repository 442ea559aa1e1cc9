"""
What answers about jobs have in common: the preference of a request, the headers of an answer.

Called by the routes: those of jobs, and those of endpoints.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from mcli.daemon.ports import Dispatcher
from mcli.endpoints import prefer
from mcli.endpoints.prefer import RETRY_S, WAIT_MAX_S, json_response
from mcli.job import JobInfo

Document = dict[str, Any]


async def _dispatcher(request: Request) -> Dispatcher:
    found: Dispatcher = request.app.state.dispatcher
    return found


Daemon = Annotated[Dispatcher, Depends(_dispatcher)]


class Preference(prefer.Preference):
    """What a request prefers, done."""

    async def heeded(self, daemon: Dispatcher, job: JobInfo) -> JobInfo:
        """*job* after as much waiting as is wanted."""
        if self.wait_s is None or job.is_final:
            return job
        return await daemon.wait(job.id, min(self.wait_s, WAIT_MAX_S))


def live_headers(job: JobInfo) -> dict[str, str]:
    """When to ask again about a job that has not ended."""
    return {} if job.is_final else {"Retry-After": str(RETRY_S)}


def accepted(job: JobInfo, preferred: Preference, *, replayed: bool = False) -> Response:
    """The answer to a submission: 200 and the document if it has ended, else 202 and where to
    look.

    Args:
        job: As it is after waiting.
        replayed: Its idempotency key has brought it before.
    """
    headers = {
        "Location": f"/v1/jobs/{job.id}",
        **live_headers(job),
        **preferred.applied,
        **({"Idempotent-Replayed": "true"} if replayed else {}),
    }
    return json_response(job.document(), 200 if job.is_final else 202, headers)
