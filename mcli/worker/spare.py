"""
A child forked in advance, so that no caller waits for the fork.

It waits, in a session of its own and with nothing of the worker's open, for the one message
that says which job to become. When its worker ends instead, so does it.
"""

import contextlib
import json
import os
import socket
import struct
from typing import Any, Final

FDS_MAX: Final = 8
_LENGTH: Final = struct.Struct("!I")


class Spare:
    """The worker's side of the waiting child."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._socket = connection

    def send(self, order: dict[str, Any], fds: list[int]) -> None:
        """Tell it what to become. If it was killed meanwhile, it has not begun: it is reaped."""
        data = json.dumps(order).encode("ascii")
        message = _LENGTH.pack(len(data)) + data
        with contextlib.suppress(ConnectionError):
            sent = socket.send_fds(self._socket, [message], fds)
            if sent < len(message):  # sending nothing fails once the child has read all and closed
                self._socket.sendall(message[sent:])
        self._socket.close()

    def dismiss(self) -> None:
        """It is not needed: it ends by itself."""
        self._socket.close()


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """In the child: wait for the order; None if the worker has ended."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, FDS_MAX)
    if not data:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    (length,) = _LENGTH.unpack_from(data)
    whole = bytearray(data[_LENGTH.size :])
    while len(whole) < length:
        more = connection.recv(1 << 20)
        if not more:
            return None
        whole += more
    with contextlib.suppress(OSError):
        connection.close()
    return json.loads(whole), fds
