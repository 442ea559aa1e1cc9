"""
A submitted job in the hands of the program that submitted it.
"""

import json
import os
import time
from typing import Any

from mcli import frames
from mcli.attach import Wire, attach_wire, refusal
from mcli.errors import InvalidTransition, JobFailed, UnknownJob
from mcli.home import Home
from mcli.ids import is_id
from mcli.outcome import read_outcome
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
            wire.socket.settimeout(None)
            wire.deadline = deadline
            ready = wire.waiting()
            while True:
                for kind, payload in ready:
                    if kind == frames.FINISHED:
                        document: dict[str, Any] = json.loads(payload)["job"]
                        return document
                ready = self._next(wire)
        finally:
            wire.close()

    def _next(self, wire: Wire) -> list[tuple[int, bytes]]:
        try:
            found = wire.receive()
        except TimeoutError:
            raise TimeoutError(f"job {self.id} has not ended in time; it runs on") from None
        if not found:
            raise ConnectionResetError(f"the daemon went away while job {self.id} was waited for")
        return found

    def result(self, timeout_s: float | None = None) -> Any:
        """What the command returned, once it has: any JSON value.

        Raises:
            JobFailed: It did not succeed, or what it returned is not JSON or larger than
                1 MiB; the message says which.
            TimeoutError: See ``wait``.
        """
        document = self.wait(timeout_s)
        if document["state"] == "succeeded":
            self._check_result(document)
            return document["result"]
        how = f"{document['state']} ({document['reason']})"
        last = (document["error"] or "").strip().rpartition("\n")[2]
        raise JobFailed(f"job {self.id} {how}" + (f": {last}" if last else ""))

    def _check_result(self, document: dict[str, Any]) -> None:
        """Not a stand-in for a value that could not be kept: it could be taken for the value."""
        outcome = read_outcome(self._home.job(document["id"]), document["attempt"])
        if outcome is not None and outcome.withheld:
            raise JobFailed(f"job {self.id} succeeded, but what it returned {outcome.withheld}")

    def output(self, stream: str | None = None) -> bytes:
        """What it has printed so far: both streams in order, or ``"stdout"`` or ``"stderr"``.

        Raises:
            ValueError: Another stream was asked for.
            UnknownJob: The state directory has no such job.
        """
        if stream not in (None, "stdout", "stderr"):
            raise ValueError(f"stream={stream!r}: 'stdout', 'stderr' or None for both")
        wanted = Stream.STDERR if stream == "stderr" else Stream.STDOUT
        path = f"{self._folder()}/output.log"
        found, offset = [], 0
        while block := read_records(path, offset):
            found += [record.data for record in block if stream is None or record.stream == wanted]
            offset = block[-1].next_offset
        return b"".join(found)

    def _folder(self) -> str:
        """Where its files are; a job that waits for its turn has none yet."""
        from mcli.store.arbiter import is_known

        folder = self._home.job(self.id)
        if not is_id(self.id) or not (
            os.path.isdir(folder) or is_known(self._home.database, self.id)
        ):
            raise UnknownJob(f"no job has the id {self.id!a}")
        return folder

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
