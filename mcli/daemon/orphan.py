"""
A running job whose worker has gone: the daemon does for it what its worker did.

The worker has shared the reading ends of the job's streams in time, so that the job's output
goes on, and the daemon, as the subreaper, is told how its process ends.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable

from mcli import family
from mcli.job import JobInfo
from mcli.outcome import Outcome, read_outcome
from mcli.output import Log

log = logging.getLogger("mcli.jobs")

READ_BYTES = 1 << 18
READS_MAX = 64
"""At its end a job's stream holds less than so many reads give; what comes after is another's."""


class Streams:
    """The reading ends of a job's streams, kept in case its worker goes."""

    def __init__(self, fds: list[int], streams: list[int], unmute: bytes) -> None:
        # Fewer than streams, if the daemon has had no descriptors left to take them.
        self.fds = dict(zip(fds, streams, strict=False))
        self.unmute = unmute

    def close(self, stream: int | None = None) -> None:
        """Let go of one stream, or of all."""
        for fd, each in list(self.fds.items()):
            if stream in (None, each):
                del self.fds[fd]
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)


class Orphan:
    """Looks after one such job. *grew* is called with the size of its record log."""

    def __init__(
        self,
        info: JobInfo,
        folder: str,
        streams: Streams,
        reached: bool,
        size: int,
        grace_s: float,
        grew: Callable[[int], None],
    ) -> None:
        assert info.pid is not None
        self._info = info
        self._pid = info.pid
        self._folder = folder
        self._streams = streams
        self._kinds = dict(streams.fds)
        self._held = {} if reached or not streams.unmute else dict.fromkeys(streams.fds, b"")
        self._grew = grew
        self._log = Log(os.path.join(folder, "output.log"), whole=size)
        self._reason: str | None = None
        self._timers: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        for fd in streams.fds:
            loop.add_reader(fd, self._read, fd)
        if info.timeout_s is not None and info.started_at is not None:
            left = max(0.0, info.started_at + info.timeout_s - time.time())
            self._timers.append(loop.call_later(left, self.stop, grace_s, "timeout"))

    def _read(self, fd: int) -> bool:
        """Move what a stream has into the log, once; False when it has nothing now."""
        if fd not in self._held and self._move(fd):
            return True
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # the terminal's other side is closed
            data = b""
        if not data:
            self._streams.close(self._streams.fds[fd])
            return False
        data = self._heard(fd, data)
        self._keep(self._streams.fds[fd], data)
        return True

    def _move(self, fd: int) -> bool:
        """Whether there was something, of a pipe, for which the disk has room."""
        try:
            moved = self._log.move(self._streams.fds[fd], fd, READ_BYTES)
        except OSError:
            return False
        if moved:
            self._grew(self._log.size)
        return moved

    def _keep(self, stream: int, data: bytes) -> None:
        try:
            if data:
                self._log.append(stream, data)
                self._grew(self._log.size)
        except OSError as error:
            log.error("output.lost job_id=%s bytes=%d: %s", self._info.id, len(data), error)

    def _heard(self, fd: int, data: bytes) -> bytes:
        """What of *data* comes after the mark that the body is reached."""
        if fd not in self._held:
            return data
        before, mark, after = (self._held[fd] + data).partition(self._streams.unmute)
        if mark:
            del self._held[fd]
            return after
        self._held[fd] = before[-READ_BYTES:]
        return b""

    def signal(self, number: int) -> None:
        """To its process group."""
        family.signal_group(self._pid, number)

    def stop(self, grace_s: float, reason: str = "user") -> None:
        """SIGTERM now, SIGKILL to all that is left after *grace_s* seconds."""
        if self._reason is None:
            self._reason = reason
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
            kill = asyncio.get_running_loop().call_later(
                grace_s, family.kill, self._pid, self._info.id
            )
            self._timers.append(kill)

    def end(self, status: int | None) -> Outcome | None:
        """Its process is gone, with *status* of ``waitpid`` if that is known: what it came to."""
        for fd in list(self._streams.fds):
            for _ in range(READS_MAX):
                if fd not in self._streams.fds or not self._read(fd):
                    break
        for fd, data in self._held.items():  # unheard: its worker may have had the mark
            self._keep(self._kinds[fd], data)
        self.close()
        outcome = read_outcome(self._folder, self._info.attempt)
        if outcome is None and status is None:
            return None
        outcome = outcome or Outcome(reached=not self._held)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
        outcome.reason = self._reason or outcome.reason
        return outcome

    def close(self) -> None:
        """Do no more for it: it has ended, or its worker is back."""
        for timer in self._timers:
            timer.cancel()
        for fd in self._streams.fds:
            asyncio.get_running_loop().remove_reader(fd)
        self._log.close()
