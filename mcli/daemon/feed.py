"""The route of what a job printed. The kernel drops who does not read (``bind.SEND_MS``)."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from mcli.daemon.jobs import Job
from mcli.daemon.kept import Kept
from mcli.daemon.reply import Daemon
from mcli.endpoints import feed
from mcli.endpoints.feed import PRINTED

routes = APIRouter()


@routes.get("/v1/jobs/{job_id}/output", response_class=Response, responses=PRINTED)
async def output(
    request: Request,
    job: Job,
    daemon: Daemon,
    stream: Annotated[str | None, Query(pattern="^(stdout|stderr)$")] = None,
    after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0,
    follow: bool = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """What the job printed; ``Accept`` chooses how it comes.

    Octets, of which ``Range`` takes a part; ``application/x-ndjson``, its records, one in a
    line; or ``text/event-stream``, which goes on until the job has ended. *after* is the
    ``next_offset`` of the last record seen; with *follow* the others go on as well.
    """
    told = await feed.output(
        request,
        Kept(daemon),
        job.document(),
        stream=stream,
        after=after,
        follow=follow,
        last_event_id=last_event_id,
    )
    if isinstance(told, StreamingResponse):
        told.body_iterator = daemon.readers.during(job.id, told.body_iterator)
    return told
