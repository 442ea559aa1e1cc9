"""
Who did what: one line in the daemon's log for each act, and never what it was given.

An act over HTTP is known by its remote address, over the attach socket by the process at the
other end, which the kernel names. A route is noted as it was declared: what stands in the place
of ``{token}`` may be one.
"""

import logging
import socket
import struct
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Scope, Send

from mcli.ids import is_id

log = logging.getLogger("mcli.audit")

At = Callable[[str, str], str]
"""The route of a method and a path."""

READS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")
ROUTE_MAX: Final = 200
"""Characters of a route that are noted."""

_JOBS: Final = "/v1/jobs/"
_ACTS: Final = ("cancel", "kill", "rerun")
_OTHERS: Final = {
    "/v1/login": "login",
    "/v1/login/code": "code",
    "/v1/shutdown": "shutdown",
    "/v1/cleanup": "cleanup",
}
_ON_JOBS: Final = {"DELETE": "delete", "PUT": "submit"}


def peer(connection: socket.socket) -> str:
    """The process at the other end of a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _gid = struct.unpack("3i", credentials)
    return f"pid={pid} uid={uid}"


def note(act: str, who: str, route: str, job_id: str | None, **facts: object) -> None:
    """Write the line. What a stranger may have chosen is spelled in ASCII, on that one line."""
    told = [f"audit.{act}", who, f"route={route[:ROUTE_MAX]!a}", f"job_id={job_id or '-'}"]
    log.info("%s", " ".join(told + [f"{name}={value}" for name, value in facts.items()]))


def noting(scope: Scope, send: Send, route: At, is_call: Callable[[str, str], bool]) -> Send:
    """*send*, which also notes what has become of an act. To read is none, to call a command is."""

    async def send_noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            made, at = _made(scope["path"], message), (scope["method"], scope["path"])
            if made or scope["method"] not in READS or is_call(*at):
                _note(scope, made, route(*at), message["status"])
        await send(message)

    return send_noting


def _note(scope: Scope, made: str | None, route: str, status: int) -> None:
    method, path = scope["method"], scope["path"]
    act, job_id = act_of(method, path)
    host, port = (scope.get("client") or ("unknown", 0))[:2]
    act = "submit" if made and act == "call" else act
    note(act, f"remote={host}:{port}", f"{method} {route}", made or job_id, status=status)


def act_of(method: str, path: str) -> tuple[str, str | None]:
    """What is asked for, in a word, and of which job. What an app's endpoints do is ``call``."""
    words = path.strip("/").split("/")
    if not path.startswith(_JOBS):
        return ("submit" if path == "/v1/jobs" else _OTHERS.get(path, "call")), None
    job_id = words[2] if len(words) > 2 and is_id(words[2]) else None
    if len(words) == 4 and words[3] in _ACTS:
        return words[3], job_id
    return (_ON_JOBS.get(method, "call") if len(words) == 3 else "call"), job_id


def _made(path: str, message: Message) -> str | None:
    """The id of the job that an answer says was made, or that a call was."""
    headers: dict[bytes, bytes] = dict(message.get("headers", ()))
    place = headers.get(b"location", b"").decode("ascii", "replace")
    if not place and not path.startswith(_JOBS):  # there it is one that was made before
        place = headers.get(b"mcli-job-id", b"").decode("ascii", "replace")
    job_id = place.removeprefix(_JOBS)
    return job_id if is_id(job_id) else None
