"""
A job that has not ended, as the daemon holds it in memory, and those who wait for it.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from mcli.daemon.orphan import Orphan, Streams
from mcli.daemon.workers import Worker
from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.states import FINAL, State

Listener = Callable[[int, dict[str, Any]], None]


class Live:
    """One job, from its submission to its end."""

    def __init__(self, job_id: str, invocation: Invocation, fds: list[int]) -> None:
        self.id = job_id
        self.info: JobInfo | None = None
        """None until it is accepted."""

        self.invocation = invocation
        self.fds = fds
        self.worker: Worker | None = None
        self.streams: Streams | None = None
        self.orphan: Orphan | None = None
        """What looks after it when its worker is dead."""

        self.status: int | None = None
        """How its process ended, if it was ours to wait for."""

        self.reached = False
        self.size = 0
        """Bytes in its record log, as far as is known."""

        self.listeners: set[Listener] = set()
        """Told of what happens besides output: ``PAUSED``, ``TYPED``."""

        self._changed: asyncio.Event = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.info is not None and self.info.state in (State.RUNNING, State.STOPPING)

    @property
    def priority(self) -> int:
        return self.info.priority if self.info is not None else 0

    @property
    def final(self) -> bool:
        return self.info is not None and self.info.state in FINAL

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait for the next change: output, its body reached, another state. False: too long."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def share(self, streams: Streams) -> None:
        """Keep what its worker shares."""
        if self.streams is not None:
            self.streams.close()
        self.streams = streams

    def close_fds(self) -> None:
        fds, self.fds = self.fds, []
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
