"""
What a job prints, on its way into its record log.

Used by whoever has the reading ends of its streams: its worker, or the daemon when that has
died. When to read is up to them: each has an event loop of its own.
"""

import contextlib
import errno
import os
import termios
import time
from collections.abc import Iterable
from typing import Final

from mcli.anchors import Anchors
from mcli.output import Log, waiting
from mcli.pipe import open_end
from mcli.scarcity import is_full
from mcli.stream import Stream

HELD_BYTES: Final = 1 << 16
"""Bytes of withheld output that are kept, for the case that the body is never reached."""

READS_MAX: Final = 256
"""A stream holds less than so many reads give; what comes after was printed later."""

AGAIN_S: Final = 0.1
AGAIN_MAX_S: Final = 1.0
"""Seconds until it is looked whether a full disk has room again: at first, and at most."""


def translates(master: int | None) -> bool:
    """Whether a terminal makes a carriage return and a newline of each newline."""
    wanted = termios.OPOST | termios.ONLCR
    return master is not None and termios.tcgetattr(master)[1] & wanted == wanted


def _missing(tail: bytes, mark: bytes) -> int:
    """Bytes that have to follow *tail*, at least, for it to end with *mark*."""
    known = range(len(mark), 0, -1)
    return len(mark) - next((length for length in known if tail.endswith(mark[:length])), 0)


class Capture:
    """The output of one attempt.

    Raises:
        BlockingIOError: Another process writes the log.
        OSError: It cannot be opened.

    Args:
        folder: Of the job.
        whole: Bytes at the beginning of its log that are known to be whole records.
        most: Bytes of output that are kept.
        muted: Streams that are not heard until the mark *unmute* comes through them.
        reached: Those marks have been written; who was here before may have read them.
        anchors: Of streams that were closed before.
    """

    def __init__(
        self,
        folder: str,
        *,
        whole: int = 0,
        most: int | None = None,
        muted: Iterable[int] = (),
        unmute: bytes = b"",
        reached: bool = False,
        anchors: Anchors | None = None,
    ) -> None:
        self.log = Log(os.path.join(folder, "output.log"), whole=whole, most=most)
        self.line_ends = False
        """Its terminal makes a carriage return and a newline of each newline."""

        self.again_at: float | None = None
        """When it is to be looked (``time.monotonic``) whether the disk has room again."""

        self._unmute = unmute
        self._held = dict.fromkeys(muted, b"")
        self.hold_all = reached
        """The marks have been written: what is withheld may have to be shown, all of it."""

        self.heard = False
        """A mark has come."""

        self._return = b""
        """A carriage return at the end of what was read: it may belong to a line end."""

        self._unstored: list[tuple[int, bytes]] = []
        """What was read when the disk turned out to be full, to be stored when it has room."""

        self._again_s = AGAIN_S
        self.anchors = Anchors() if anchors is None else anchors
        self._unkept = 0
        """Bytes that are not in the log, and never will be."""

        self._unkept_why: str | None = None

    @property
    def full(self) -> bool:
        """Nothing is read now, for want of room: who writes waits, as on a slow disk."""
        return self.again_at is not None

    @property
    def muted(self) -> bool:
        """Whether a mark has not come on some stream."""
        return bool(self._held)

    def read(self, stream: int, fd: int) -> bool:
        """Move what *fd* has now into the log, once; False if that is nothing, or has no room.

        Raises:
            EOFError: Nobody can write to it any more.
        """
        if self.full:
            return False
        withheld = stream in self._held
        if stream != Stream.TTY and not withheld and self._move(stream, fd):
            return not self.full
        try:
            if stream == Stream.TTY or not withheld:
                data = os.read(fd, self.log.piece)
            elif self.hold_all:
                data = os.read(fd, max(1, waiting(fd)))
            else:
                data = self._until_mark(stream, fd)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal's other side is closed
                raise
            data = b""
        if not data:
            raise EOFError
        if stream == Stream.TTY:
            data = self._as_printed(data)
        self._keep(stream, self._heard(stream, data))
        return not self.full

    def catch_up(self, stream: int, fd: int) -> None:
        """Move all that *fd* has until now, but not for ever: others may print on."""
        with contextlib.suppress(EOFError):
            for _ in range(READS_MAX):
                if not self.read(stream, fd):
                    break

    def gather(self) -> None:
        """After the end of the job: what it had printed before a stream of it was closed."""
        for stream, writer in list(self.anchors.ends):
            with contextlib.suppress(OSError):
                while not self.full and waiting(writer):  # who lives on may print while it is read
                    reader = open_end(writer, os.O_RDONLY)
                    try:
                        self.catch_up(stream, reader)
                    finally:
                        os.close(reader)
                if not self.full:
                    self.anchors.close((stream, writer))

    def close(self) -> None:
        """Keep no more."""
        self.anchors.close()
        self.log.close()

    def _until_mark(self, stream: int, pipe: int) -> bytes:
        """What a withheld pipe has now, up to its mark. What comes after is to be moved: whoever
        is killed when he has read it, and before he has stored it, would take it along.
        """
        tail, found = self._held[stream][-len(self._unmute) :], bytearray()
        left = max(1, waiting(pipe))
        while left:
            missing = _missing(tail, self._unmute)
            data = os.read(pipe, min(left, missing)) if missing else b""
            found += data
            tail = (tail + data)[-len(self._unmute) :]
            left = left - len(data) if data else 0
        return bytes(found)

    def unmute(self, stream: int, fd: int) -> None:
        """All marks have been written, and whoever was here before may have read this one: what
        *fd* has now comes after it, unless it is in there. What is printed later is moved.
        """
        if stream == Stream.TTY:
            self.catch_up(stream, fd)
        else:
            with contextlib.suppress(EOFError):
                self.read(stream, fd)
        if not self.full:
            self.release(stream)

    def _move(self, stream: int, pipe: int) -> bool:
        """Whether there is no more to do: it was moved, or waits in the pipe for room."""
        try:
            moved = self.log.move(stream, pipe, self.log.piece)
        except OSError as error:
            if is_full(error):
                self._wait_for_room()
            return self.full
        if moved:
            self._again_s = AGAIN_S
        return moved

    def _keep(self, stream: int, data: bytes) -> None:
        """Add to the log. A disk that fails costs the job output, and not its life."""
        if data:
            self._unstored.append((stream, data))
            if not self.full:
                self._store()

    def _store(self) -> None:
        try:
            while self._unstored:
                self.log.append(*self._unstored[0])
                del self._unstored[0]
                self._again_s = AGAIN_S
        except OSError as error:
            if is_full(error):
                self._wait_for_room()
                return
            lost = sum(len(data) for _, data in self._unstored)
            self._unkept, self._unkept_why = self._unkept + lost, error.strerror
            self._unstored.clear()
            with contextlib.suppress(OSError):
                self.log.declare(lost)

    def _wait_for_room(self) -> None:
        self.again_at = time.monotonic() + self._again_s
        self._again_s = min(2 * self._again_s, AGAIN_MAX_S)

    def try_again(self) -> None:
        """Store what waits; what is still in the streams is to be read if it is not full then."""
        self.again_at = None
        self._store()

    def _as_printed(self, data: bytes) -> bytes:
        """Without the carriage returns that the job's terminal has put before newlines.

        The caller's terminal puts them there again, and a log is better without.
        """
        data, self._return = self._return + data, b""
        if not self.line_ends:
            return data
        if data.endswith(b"\r"):
            data, self._return = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n")

    def _heard(self, stream: int, data: bytes) -> bytes:
        """What of *data* comes after the mark that this stream is to be heard from now on."""
        if stream not in self._held:
            return data
        before, mark, after = (self._held[stream] + data).partition(self._unmute)
        if mark:
            self.heard = True
            del self._held[stream]
            return after
        self._held[stream] = before if self.hold_all else before[-HELD_BYTES:]
        return b""

    def finish(self) -> None:
        """At the end of the job, when all is read: what was kept back for what could follow."""
        self._keep(Stream.TTY, self._return)
        self._return = b""

    def release(self, *streams: int) -> None:
        """Withhold nothing of these streams any more; of none, if none is named.

        At its end, when its body was never reached: what it has printed instead tells why. And
        when the body was, and all is read that was printed by then: where no mark was, somebody
        has read that before.
        """
        for stream in streams or list(self._held):
            self._keep(stream, self._held.pop(stream, b""))

    def missing(self) -> str | None:
        """What is to be said of a job whose output is not all there, beside what is in the log."""
        if self._unkept:
            return f"{self._unkept} bytes of its output could not be kept: {self._unkept_why}"
        if lost := self.log.lost():
            return f"somebody has removed {lost} bytes of its output while it ran"
        return None
