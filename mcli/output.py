"""
The record log: everything a job printed, as (time, stream, bytes), in order.

One file per job, ``output.log``, written by one process at a time and read by anybody at any
moment. Offsets are bytes in the file; a reader goes on from the ``next_offset`` of the last
record it saw.

A record is 16 bytes of head (microseconds since the epoch, length, stream) and the data. One
that a crash has cut short is not returned; the next writer makes it a shorter whole one. What
comes through a pipe goes from there into the file without passing through the writer: whoever
is killed meanwhile has taken nothing along.

Of much output the first and the last is kept. What was between is taken out of the file as a
hole, so that all offsets stay as they are; ``output.cut`` says where it was, and says so before
it is gone. A reader that comes there is given one record of ``Stream.GAP`` in its place.
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import re
import struct
import termios
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from mcli.stream import Stream

PIECE_MAX: Final = 1 << 18
"""Bytes of output that a record has at most, as a rule."""

_STRIDE_MIN: Final = 4096
_COUNT: Final = 20
"""Digits in which a ``GAP`` in the file says how many bytes are missing."""

_AGE_MAX_S: Final = 10 * 366 * 86400.0

HEAD: Final = struct.Struct("<QIB3x")
_STREAMS: Final = frozenset(Stream)
_BOX: Final = re.compile(r"╭─ Error ─+╮\n([^╭]*)\n╰─+╯\Z")


class Record(NamedTuple):
    """One piece of output. ``time_s`` is Unix time in seconds."""

    offset: int
    next_offset: int
    time_s: float
    stream: Stream
    data: bytes
    missing: int = 0
    """Bytes that are not there, of a ``GAP``; its data is empty."""


class Cut(NamedTuple):
    """What is not kept: from one record to another, and how many bytes of output that were."""

    start: int
    end: int
    missing: int


class Log:
    """The writing end of a record log.

    Opening one that is there already mends a record that a crash has left incomplete.

    Raises:
        BlockingIOError: Another process writes it.

    Args:
        path: The file.
        whole: Bytes at its beginning that are known to be whole records.
        most: Bytes that are kept, about: one half from the beginning, one from the end.
    """

    __slots__ = ("_cut", "_declared", "_edge", "_fd", "_path", "_stopped", "most", "size")

    def __init__(self, path: str, *, whole: int = 0, most: int | None = None) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._path = path
        self.most = most
        try:
            _lock(self._fd)
            self._cut = read_cut(path)
            if self._cut is not None and whole < self._cut.end:
                whole = self._cut.end
            self.size = _mend(self._fd, whole)
        except BaseException:
            os.close(self._fd)
            raise
        self._edge = self._cut.start if self._cut is not None else None
        """Where the first half ends."""

        self._stopped = False
        """Nothing more is kept: this file system cannot make holes."""

        self._declared = (0, 0)
        """Where the ``GAP`` at the end of the file begins, and how many bytes it tells of."""

    @property
    def piece(self) -> int:
        """Bytes of output that one record may have, so that what is kept is kept within limits."""
        return PIECE_MAX if self.most is None else min(PIECE_MAX, self._stride())

    def append(self, stream: int, data: bytes) -> None:
        """Add one record; whole, or not at all.

        Raises:
            OSError: The disk is full, say.
        """
        if self._stopped:
            self.declare(len(data))
        else:
            self._append(stream, data)
            self._limit()

    def _append(self, stream: int, data: bytes) -> None:
        record = _head(stream, len(data)) + data
        written = 0
        try:
            while written < len(
                record
            ):  # a full disk may take a part; the rest must follow or fail
                written += os.pwrite(self._fd, record[written:], self.size + written)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(record)

    def move(self, stream: int, pipe: int, most: int) -> bool:
        """Move what *pipe* has now, up to *most* bytes, into one record.

        Returns:
            False if it has nothing, or nothing can be moved here: it is to be read and appended.

        Raises:
            OSError: The disk is full, say. What has not been moved is still in the pipe.
        """
        ready = 0 if self._stopped else min(most, self.piece, waiting(pipe))
        if ready:
            offset = self.size + HEAD.size
            try:
                os.pwrite(self._fd, _head(stream, ready), self.size)
                while offset < self.size + HEAD.size + ready:
                    left = self.size + HEAD.size + ready - offset
                    offset += os.splice(pipe, self._fd, left, offset_dst=offset)
            except OSError as error:
                self.size = _mend(self._fd, self.size)
                if error.errno == errno.EINVAL:  # some file systems cannot
                    return False
                raise
            self.size = offset
            self._limit()
        return ready > 0

    # What is not kept -----------------------------------------------------------------

    def declare(self, missing: int) -> None:
        """Say at the end of the log that so many bytes are not there.

        Raises:
            OSError: There is no room even for that.
        """
        start, before = self._declared
        if before and self.size == start + HEAD.size + _COUNT:
            os.pwrite(self._fd, b"%0*d" % (_COUNT, before + missing), start + HEAD.size)
            self._declared = (start, before + missing)
        elif missing:
            start = self.size
            self._append(Stream.GAP, b"%0*d" % (_COUNT, missing))
            self._declared = (start, missing)

    def lost(self) -> int:
        """Bytes at the end of the log that somebody has taken away; all, if it was removed."""
        found = os.fstat(self._fd)
        return self.size if found.st_nlink == 0 else max(0, self.size - found.st_size)

    def _stride(self) -> int:
        """Bytes by which the hole grows at a time."""
        return max(_STRIDE_MIN, (self.most or 0) // 16)

    def _limit(self) -> None:
        """Take out of the middle what is too much by now."""
        if self.most is None:
            return
        half = max(self.most, 16 * _STRIDE_MIN) // 2
        if self._edge is None and self.size >= half:
            self._edge = self.size
        if self._edge is None:
            return
        cut = self._cut or Cut(self._edge, self._edge, 0)
        if self.size - cut.end <= half:
            return
        from mcli.hole import punch  # not for those who read

        if not punch(self._fd, self.size, 4096):  # beyond the end: only to see whether it can
            self._stopped = True
            return
        end, missing = _walk(self._fd, cut.end, self.size - half + self._stride())
        cut = Cut(cut.start, end, cut.missing + missing)
        with contextlib.suppress(OSError):  # no room: as soon as there is
            _write_cut(self._path, cut)
            self._cut = cut
            punch(self._fd, cut.start, cut.end - cut.start)

    def close(self) -> None:
        """Once is enough; a second time the descriptor's number may be another file's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _walk(fd: int, offset: int, target: int) -> tuple[int, int]:
    """The first end of a record from *target* on, and the bytes of output on the way there."""
    total = 0
    while offset < target:
        _, length, stream = HEAD.unpack(os.pread(fd, HEAD.size, offset))
        total += length
        if stream == Stream.GAP:
            total += int(os.pread(fd, length, offset + HEAD.size)) - length
        offset += HEAD.size + length
    return offset, total


def _write_cut(path: str, cut: Cut) -> None:
    draft = f"{_cut_path(path)}.tmp"
    try:
        with open(draft, "w", encoding="ascii") as file:
            json.dump(cut._asdict(), file)
        os.rename(draft, _cut_path(path))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _cut_path(path: str) -> str:
    return f"{os.path.splitext(path)[0]}.cut"


def read_cut(path: str) -> Cut | None:
    """What of the record log *path* is not kept; None while all of it is.

    Raises:
        OSError: It cannot be read.
    """
    try:
        fd = os.open(_cut_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(fd, encoding="ascii") as file:
        return Cut(**json.load(file))


def _head(stream: int, length: int) -> bytes:
    return HEAD.pack(time.time_ns() // 1000, length, stream)


def waiting(pipe: int) -> int:
    """Bytes that can be read now."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def is_written(folder: str) -> bool:
    """Whether somebody looks after what that job prints: has its log, to write to it."""
    try:
        fd = os.open(os.path.join(folder, "output.log"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "another process writes its log") from None


def _mend(fd: int, offset: int) -> int:
    """Make the file end with a whole record, looking from *offset* on; where it ends."""
    end, size = _whole_size(fd, offset), os.fstat(fd).st_size
    length = size - end - HEAD.size
    if length > 0:
        time_us, _, stream = HEAD.unpack(os.pread(fd, HEAD.size, end))
        os.pwrite(fd, HEAD.pack(time_us, length, stream), end)
        return size
    os.ftruncate(fd, end)
    return end


def _whole_size(fd: int, offset: int) -> int:
    """Where the last whole record ends, looking from *offset* on."""
    size = os.fstat(fd).st_size
    while offset + HEAD.size <= size:
        _, length, _ = HEAD.unpack(os.pread(fd, HEAD.size, offset))
        if offset + HEAD.size + length > size:
            break
        offset += HEAD.size + length
    return min(offset, size)


def read_records(path: str, offset: int = 0, limit_bytes: int = 1 << 20) -> list[Record]:
    """Whole records from *offset* on, about *limit_bytes* of them (at least one, if there is one).

    A missing file has none, nor has a link, which a job may have put there. Where records are
    missing there is a ``GAP``.

    Raises:
        ValueError: No record begins at *offset*. It is not always noticed.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno == errno.ELOOP:
            return []
        raise
    try:
        while True:
            cut = read_cut(path)
            try:
                found = _found(fd, offset, limit_bytes, cut)
            except ValueError:
                if read_cut(path) == cut:
                    raise
            else:
                # A cut is announced before anything is gone: what was read before that is whole.
                if read_cut(path) == cut:
                    return found
    finally:
        os.close(fd)


def _found(fd: int, offset: int, limit_bytes: int, cut: Cut | None) -> list[Record]:
    if cut is None or offset >= cut.end:
        return list(_parse(fd, offset, limit_bytes))
    if offset < cut.start:
        return list(_parse(fd, offset, min(limit_bytes, cut.start - offset)))
    share = (cut.end - offset) / (cut.end - cut.start)  # of what is missing from here on
    return [_gap(fd, offset, cut.end, round(cut.missing * share))]


def _gap(fd: int, offset: int, end: int, missing: int) -> Record:
    """What stands for records that are missing; its time is that of what follows."""
    head = os.pread(fd, HEAD.size, end)
    time_us = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
    return Record(offset, end, time_us / 1e6, Stream.GAP, b"", missing)


def log_size(folder: str) -> int:
    """Bytes in the record log of the job whose directory is *folder*."""
    try:
        return os.stat(os.path.join(folder, "output.log")).st_size
    except FileNotFoundError:
        return 0


def last_words(path: str, stream: Stream) -> str:
    """The last line on *stream* that says something, as far as the end of it is short.

    Typer tells an error in a box of several lines: then it is what stands there, as Click tells it.
    """
    tail, offset = b"", 0
    while records := read_records(path, offset):
        offset = records[-1].next_offset
        said = [record.data for record in records if record.stream is stream]
        tail = b"".join([tail, *said])[-4096:]
    text = tail.decode(errors="replace").strip()
    if (box := _BOX.search(text)) is not None:
        return "Error: " + " ".join(line.strip("│ ") for line in box[1].splitlines())
    return last_line(text)


def last_line(text: str) -> str:
    """The last line that says something; empty if none does."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()


def _parse(fd: int, offset: int, limit_bytes: int) -> Iterator[Record]:
    block = os.pread(fd, max(limit_bytes, HEAD.size), offset)
    at = 0
    while len(block) - at >= HEAD.size:
        time_us, length, stream = HEAD.unpack_from(block, at)
        if stream not in _STREAMS:
            if block[at : at + HEAD.size].strip(b"\0"):
                raise ValueError(f"no record begins at offset {offset + at}")
            end = _resumed(fd, offset + at)
            if end is not None and not at:
                yield _gap(fd, offset, end, end - offset)
            return
        end = at + HEAD.size + length
        if end > len(block):
            if at:
                return
            # A record longer than the limit: read it whole, or not at all if it was cut short.
            if offset + end > os.fstat(fd).st_size:
                return
            block = os.pread(fd, end, offset)
        data = block[at + HEAD.size : end]
        if stream == Stream.GAP:
            yield Record(offset + at, offset + end, time_us / 1e6, Stream.GAP, b"", int(data))
        else:
            yield Record(offset + at, offset + end, time_us / 1e6, Stream(stream), data)
        at = end


def _resumed(fd: int, offset: int) -> int | None:
    """Where records go on in a file that was truncated under its writer; None: not yet."""
    size = os.fstat(fd).st_size
    with contextlib.suppress(OSError):  # there is none behind
        offset = max(offset, os.lseek(fd, offset, os.SEEK_DATA))
    while offset < size:
        block = os.pread(fd, PIECE_MAX, offset)
        rest = block.lstrip(b"\0")
        offset += len(block) - len(rest)
        if rest:
            # The first bytes of its time may be zero themselves.
            return next((at for at in range(offset - 5, offset + 1) if _begins(fd, at, size)), None)
    return None


def _begins(fd: int, offset: int, size: int) -> bool:
    """Whether there is a record to all appearances."""
    head = os.pread(fd, HEAD.size, offset)
    if len(head) < HEAD.size:
        return False
    time_us, length, stream = HEAD.unpack(head)
    return (
        stream in _STREAMS
        and offset + HEAD.size + length <= size
        and abs(time_us / 1e6 - time.time()) < _AGE_MAX_S
    )
