"""
What a job printed, over HTTP: its octets, its records as NDJSON, or as server-sent events.

Read from the record log block by block, as the reader takes it: who reads slowly costs one
block. Called by the routes of jobs: the daemon's, and those of ``mcli.api_router``.
"""

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mcli.endpoints.answer import is_final
from mcli.endpoints.ports import Document, Kept
from mcli.errors import RequestError, UnknownJob
from mcli.output import Record, read_records
from mcli.stream import Stream

BYTES: Final = "application/octet-stream"
RECORDS: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"

BLOCK_BYTES: Final = 1 << 18
PING_S: Final = 15.0
"""Seconds of silence after which an event stream says that it still lives."""

RETRY_MS: Final = 2000
"""Milliseconds after which a reader of events comes back by itself."""

END: Final = "end"
"""The id of the last event: whoever comes back with it has seen all."""

STREAMS: Final = {
    "stdout": {Stream.STDOUT, Stream.TTY},
    "stderr": {Stream.STDERR},
}

PRINTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "What the job printed.", "content": {BYTES: {}, RECORDS: {}, EVENTS: {}}},
    206: {"description": "The part that was asked for.", "content": {BYTES: {}}},
}

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def output(
    request: Request,
    kept: Kept,
    job: Document,
    *,
    stream: str | None,
    after: int,
    follow: bool,
    last_event_id: str | None,
) -> Response:
    """What the job printed; ``Accept`` chooses how it comes.

    Octets, of which ``Range`` takes a part; ``application/x-ndjson``, its records, one in a
    line; or ``text/event-stream``, which goes on until the job has ended. *after* is the
    ``next_offset`` of the last record seen; with *follow* the others go on as well.
    """
    accept = request.headers.get("accept", "")
    path = os.path.join(kept.folder(job["id"]), "output.log")
    printed = os.path.lexists(path)
    chosen = Chosen(kept, job, STREAMS[stream] if stream else set(Stream), path, printed)
    if EVENTS in accept:
        if last_event_id == END:
            return Response(status_code=204)  # what makes a browser stop coming back
        after = _offset(last_event_id, after)
    await chosen.check(after)
    if EVENTS in accept:
        return _events(chosen, after)
    if RECORDS in accept:
        lines = (_line(each) async for each in chosen.records(after, follow))
        return StreamingResponse(lines, media_type=RECORDS)
    return await _octets(request, chosen, after, follow)


def _offset(last_event_id: str | None, after: int) -> int:
    if not last_event_id:
        return after
    if not re.fullmatch(r"[0-9]{1,18}", last_event_id):
        raise RequestError("Last-Event-ID is not one of ours; leave it out to begin anew")
    return int(last_event_id)


class Chosen(NamedTuple):
    """A job's output, of one stream or all."""

    kept: Kept
    job: Document
    streams: Collection[Stream]
    path: str
    printed: bool
    """Whether its log was there when it was asked for."""

    async def check(self, offset: int) -> None:
        """See to it that reading may begin there.

        Raises:
            RequestError: No record begins there.
        """
        try:
            await self.block(offset)
        except ValueError:
            raise RequestError(
                f"no record begins at offset {offset}; use the next_offset of one that was read"
            ) from None

    async def block(self, offset: int) -> tuple[list[Record], int]:
        """The next records, those of other streams left out, and where they end."""
        found = await asyncio.to_thread(read_records, self.path, offset, BLOCK_BYTES)
        end = found[-1].next_offset if found else offset
        return [record for record in found if record.stream in self.streams], end

    async def records(self, offset: int, follow: bool = False) -> AsyncIterator[Record]:
        """All from *offset* on; with *follow* until the job has ended."""
        async for found in self.happenings(offset, follow=follow):
            if isinstance(found, Record):
                yield found

    async def happenings(
        self, offset: int, *, follow: bool
    ) -> AsyncIterator[Record | Document | None]:
        """Records from *offset* on, and the job whenever its state is another one.

        The state comes after all that was printed before it. None: nothing has happened for
        ``PING_S`` seconds.

        Raises:
            UnknownJob: It was removed meanwhile: what has been read is not known to be all.
        """
        job, told, quiet, printed = self.job, "", False, self.printed
        while True:
            records, end = await self.block(offset)
            for record in records:
                yield record
            if end > offset:
                offset, quiet, printed = end, False, True
                continue
            if printed and not os.path.lexists(self.path):
                raise UnknownJob(f"job {job['id']} was removed while its output was read")
            if job["state"] != told:
                yield job
            elif quiet:
                yield None
            if not follow or is_final(job) or job["route"] == "local":
                return
            told, quiet = job["state"], True
            job = await self.kept.changed(job, offset, PING_S)

    async def size(self, offset: int) -> int:
        """Bytes that were printed from *offset* on."""
        total = 0
        async for record in self.records(offset):
            total += len(record.data)
        return total


# Octets -----------------------------------------------------------------------------------


async def _octets(request: Request, chosen: Chosen, after: int, follow: bool) -> Response:
    asked = None if follow or "if-range" in request.headers else request.headers.get("range")
    size = await chosen.size(after) if asked else 0
    part = _part(asked, size) if asked else None
    if part is None:
        data = (record.data async for record in chosen.records(after, follow))
        return StreamingResponse(data, media_type=BYTES, headers={"Accept-Ranges": "bytes"})
    if part.start >= size:
        none = {"Content-Range": f"bytes */{size}"}
        raise HTTPException(416, f"there are {size} bytes, and none in that range", none)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes {part.start}-{part.stop - 1}/{size}",
        "Content-Length": str(len(part)),
    }
    return StreamingResponse(_cut(chosen.records(after), part), 206, headers, BYTES)


def _part(text: str, size: int) -> range | None:
    """The bytes that a ``Range`` asks for; None if it is not one that is heeded."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        return range(max(0, size - int(found[2])) if int(found[2]) else size, size)
    first = int(found[1])
    last = int(found[2]) if found[2] else max(first, size)
    return range(first, max(first, min(last + 1, size))) if last >= first else None


async def _cut(records: AsyncIterator[Record], part: range) -> AsyncIterator[bytes]:
    at = 0
    async for record in records:
        if at >= part.stop:
            return
        yield record.data[max(0, part.start - at) : part.stop - at]
        at += len(record.data)


# Records ----------------------------------------------------------------------------------


def _line(record: Record) -> bytes:
    return json.dumps(_fields(record)).encode() + b"\n"


def _fields(record: Record) -> dict[str, Any]:
    return {
        "offset": record.offset,
        "next_offset": record.next_offset,
        "time": record.time_s,
        "stream": record.stream.name.lower(),
        "data": base64.b64encode(record.data).decode(),
    }


# Events -----------------------------------------------------------------------------------


def _events(chosen: Chosen, offset: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(chosen, offset), media_type=EVENTS, headers=headers)


async def _told(chosen: Chosen, offset: int) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    async for found in chosen.happenings(offset, follow=True):
        if found is None:
            yield b": ping\n\n"
        elif isinstance(found, Record):
            yield _event("output", _fields(found), str(found.next_offset))
        else:
            yield _event("state", {"state": found["state"]})
            if is_final(found):
                yield _event("end", _ending(found), END)


def _event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    """One event. JSON in ASCII has no line end of any kind, whatever is in it."""
    mark = f"id: {event_id}\n" if event_id is not None else ""
    return f"event: {name}\n{mark}data: {json.dumps(data)}\n\n".encode("ascii")


def _ending(job: Document) -> dict[str, Any]:
    return {key: job[key] for key in ("state", "reason", "exit_code", "signal")}
