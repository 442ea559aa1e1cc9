"""
What answers about jobs have in common: the daemon, and the waiting that a request prefers.

Called by the routes: those of jobs, and those of endpoints.
"""

from typing import Annotated, Any

from fastapi import Depends, Request

from mcli.daemon.ports import Dispatcher
from mcli.endpoints.prefer import WAIT_MAX_S, Preference
from mcli.job import JobInfo

Document = dict[str, Any]


async def _dispatcher(request: Request) -> Dispatcher:
    found: Dispatcher = request.app.state.dispatcher
    return found


Daemon = Annotated[Dispatcher, Depends(_dispatcher)]


async def heeded(preferred: Preference, daemon: Dispatcher, job: JobInfo) -> Document:
    """The document of *job* after as much waiting as is wanted."""
    if preferred.wait_s is not None and not job.is_final:
        job = await daemon.wait(job.id, min(preferred.wait_s, WAIT_MAX_S))
    return job.document()
