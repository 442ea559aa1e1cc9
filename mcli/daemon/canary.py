"""
Whether a job comes through: the daemon gives itself one, the smallest there is.

That a process lives says little; that store, queue and worker have just done their work says
all that can be known.
"""

import asyncio
import contextlib
import os
import sys
import time
from typing import Final

from mcli import version
from mcli.daemon.jobs import removed
from mcli.daemon.ports import Dispatcher
from mcli.errors import InvalidTransition, MCLIError, NotReady
from mcli.ids import new_id
from mcli.invocation import App, Invocation
from mcli.job import JobInfo
from mcli.queue import CALL_PRIORITY
from mcli.states import State

FRESH_S: Final = 30.0
"""Seconds for which one passage is proof."""

PATIENCE_S: Final = 5.0
"""Seconds that a passage may take."""


class Canary:
    """The newest proof, and how to get another."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._passed_at: float | None = None
        self._flight = asyncio.Lock()
        self._leftover: set[asyncio.Task[None]] = set()

    async def age_s(self, *, fresh: bool = False) -> float:
        """Seconds since a job has come through; one is sent if that is too long ago.

        Args:
            fresh: One is sent in any case.

        Raises:
            NotReady: It did not; the message says how far it came.
        """
        async with self._flight:
            old = self._passed_at is None or time.monotonic() - self._passed_at > FRESH_S
            if old or fresh:
                await self._fly()
                self._passed_at = time.monotonic()
            assert self._passed_at is not None
            return time.monotonic() - self._passed_at

    async def _fly(self) -> None:
        job_id = new_id()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._dispatcher.accept(_smallest(), job_id=job_id, priority=CALL_PRIORITY)
        except (MCLIError, TimeoutError) as error:
            raise NotReady(f"the store did not accept a job: {error or 'it is slow'}") from error
        job = await self._dispatcher.wait(job_id, PATIENCE_S)
        clearing = asyncio.create_task(self._clear(job))
        self._leftover.add(clearing)
        clearing.add_done_callback(self._leftover.discard)
        if job.state is not State.SUCCEEDED:
            raise NotReady(_told(job))

    async def _clear(self, job: JobInfo) -> None:
        """Leave nothing of it, whenever it ends."""
        if not job.is_final:
            with contextlib.suppress(InvalidTransition):  # it may just have ended
                await self._dispatcher.cancel(job.id)
            while not job.is_final:
                if self._dispatcher.leaving:  # the next daemon has it
                    return
                job = await self._dispatcher.wait(job.id, PATIENCE_S)
        await removed(self._dispatcher, job)


def _told(job: JobInfo) -> str:
    if job.state is State.QUEUED:
        return f"no worker was given a job in {PATIENCE_S:g} s: all are busy"
    if job.is_final:
        return f"a worker could not run a job: {job.state} ({job.reason}) {job.error or ''}".strip()
    return f"a worker was given a job, and has not ended it in {PATIENCE_S:g} s"


def _smallest() -> Invocation:
    """A program that does nothing, in the worker that runs any program."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(version.__file__)))
    return Invocation(
        name="canary",
        app=App(kind="exec", target="true", python=sys.executable, mcli_root=root),
        argv=[],
        argv0="true",
        cwd="/",
        env=dict(os.environ),
        source="daemon",
    )
