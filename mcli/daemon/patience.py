"""
Waiting in the event loop for what the system does not allow now, or has not done yet.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

log = logging.getLogger("mcli.jobs")

AGAIN_S: Final = 1.0
"""Seconds until something is tried again that the system did not allow."""


def insist(act: Callable[[], None]) -> None:
    """Do it now, or when the disk has room or descriptors are free again."""
    try:
        act()
    except OSError as error:
        log.error("job.waits %s", error)
        asyncio.get_running_loop().call_later(AGAIN_S, insist, act)


def when_gone(pid: int, then: Callable[[], None]) -> None:
    """Call *then* once the process has ended; now, if it has."""
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        then()
        return
    except OSError:  # no descriptors are left
        loop.call_later(AGAIN_S, when_gone, pid, then)
        return

    def gone() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        then()

    loop.add_reader(fd, gone)
