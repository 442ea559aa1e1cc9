"""
What is told to whoever starts a daemon: one line of JSON on ``$MCLI_READY_FD``, ready or why not.
"""

import contextlib
import json
import logging
import os
import sys
import time
from typing import Any, Final

from mcli.errors import MCLIError
from mcli.home import Home
from mcli.ticket import lock_holder

log = logging.getLogger("mcli.daemon")

OTHER_S: Final = 30.0
"""Seconds that another daemon, which holds the lock, gets to say where it listens."""


def tell(line: dict[str, Any]) -> None:
    """The line; there is only one."""
    fd = os.environ.pop("MCLI_READY_FD", None)
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(int(fd), json.dumps(line).encode() + b"\n")
            os.close(int(fd))


def tell_failure(error: MCLIError) -> None:
    """It does not start."""
    log.error("daemon.failed %s", error)
    tell({"ok": False, "code": error.code, "exit_code": error.exit_code, "message": str(error)})


def tell_other(home: Home) -> None:
    """Somebody else is the daemon: say where it is, as soon as it says so itself."""
    told = _wait_for_address(home)
    tell({"ok": True, "already": True, **told})
    if "MCLI_READY_FD" not in os.environ:
        sys.stderr.write(f"mcli daemon already running: {told['url']} (pid {told['pid']})\n")


def _wait_for_address(home: Home) -> dict[str, Any]:
    deadline = time.monotonic() + OTHER_S
    while True:
        told = _told(home)
        if told.get("pid") == lock_holder(home.lock) or time.monotonic() > deadline:
            return {"url": "", "pid": lock_holder(home.lock), **told}
        time.sleep(0.05)  # it tells its own starter when it is ready, not us


def _told(home: Home) -> dict[str, Any]:
    try:
        with open(home.address, encoding="utf-8") as file:
            told: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return told
