"""
Waiting in the event loop for what the system does not allow now, or has not done yet.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from mcli.ticket import started_ticks

log = logging.getLogger("mcli.jobs")

AGAIN_S: Final = 1.0
"""Seconds until something is tried again that the system did not allow."""

_FIRST_S: Final = 0.02

LOOKS_MAX: Final = 8
"""Looks in a row at which a worker does not answer, or has not come back, until it is ended. Looks
and not seconds: who was suspended beside it has not looked either."""


def pause_s(tries: int) -> float:
    """Seconds until what has not begun for so many *tries* is tried again: longer each time."""
    return min(AGAIN_S, _FIRST_S * (1 << min(tries, 10)))


def insist(act: Callable[[], None]) -> None:
    """Do it now, or when the disk has room or descriptors are free again."""
    try:
        act()
    except OSError as error:
        log.error("job.waits %s", error)
        asyncio.get_running_loop().call_later(AGAIN_S, insist, act)


async def persist(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it, from its beginning again when the system did not allow a part of it."""
    while True:
        try:
            return await make()
        except OSError as error:
            log.error("job.waits %s", error)
            await asyncio.sleep(AGAIN_S)


def end_silent(worker: int, process: int) -> None:
    """End a worker that stands still, or hangs: its jobs go on without it.

    Args:
        process: A descriptor of it, of ``pidfd_open``.
    """
    log.warning("worker.silent pid=%d", worker)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)


class Vigil:
    """Calls *then* once the process has ended: now, if it has. Never after ``close``.

    Args:
        ticks: When it started, of ``started_ticks``: another one of its number is not meant.
        before: Called before it is ended here; if it raises ``OSError``, that has to wait.
    """

    def __init__(
        self,
        pid: int,
        then: Callable[[], None],
        *,
        ticks: int | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.pid = pid
        self._then = then
        self._ticks = ticks
        self._before = before
        self._process: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._process = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._then()
        except OSError:  # no descriptors are left
            self._timer = loop.call_later(AGAIN_S, self._begin)
        else:
            if self._ticks not in (None, started_ticks(self.pid)):
                self._gone()
                return
            loop.add_reader(self._process, self._gone)

    def _gone(self) -> None:
        self.close()
        self._then()

    def look(self) -> None:
        """Once more it has not come back. When that has been so for too often, it is ended."""
        self._looks += 1
        if self._looks >= LOOKS_MAX and self._process is not None:
            try:
                self._before()
            except OSError as error:  # too many files are open: at the next look
                log.error("job.waits %s", error)
                return
            self._looks = 0
            end_silent(self.pid, self._process)

    def close(self) -> None:
        """It is of no interest any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            asyncio.get_running_loop().remove_reader(self._process)
            os.close(self._process)
            self._process = None
