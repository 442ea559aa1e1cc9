"""What the jobs of this daemon leave behind: what answers about them ask of it."""

import asyncio

from mcli.daemon.ports import Dispatcher
from mcli.endpoints.ports import Document
from mcli.outcome import read_outcome


class Kept:
    """The files of jobs, and their changes."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._daemon = dispatcher

    def folder(self, job_id: str) -> str:
        return self._daemon.home.job(job_id)

    async def withheld(self, job_id: str) -> str | None:
        attempt = self._daemon.find(job_id).attempt
        outcome = await asyncio.to_thread(read_outcome, self.folder(job_id), attempt)
        return outcome.withheld if outcome is not None else None

    async def changed(self, job: Document, offset: int, timeout_s: float) -> Document:
        known = self._daemon.find(job["id"])
        if known.state == job["state"]:
            known = await self._daemon.changed(known, offset, timeout_s)
        return known.document()
