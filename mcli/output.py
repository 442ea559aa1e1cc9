"""
The record log: everything a job printed, as (time, stream, bytes), in order.

One file per job, ``output.log``, written by one process at a time with whole-record
appends and read by anybody at any moment. Offsets are bytes in the file; a reader goes on
from the ``next_offset`` of the last record it saw. A record cut short by a crash is not
returned.

A record is 16 bytes of head (microseconds since the epoch, length, stream) and the data.
"""

import os
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from mcli.stream import Stream

HEAD: Final = struct.Struct("<QIB3x")


class Record(NamedTuple):
    """One piece of output. ``time_s`` is Unix time in seconds."""

    offset: int
    next_offset: int
    time_s: float
    stream: Stream
    data: bytes


class Log:
    """The writing end of a record log.

    Opening one that is there already cuts off a record that a crash has left incomplete.

    Args:
        path: The file.
        whole: Bytes at its beginning that are known to be whole records.
    """

    __slots__ = ("_fd", "size")

    def __init__(self, path: str, *, whole: int = 0) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = _whole_size(self._fd, whole)
        os.ftruncate(self._fd, self.size)

    def append(self, stream: int, data: bytes) -> None:
        """Add one record; whole, or not at all.

        Raises:
            OSError: The disk is full, say.
        """
        head = HEAD.pack(time.time_ns() // 1000, len(data), stream)
        whole = len(head) + len(data)
        try:
            written = os.writev(self._fd, (head, data))
            while written < whole:  # a full disk may take a part; the rest must follow or fail
                written += os.write(self._fd, (head + data)[written:])
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += whole

    def close(self) -> None:
        os.close(self._fd)


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

    A missing file has none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return list(_parse(fd, offset, limit_bytes))
    finally:
        os.close(fd)


def last_line(path: str, stream: Stream) -> str:
    """The last line on *stream* that says something, as far as the end of it is short."""
    tail, offset = b"", 0
    while records := read_records(path, offset):
        offset = records[-1].next_offset
        said = [record.data for record in records if record.stream is stream]
        tail = b"".join([tail, *said])[-4096:]
    lines = tail.decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "").strip()


def _parse(fd: int, offset: int, limit_bytes: int) -> Iterator[Record]:
    block = os.pread(fd, max(limit_bytes, HEAD.size), offset)
    at = 0
    while len(block) - at >= HEAD.size:
        time_us, length, stream = HEAD.unpack_from(block, at)
        end = at + HEAD.size + length
        if end > len(block):
            if at:
                return
            # A record longer than the limit: read it whole, or not at all if it was cut short.
            block = os.pread(fd, end, offset)
            if len(block) < end:
                return
        data = block[at + HEAD.size : end]
        yield Record(offset + at, offset + end, time_us / 1e6, Stream(stream), data)
        at = end
