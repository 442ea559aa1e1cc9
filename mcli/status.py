"""
Questions a program may ask about the daemon, answered as plain dicts, quickly.
"""

import os
import time
from typing import Any, Final

from mcli import frames
from mcli.attach import Wire, refusal
from mcli.errors import MCLIError
from mcli.family import is_stopped
from mcli.home import Home
from mcli.version import PROTOCOL, __version__

QUICK_S: Final = 0.025
"""Of the 50 ms that are promised; the rest is for what has to be loaded."""

PATIENT_S: Final = 5.0


def is_background_available() -> bool:
    """Whether a command would be run in the background now. Takes at most 50 ms.

    True also of a daemon that is too busy to answer in that time, but not of a stopped one.
    True inside a job: it is in the background already.
    """
    if "MCLI_JOB_ID" in os.environ:
        return True
    from mcli.settings import Settings

    try:
        if not Settings.load().enabled:
            return False
        wire = Wire(Home.find(), QUICK_S)
        try:
            return bool(_ping(wire, QUICK_S)["running"])
        except TimeoutError:
            return not is_stopped(wire.peer)
        finally:
            wire.close()
    except (MCLIError, OSError, ValueError):
        return False


def status_check() -> dict[str, Any]:
    """What the daemon is and does.

    Returns:
        ``running`` (bool), ``version`` (of this library), ``home`` (state directory) and
        ``inside_job`` (bool) always. With a daemon also ``pid``, ``address``,
        ``daemon_version``, ``started_at`` (RFC 3339), ``limit`` (jobs at once),
        ``workers`` (a list of ``pid``, ``app``, ``jobs``) and ``jobs`` (number by state).
        Without one, ``error``: why.
    """
    told: dict[str, Any] = {
        "running": False,
        "version": __version__,
        "home": Home.find().root,
        "inside_job": "MCLI_JOB_ID" in os.environ,
    }
    try:
        daemon = ask(Home.find(), PATIENT_S)
    except (MCLIError, OSError, ValueError) as error:
        return {**told, "error": str(error)}
    keys = ("running", "pid", "address", "started_at", "limit", "workers", "jobs")
    return {**told, **{key: daemon[key] for key in keys}, "daemon_version": daemon["version"]}


def health_check() -> dict[str, Any]:
    """Whether all is well.

    Returns:
        ``healthy`` (bool) and ``checks``: a dict of name to ``{"ok": bool, "detail": str}``
        for ``home`` (the state directory is safe and writable), ``daemon`` (it answers) and
        ``version`` (it is the version of this library).
    """
    checks = {"home": _check_home()}
    status = status_check()
    checks["daemon"] = _check(
        status["running"],
        f"pid {status.get('pid')} at {status.get('address')}",
        str(status.get("error", "")),
    )
    theirs = status.get("daemon_version")
    checks["version"] = _check(
        theirs in (None, __version__),
        __version__,
        f"the daemon is {theirs}, this library {__version__}; run: mcli daemon restart",
    )
    return {"healthy": all(check["ok"] for check in checks.values()), "checks": checks}


def _check_home() -> dict[str, Any]:
    home = Home.find()
    try:
        home.create()
    except MCLIError as error:
        return _check(False, "", str(error))
    return _check(True, home.root, "")


def _check(ok: bool, good: str, bad: str) -> dict[str, Any]:
    return {"ok": ok, "detail": good if ok else bad}


def ask(home: Home, timeout_s: float) -> dict[str, Any]:
    """What the daemon of *home* says of itself, within so many seconds."""
    wire = Wire(home, timeout_s)
    try:
        return _ping(wire, timeout_s)
    finally:
        wire.close()


def _ping(wire: Wire, timeout_s: float) -> dict[str, Any]:
    wire.deadline = time.monotonic() + timeout_s
    wire.send(frames.PING, {"protocol": PROTOCOL})
    kind, answer = wire.answer()
    if kind == frames.REFUSED:
        raise refusal(answer)
    return answer
