"""
The end of a daemon that cannot be trusted any more: at once, with the reason in its log.

What has been told to anybody is on the disk, and the next daemon takes over what runs. So a
daemon that has met a bug, or has lost what it stands on, does best to end as ``kill -9`` would
have ended it, before it does anything else.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

from mcli.errors import MCLIError

log = logging.getLogger("mcli.daemon")

CRASHED: Final = os.EX_SOFTWARE
"""The exit code, 70: a supervisor may start another daemon."""


def crash(why: str, error: BaseException | None = None) -> NoReturn:
    """Say why, and end this process. Jobs and workers are left alone.

    Args:
        why: What has happened, in a line.
        error: What was raised; of one of our own errors the message says all.
    """
    if isinstance(error, MCLIError):
        why, error = str(error), None
    log.critical("daemon.crashed %s", why, exc_info=error)
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(CRASHED)


def watch_for_bugs(loop: asyncio.AbstractEventLoop) -> None:
    """Have an exception that nobody has foreseen end the daemon, in whatever thread it is."""
    loop.set_exception_handler(_in_loop)
    threading.excepthook = _in_thread


def _in_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if is_bug(context):
        crash(f"an exception in the event loop: {context['message']}", context["exception"])
    loop.default_exception_handler(context)


def is_bug(context: Mapping[str, Any]) -> bool:
    """Whether what the event loop reports leaves work half done.

    It reports also what befalls a single connection, and what the system has refused: that is
    logged, and no more.
    """
    ours = "handle" in context or "task" in context
    error = context.get("exception")
    return ours and error is not None and not isinstance(error, MCLIError | OSError)


def _in_thread(told: threading.ExceptHookArgs) -> None:
    name = told.thread.name if told.thread is not None else "a thread"
    crash(f"the thread {name} has died", told.exc_value)
