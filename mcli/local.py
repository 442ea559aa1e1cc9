"""
The daemon on this machine, as endpoints in another process see it: its jobs, over its socket.

For an event loop: however many requests wait for their jobs, none of them holds a thread.
Called by ``router``.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, NamedTuple

from mcli import frames
from mcli.attach import Wire
from mcli.description import Found
from mcli.endpoint import Checked, Command
from mcli.endpoints.mount import Mount
from mcli.endpoints.ports import Call, Document
from mcli.errors import DaemonError, DaemonNotRunning, OutcomeUnknown
from mcli.home import Home
from mcli.parameters import check
from mcli.problem import error_in
from mcli.states import State
from mcli.submission import app_of, invocation_of
from mcli.version import PROTOCOL

Frames = AsyncGenerator[tuple[int, bytes], None]


class Offer(NamedTuple):
    """A command of this process, found and described."""

    found: Found
    command: Command


class Local:
    """Checks the parameters of *offers* here, and has the daemon run their jobs.

    Args:
        offers: By the name of their app and their own.
    """

    def __init__(self, home: Home, offers: Mapping[tuple[str, str], Offer]) -> None:
        self._home = home
        self._offers = offers

    # For endpoints --------------------------------------------------------------------

    async def check(
        self, mount: Mount, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]
    ) -> Checked:
        """The words for a request's parameters, or what is wrong with each."""
        found, command = self._offer(mount)
        return await asyncio.to_thread(check, found, command, values, texts)

    def folder(self, job_id: str) -> str:
        """Where that job's files are."""
        return self._home.job(job_id)

    async def submit(self, call: Call) -> Document:
        """The job's document, once it is accepted.

        Raises:
            DaemonNotRunning: Nothing was sent.
            OutcomeUnknown: It may have been accepted.
            MCLIError: It was not accepted.
        """
        asked = {
            "id": call.job_id,
            "detach": True,
            "fds": 0,
            "invocation": self._invocation(call),
            "awaited": not call.mount.endpoint.background,
            "key": call.key,
            "request": call.request.hex(),
        }
        try:
            answer = await self._ask(frames.SUBMIT, asked)
        except ConnectionError:
            answer = await self._again(asked)
        return await self.job(answer["id"])

    async def _again(self, asked: Document) -> Document:
        """Nobody has told whether it was accepted: the same id is the same job."""
        with suppress(DaemonError, ConnectionError):
            return await self._ask(frames.SUBMIT, asked)
        raise OutcomeUnknown(
            f"the daemon went away; it may have taken job {asked['id']}; look with: mcli ps"
        )

    async def wait(self, job_id: str, timeout_s: float) -> Document:
        """The job once it has ended, or as it is after *timeout_s* seconds.

        Raises:
            DaemonError: The daemon has gone away, and the job runs on.
        """
        async with self._following(job_id) as (job, more):
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    async for kind, payload in more:
                        if kind == frames.FINISHED:
                            return dict(json.loads(payload)["job"])
                    raise DaemonError(f"the daemon has stopped; job {job_id} runs on")
            return job

    async def changed(self, job: Document, offset: int, timeout_s: float) -> Document:
        """The job once it has printed more than *offset* bytes of its log, or its state is
        another one; or as it is after *timeout_s* seconds.

        Raises:
            DaemonError: The daemon has gone away, and the job runs on.
        """
        async with self._following(job["id"], offset) as (now, more):
            if now["state"] != job["state"]:
                return now
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    async for kind, payload in more:
                        if kind == frames.FINISHED:
                            return dict(json.loads(payload)["job"])
                        if kind == frames.OUTPUT:
                            return await self.job(job["id"])
                        if kind == frames.STARTED and job["state"] != State.RUNNING:
                            now = await self.job(job["id"])
                            if now["state"] != job["state"]:
                                return now
                    raise DaemonError(f"the daemon has stopped; job {job['id']} runs on")
        return await self.job(job["id"])

    # For the routes of jobs -----------------------------------------------------------

    async def job(self, job_id: str) -> Document:
        """The job as it is now.

        Raises:
            UnknownJob: There is none.
        """
        async with self._following(job_id) as (job, _):
            return job

    async def cancel(self, job_id: str) -> Document:
        """Ask it to end.

        Raises:
            InvalidTransition: It has ended.
        """
        await self._ask(frames.CANCEL, {"id": job_id})
        return await self.job(job_id)

    def is_ours(self, job: Document) -> bool:
        """Whether it is a job of a command that is offered here, asked for over HTTP."""
        targets = {offer.command.target for offer in self._offers.values()}
        return job["source"] == "http" and job["app"] in targets

    def _offer(self, mount: Mount) -> Offer:
        return self._offers[mount.app, mount.command.name]

    def _invocation(self, call: Call) -> Document:
        command, endpoint = call.mount.command, call.mount.endpoint
        return invocation_of(
            command.shown or command.name,
            app_of(command.target),
            call.checked.words,
            timeout_s=endpoint.timeout_s or command.timeout_s,
            policy=command.policy.document(),
            source="http",
            command=command.name,
            secrets=call.checked.secrets,
            on_finish=command.on_finish,
        )

    # The socket -----------------------------------------------------------------------

    async def _ask(self, kind: int, payload: Document) -> Document:
        async with self._asking(kind, payload) as (answer, _):
            return answer

    @asynccontextmanager
    async def _following(
        self, job_id: str, offset: int = -1
    ) -> AsyncIterator[tuple[Document, Frames]]:
        """The job as it is, and the frames that tell its end; what it prints from *offset* on
        too, unless that is -1."""
        asked = {"id": job_id, "offset": offset}
        try:
            async with self._asking(frames.ATTACH, asked) as (answer, more):
                yield answer["job"], more
        except ConnectionError as error:
            raise DaemonNotRunning from error

    @asynccontextmanager
    async def _asking(self, kind: int, payload: Document) -> AsyncIterator[tuple[Document, Frames]]:
        """The daemon's answer, and the frames that follow it."""
        wire = await asyncio.to_thread(Wire, self._home)
        connection = socket.socket(fileno=wire.socket.detach())
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            writer.write(frames.encode(kind, {"protocol": PROTOCOL, **payload}))
            async with aclosing(_frames(reader)) as found:
                yield await _answer(found), found
        finally:
            writer.close()


async def _frames(reader: asyncio.StreamReader) -> Frames:
    decoder = frames.Decoder()
    with suppress(ConnectionError):  # the end, however it came
        while data := await reader.read(1 << 16):
            for frame in decoder.feed(data):
                yield frame


async def _answer(found: Frames) -> Document:
    async for kind, payload in found:
        told: Document = json.loads(payload)
        if kind == frames.REFUSED:
            raise error_in({"code": told["code"], "detail": told["message"]}, 0)
        return told
    raise ConnectionResetError("the daemon closed the connection")
