"""
The record log: everything a job printed, as (time, stream, bytes), in order.

One file per job, ``output.log``, written by one process at a time and read by anybody at any
moment. Offsets are bytes in the file; a reader goes on from the ``next_offset`` of the last
record it saw.

A record is 16 bytes of head (microseconds since the epoch, length, stream) and the data. One
that a crash has cut short is not returned; the next writer makes it a shorter whole one. What
comes through a pipe goes from there into the file without passing through the writer: whoever
is killed meanwhile has taken nothing along.
"""

import array
import errno
import fcntl
import os
import re
import struct
import termios
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from mcli.stream import Stream

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


class Log:
    """The writing end of a record log.

    Opening one that is there already mends a record that a crash has left incomplete.

    Args:
        path: The file.
        whole: Bytes at its beginning that are known to be whole records.
    """

    __slots__ = ("_fd", "size")

    def __init__(self, path: str, *, whole: int = 0) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = _mend(self._fd, whole)

    def append(self, stream: int, data: bytes) -> None:
        """Add one record; whole, or not at all.

        Raises:
            OSError: The disk is full, say.
        """
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
        """Move what *pipe* has now, up to *most* bytes, into one record; False if it has nothing.

        Raises:
            OSError: The disk is full, say. What has not been moved is still in the pipe.
        """
        waiting = min(most, _waiting(pipe))
        if waiting:
            offset = self.size + HEAD.size
            try:
                os.pwrite(self._fd, _head(stream, waiting), self.size)
                while offset < self.size + HEAD.size + waiting:
                    offset += self._splice(pipe, self.size + HEAD.size + waiting - offset, offset)
            except OSError:
                self.size = _mend(self._fd, self.size)
                raise
            self.size = offset
        return waiting > 0

    def _splice(self, pipe: int, most: int, offset: int) -> int:
        try:
            return os.splice(pipe, self._fd, most, offset_dst=offset)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems cannot
                raise
            return os.pwrite(self._fd, os.read(pipe, most), offset)

    def close(self) -> None:
        """Once is enough; a second time the descriptor's number may be another file's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _head(stream: int, length: int) -> bytes:
    return HEAD.pack(time.time_ns() // 1000, length, stream)


def _waiting(pipe: int) -> int:
    """Bytes that can be read now."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


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

    A missing file has none, nor has a link, which a job may have put there.

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
        return list(_parse(fd, offset, limit_bytes))
    finally:
        os.close(fd)


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
            raise ValueError(f"no record begins at offset {offset + at}")
        end = at + HEAD.size + length
        if end > len(block):
            if at:
                return
            # A record longer than the limit: read it whole, or not at all if it was cut short.
            if offset + end > os.fstat(fd).st_size:
                return
            block = os.pread(fd, end, offset)
        data = block[at + HEAD.size : end]
        yield Record(offset + at, offset + end, time_us / 1e6, Stream(stream), data)
        at = end
