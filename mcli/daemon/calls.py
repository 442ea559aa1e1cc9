"""Requests to endpoints as jobs of this daemon: what ``endpoints`` asks of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcli.daemon.apps import Apps
from mcli.daemon.dispatch import Dispatcher
from mcli.daemon.kept import Kept
from mcli.endpoint import Checked
from mcli.endpoints.mount import Mount
from mcli.endpoints.ports import Call, Document
from mcli.errors import DaemonError
from mcli.queue import CALL_PRIORITY


class Calls(Kept):
    """The jobs of endpoints. A call whose answer is waited for goes before other jobs."""

    def __init__(self, dispatcher: Dispatcher, apps: Apps) -> None:
        super().__init__(dispatcher)
        self._dispatcher = dispatcher
        self._apps = apps

    async def check(
        self, mount: Mount, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]
    ) -> Checked:
        return await self._apps.check(mount, values, texts)

    async def submit(self, call: Call) -> Document:
        accepted = await self._dispatcher.accept(
            self._apps.called(call.mount, call.checked),
            job_id=call.job_id,
            priority=0 if call.mount.endpoint.background else CALL_PRIORITY,
            key=call.key,
            request=call.request,
        )
        return accepted.job.document()

    async def wait(self, job_id: str, timeout_s: float) -> Document:
        job = await self._dispatcher.wait(job_id, timeout_s)
        if self._dispatcher.leaving and not job.is_final:
            raise DaemonError(f"the daemon is stopping; job {job_id} runs on")
        return job.document()
