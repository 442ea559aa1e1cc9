"""
Who did what: one line in the daemon's log for each act, and never what it was given.

An act over HTTP is known by its remote address, over the attach socket by the process at the
other end, which the kernel names.
"""

import logging
import socket
import struct
from typing import Final

from starlette.types import Message, Scope, Send

from mcli.ids import is_id

log = logging.getLogger("mcli.audit")

READS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")
ROUTE_MAX: Final = 200
"""Characters of a path that are noted."""

_JOBS: Final = "/v1/jobs/"
_ACTS: Final = ("cancel", "kill", "rerun")
_OTHERS: Final = {"/v1/login": "login", "/v1/login/code": "code", "/v1/shutdown": "shutdown"}
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


def noting(scope: Scope, send: Send) -> Send:
    """*send*, which also notes what has become of an act. Reading is none."""

    async def send_noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            made = _made(message)
            if made or scope["method"] not in READS:
                _note(scope, made, message["status"])
        await send(message)

    return send_noting


def _note(scope: Scope, made: str | None, status: int) -> None:
    method, path = scope["method"], scope["path"]
    act, job_id = act_of(method, path)
    host, port = (scope.get("client") or ("unknown", 0))[:2]
    act = "submit" if made and act == "call" else act
    note(act, f"remote={host}:{port}", f"{method} {path}", made or job_id, status=status)


def act_of(method: str, path: str) -> tuple[str, str | None]:
    """What is asked for, in a word, and of which job. What an app's endpoints do is ``call``."""
    words = path.strip("/").split("/")
    if not path.startswith(_JOBS):
        return ("submit" if path == "/v1/jobs" else _OTHERS.get(path, "call")), None
    job_id = words[2] if len(words) > 2 and is_id(words[2]) else None
    if len(words) == 4 and words[3] in _ACTS:
        return words[3], job_id
    return (_ON_JOBS.get(method, "call") if len(words) == 3 else "call"), job_id


def _made(message: Message) -> str | None:
    """The id of the job that an answer says was made."""
    headers: dict[bytes, bytes] = dict(message.get("headers", ()))
    place = headers.get(b"location", b"").decode("ascii", "replace")
    job_id = place.removeprefix(_JOBS)
    return job_id if is_id(job_id) else None
