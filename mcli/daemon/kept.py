"""What the jobs of this daemon leave behind: what answers about them ask of it."""

from mcli.daemon.ports import Dispatcher
from mcli.endpoints.ports import Document


class Kept:
    """The files of jobs, and their changes."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._daemon = dispatcher

    def folder(self, job_id: str) -> str:
        return self._daemon.home.job(job_id)

    async def changed(self, job: Document, offset: int, timeout_s: float) -> Document:
        known = self._daemon.find(job["id"])
        if known.state == job["state"]:
            known = await self._daemon.changed(known, offset, timeout_s)
        return known.document()
