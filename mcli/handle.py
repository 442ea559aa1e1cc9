"""
A submitted job in the hands of the program that submitted it.
"""

import json
import time
from typing import Any

from mcli import frames
from mcli.attach import Wire, attach_wire, refusal
from mcli.errors import InvalidTransition, JobFailed
from mcli.home import Home
from mcli.output import read_records
from mcli.stream import Stream
from mcli.version import PROTOCOL


class Job:
    """A job of the daemon. Made by ``mcli.submit``; ``Job(id)`` finds an earlier one."""

    def __init__(self, id: str, *, home: Home | None = None) -> None:  # noqa: A002
        self.id = id
        self._home = home or Home.find()

    def __repr__(self) -> str:
        return f"<mcli.Job {self.id}>"

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The job's document once it has ended (the JSON fields of ``mcli inspect``).

        Args:
            timeout_s: Seconds to wait at most; None waits as long as it takes.

        Raises:
            TimeoutError: It has not ended by then; it runs on.
            DaemonNotRunning: Nobody is there to tell.
            UnknownJob: The daemon has no such job.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wire, _ = attach_wire(self._home, self.id, _NO_OUTPUT)
        try:
            ready = wire.waiting()
            while True:
                for kind, payload in ready:
                    if kind == frames.FINISHED:
                        document: dict[str, Any] = json.loads(payload)["job"]
                        return document
                ready = self._next(wire, deadline)
        finally:
            wire.close()

    def _next(self, wire: Wire, deadline: float | None) -> list[tuple[int, bytes]]:
        left = None if deadline is None else deadline - time.monotonic()
        try:
            if left is not None and left <= 0:
                raise TimeoutError
            wire.socket.settimeout(left)
            found = wire.receive()
        except TimeoutError:
            raise TimeoutError(f"job {self.id} has not ended in time; it runs on") from None
        if not found:
            raise ConnectionResetError(f"the daemon went away while job {self.id} was waited for")
        return found

    def result(self, timeout_s: float | None = None) -> Any:
        """What the command returned, once it has: any JSON value.

        Raises:
            JobFailed: It did not succeed; the message says how it ended.
            TimeoutError: See ``wait``.
        """
        document = self.wait(timeout_s)
        if document["state"] == "succeeded":
            return document["result"]
        how = f"{document['state']} ({document['reason']})"
        last = (document["error"] or "").strip().rpartition("\n")[2]
        raise JobFailed(f"job {self.id} {how}" + (f": {last}" if last else ""))

    def output(self, stream: str | None = None) -> bytes:
        """What it has printed so far: both streams in order, or ``"stdout"`` or ``"stderr"``.

        Raises:
            ValueError: Another stream was asked for.
        """
        if stream not in (None, "stdout", "stderr"):
            raise ValueError(f"stream={stream!r}: 'stdout', 'stderr' or None for both")
        wanted = Stream.STDERR if stream == "stderr" else Stream.STDOUT
        path = f"{self._home.job(self.id)}/output.log"
        found, offset = [], 0
        while block := read_records(path, offset):
            found += [record.data for record in block if stream is None or record.stream == wanted]
            offset = block[-1].next_offset
        return b"".join(found)

    def cancel(self) -> None:
        """Ask it to end: at once if it has not begun; else SIGTERM, grace, SIGKILL.

        Raises:
            InvalidTransition: It has ended already.
            DaemonNotRunning: Nobody is there to do it.
        """
        wire = Wire(self._home)
        try:
            wire.send(frames.CANCEL, {"protocol": PROTOCOL, "id": self.id})
            kind, answer = wire.answer()
        finally:
            wire.close()
        if kind == frames.REFUSED:
            if answer["code"] == InvalidTransition.code:
                raise InvalidTransition(answer["message"])
            raise refusal(answer)


_NO_OUTPUT = -1
