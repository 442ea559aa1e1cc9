"""
The frames that client, daemon and worker exchange over unix sockets.

A frame is four bytes of length (network order, of what follows), one byte of type, and
the payload: JSON in ASCII, except for ``OUTPUT``. File descriptors travel beside the
frame whose payload says ``"fds": n``. Pure: no socket is touched here.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

HEADER: Final = struct.Struct("!IB")
OUTPUT_HEAD: Final = struct.Struct("!BQ")
LENGTH_MAX: Final = 256 << 20
"""Bytes of payload above which the other end is not speaking this protocol."""

# client → daemon
SUBMIT: Final = 1  # {"protocol", "id", "invocation", "detach", "fds"}; "awaited", "key", "request"
ATTACH: Final = 2  # {"protocol", "id", "offset"}
PING: Final = 3  # {"protocol"}; to a worker {}
SIGNAL: Final = 4  # {"signal", "group"}; with "job" to a worker
WINDOW: Final = 5  # {"rows", "cols"}
KEYS: Final = 6  # {"data"}: what was typed, latin-1
CLOSED: Final = 7  # {"stream"}: nobody reads this stream any more
CANCEL: Final = 8  # {"protocol", "id"}

# daemon → client
ACCEPTED: Final = 20  # {"id"}; to ATTACH also "interactive" and "job", its document
REFUSED: Final = 21  # {"code", "message"}: not accepted, nothing will run
STARTED: Final = 22  # {"attempt"}: the command's body has been reached
OUTPUT: Final = 23  # binary: stream, offset of the record after this one, bytes (how many if GAP)
PAUSED: Final = 24  # {"size"}: the job was stopped, as by Ctrl-Z
TYPED: Final = 25  # {"signal"}: a key made this signal at the job's terminal
MODE: Final = 28  # {"raw", "size"}: whether its terminal translates line ends
PIPES: Final = 30  # {"pipes"}: what it prints to, by stream: a path to open it, its inode
AGAIN: Final = 29  # {"message", "size"}: an attempt has failed, another one follows
FINISHED: Final = 26  # the outcome and the job document
PONG: Final = 27  # the daemon's status; of a worker {}

# daemon → worker
START: Final = 40  # {"job", "attempt", "invocation", "timeout_s", "grace_s", "fds"}
STOP: Final = 41  # {"job", "grace_s"}: SIGTERM, grace, SIGKILL
RETIRE: Final = 42  # {}: end when the running jobs have ended

# worker → daemon
READY: Final = 60  # {"protocol", "pid", "key", "reads", "jobs"}
FORKED: Final = 61  # {"job", "attempt", "pid", "streams", "unmute"}; a descriptor per stream
REACHED: Final = 62  # {"job"}
GREW: Final = 63  # {"job", "size"}: bytes in the record log
ENDED: Final = 64  # {"job", "attempt", "outcome"}
RETURNED: Final = 65  # {"job", "attempt", "why"}: not started here; give it to another worker
RETIRING: Final = 66  # {"why"}: give me no more jobs


def encode(kind: int, payload: dict[str, Any]) -> bytes:
    """One frame with a JSON payload."""
    body = json.dumps(payload, separators=(",", ":")).encode("ascii")
    return HEADER.pack(len(body), kind) + body


def encode_output(stream: int, next_offset: int, data: bytes) -> bytes:
    """One ``OUTPUT`` frame."""
    head = OUTPUT_HEAD.pack(stream, next_offset)
    return HEADER.pack(len(head) + len(data), OUTPUT) + head + data


def decode_output(payload: bytes) -> tuple[int, int, bytes]:
    """Stream, offset of the next record, bytes of an ``OUTPUT`` payload."""
    stream, next_offset = OUTPUT_HEAD.unpack_from(payload)
    return stream, next_offset, payload[OUTPUT_HEAD.size :]


class Decoder:
    """Turns what arrives, in whatever pieces, into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take *data*; yield (type, payload) of every frame that is complete now.

        Raises:
            ValueError: A length no frame has: the other end speaks something else.
        """
        self._buffer += data
        start, have = 0, len(self._buffer)
        try:
            while have - start >= HEADER.size:
                length, kind = HEADER.unpack_from(self._buffer, start)
                if length > LENGTH_MAX:
                    raise ValueError(f"a frame of {length} bytes: not the mcli protocol")
                end = start + HEADER.size + length
                if end > have:
                    break
                payload = bytes(self._buffer[start + HEADER.size : end])
                start = end
                yield kind, payload
        finally:
            del self._buffer[:start]
