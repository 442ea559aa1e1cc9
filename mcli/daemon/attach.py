"""
The daemon's side of the attach socket: one ``Caller`` for each process that connects.
"""

import asyncio
import logging
import os
import signal
import socket
from typing import Any, Final

from mcli import failpoint, frames
from mcli.daemon import audit
from mcli.daemon.dispatch import Dispatcher
from mcli.daemon.headroom import is_beyond
from mcli.daemon.link import Link, close_all
from mcli.daemon.live import Live
from mcli.daemon.verdict import ending
from mcli.errors import MCLIError, ProtocolMismatch, Refused, RequestError
from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.output import read_records
from mcli.queue import CALL_PRIORITY
from mcli.stream import Stream
from mcli.version import PROTOCOL, __version__

log = logging.getLogger("mcli.attach")

BLOCK_BYTES = 1 << 18

_TOO_MANY: Final = "the daemon has as many files open as it may"

TOO_MANY: Final = frames.encode(frames.REFUSED, {"code": Refused.code, "message": _TOO_MANY})
"""What a caller is told for whom no descriptor is left: it was not even heard."""


class Caller:
    """A process that submits a job, or looks at one, and follows it to its end."""

    def __init__(self, dispatcher: Dispatcher, connection: socket.socket) -> None:
        self._dispatcher = dispatcher
        self._peer = audit.peer(connection)
        self._link = Link(connection, self._frame, self._closed)
        self._job_id: str | None = None
        self._live: Live | None = None
        self._follower: asyncio.Task[None] | None = None
        self._notices: list[tuple[int, int, dict[str, Any]]] = []
        """(size of the log at which it is due, kind, payload): told after the output before it."""

        self._started = False

    def _closed(self) -> None:
        if self._live is not None:
            self._live.listeners.discard(self._happened)
        if self._follower is not None:
            self._follower.cancel()

    def _frame(self, kind: int, payload: dict[str, Any]) -> None:
        if kind in (frames.SUBMIT, frames.ATTACH, frames.PING, frames.CANCEL):
            self._dispatcher.spawn(self._answer(kind, payload))
        elif self._live is not None and not self._live.final:
            self._pass_on(kind, payload)

    def _pass_on(self, kind: int, payload: dict[str, Any]) -> None:
        assert self._live is not None
        ends = payload.get("signal") in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
        idle = self._live.worker is None and self._live.orphan is None
        if kind == frames.SIGNAL and ends and idle:
            self._dispatcher.spawn(self._interrupt(self._live, payload))
        elif kind == frames.SIGNAL and payload["signal"] == signal.SIGTSTP and idle:
            self._link.send(frames.PAUSED, {})  # there is no process: its caller stops alone
        else:
            self._dispatcher.tell(self._live, kind, payload)

    async def _interrupt(self, live: Live, payload: dict[str, Any]) -> None:
        if await self._dispatcher.interrupt(live, payload):
            audit.note("cancel", self._peer, "attach", live.id)

    async def _answer(self, kind: int, payload: dict[str, Any]) -> None:
        try:
            if payload["protocol"] != PROTOCOL:
                raise ProtocolMismatch(
                    f"the daemon speaks protocol {PROTOCOL} (mcli {__version__}) and this program "
                    f"{payload['protocol']}; restart it with: mcli daemon restart"
                )
            await self._obey(kind, payload)
        except (KeyError, TypeError, ValueError) as error:
            told = f"not a request that this daemon knows: {error!r}"
            self._link.send(frames.REFUSED, {"code": RequestError.code, "message": told})
        except MCLIError as error:
            self._link.send(frames.REFUSED, {"code": error.code, "message": str(error)})
        except Exception:
            self._link.close()  # whoever waits for an answer is to know that none will come
            raise

    async def _obey(self, kind: int, payload: dict[str, Any]) -> None:
        if kind == frames.PING:
            self._link.send(frames.PONG, self._dispatcher.status())
        elif kind == frames.CANCEL:
            job = await self._dispatcher.cancel(payload["id"])
            audit.note("cancel", self._peer, "attach", job.id)
            self._link.send(frames.ACCEPTED, {"id": job.id})
        elif kind == frames.SUBMIT:
            await self._submit(payload)
        else:
            job = self._dispatcher.find(payload["id"])
            live = self._dispatcher.live(job.id)
            # Only now: those of a request that is refused are closed with the connection.
            self._dispatcher.give_terminal(live, self._link.take_fds(payload.get("fds", 0)))
            interactive = live is not None and "tty" in live.invocation.stdio
            told = {"id": job.id, "interactive": interactive, "job": job.document()}
            self._link.send(frames.ACCEPTED, told)
            self._follow(job.id, live, payload["offset"])

    async def _submit(self, payload: dict[str, Any]) -> None:
        live = await self._dispatcher.submit(
            Invocation.parse(payload["invocation"]),
            job_id=payload["id"],
            priority=CALL_PRIORITY if payload.get("awaited") else 0,
            key=payload.get("key"),
            request=bytes.fromhex(payload.get("request", "")),
            fds=self._input(payload["fds"]),  # last: until now they are the connection's
        )
        audit.note("submit", self._peer, "attach", live.id)
        self._link.send(frames.ACCEPTED, {"id": live.id})
        failpoint.reach("replied")
        if not payload["detach"]:
            self._follow(live.id, live, 0)

    def _input(self, count: int) -> list[int]:
        """The descriptors of a submission; whoever calls closes them.

        Raises:
            Refused: There is no room for them.
        """
        fds = self._link.take_fds(count)
        if len(fds) < count or any(map(is_beyond, fds)):
            close_all(fds)
            raise Refused(_TOO_MANY)
        return fds

    # Following ------------------------------------------------------------------------

    def _follow(self, job_id: str, live: Live | None, offset: int) -> None:
        if self._link.closed:
            return
        self._live = live
        if live is not None:
            live.listeners.add(self._happened)
            if live.running and live.info is not None and live.info.pid is not None:
                self._happened(frames.PIPES, self._dispatcher.pipes(live))
        self._follower = asyncio.get_running_loop().create_task(self._stream(job_id, live, offset))
        self._follower.add_done_callback(self._followed)

    def _followed(self, follower: asyncio.Task[None]) -> None:
        """When it could not go on, the caller has to come again."""
        if not follower.cancelled() and follower.exception() is not None:
            log.error("follow.failed", exc_info=follower.exception())
            self._link.close()

    def _happened(self, kind: int, payload: dict[str, Any]) -> None:
        self._notices.append((payload.get("size", 0), kind, payload))

    def _tell_notices(self, offset: int) -> None:
        while self._notices and self._notices[0][0] <= offset:
            _, kind, payload = self._notices.pop(0)
            if kind == frames.AGAIN:
                self._started = False
            self._link.send(kind, payload, self._terminal() if kind == frames.PIPES else [])

    def _terminal(self) -> list[int]:
        """The master of the job's terminal, to be held by the caller too."""
        master = self._live.terminal if self._live is not None else None
        try:
            return [os.dup(master)] if master is not None else []
        except OSError:  # too many are open
            return []

    async def _stream(self, job_id: str, live: Live | None, offset: int) -> None:
        with self._dispatcher.readers.reading(job_id):
            await self._tell_all(job_id, live, offset)

    async def _tell_all(self, job_id: str, live: Live | None, offset: int) -> None:
        """All records from *offset* on as they come, then the end."""
        path = os.path.join(self._dispatcher.home.job(job_id), "output.log")
        silent = offset < 0
        while True:
            final = live is None or live.final
            records = [] if silent else read_records(path, offset, BLOCK_BYTES)
            for record in records:
                self._tell_notices(record.offset)
                self._tell_started()
                told = b"%d" % record.missing if record.stream == Stream.GAP else record.data
                data = frames.encode_output(record.stream, record.next_offset, told)
                self._link.send_bytes(data)
                offset = record.next_offset
            self._tell_notices(offset)
            if live is not None and live.reached:
                self._tell_started()
            await self._link.drained()
            if records:
                continue
            if final:
                break
            assert live is not None
            await live.changed()
        job = live.info if live is not None else None
        self._end(job or self._dispatcher.get(job_id))

    def _tell_started(self) -> None:
        if not self._started:
            self._started = True
            self._link.send(frames.STARTED, {})

    def _end(self, job: JobInfo) -> None:
        began = (job.exit_code, job.signal) != (None, None)  # it may have been claimed, and no more
        payload = {"state": job.state, "began": began, "job": job.document()}
        self._link.send(frames.FINISHED, {**payload, **ending(job)})
