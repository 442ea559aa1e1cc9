"""
One connected unix socket in the daemon's event loop: frames and descriptors in, frames out.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from mcli import frames
from mcli.daemon.headroom import is_beyond

log = logging.getLogger("mcli.link")

HIGH_WATER: Final = 1 << 20
"""Bytes waiting to be sent above which ``drained`` waits: a stalled reader costs no more."""

FDS_MAX: Final = 16

PAUSE_S: Final = 0.2
"""Seconds until a connection is tried again that could not be taken."""


class Link:
    """Calls ``on_frame(kind, payload)`` for each frame, and ``on_close()`` once at the end."""

    def __init__(
        self,
        connection: socket.socket,
        on_frame: Callable[[int, dict[str, Any]], None],
        on_close: Callable[[], None],
    ) -> None:
        self._socket = connection
        self._on_frame = on_frame
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._decoder = frames.Decoder()
        self._outbox = bytearray()
        self._fds: list[int] = []
        self._out_fds: list[int] = []
        self._drained = asyncio.Event()
        self._drained.set()
        self.closed = False
        connection.setblocking(False)
        self._loop.add_reader(connection, self._receive)

    def send(self, kind: int, payload: dict[str, Any], fds: list[int] | None = None) -> None:
        """Send a frame as soon as the other side takes it; *fds* are closed when it has."""
        self.send_bytes(frames.encode(kind, payload), fds)

    def send_bytes(self, data: bytes, fds: list[int] | None = None) -> None:
        if self.closed:
            close_all(fds or [])
            return
        if fds:
            # Descriptors go with the first byte of their frame, so it must be the next one sent.
            self._flush()
            self._out_fds += fds
        self._outbox += data
        self._flush()

    async def drained(self) -> None:
        """Wait until not much is waiting to be sent."""
        await self._drained.wait()

    def close(self) -> None:
        """Close; ``on_close`` is called, the first time."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            close_all(self._fds + self._out_fds)
            self._drained.set()
            self._on_close()

    def catch_up(self) -> None:
        """Receive all that has been sent until now."""
        while not self.closed and self._receive():
            pass

    def take_fds(self, count: int) -> list[int]:
        """Descriptors that came with the frame at hand."""
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken

    def _receive(self) -> bool:
        """Take what is there next; False if nothing is."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, FDS_MAX)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds += fds
        if not data:
            self.close()
            return True
        try:
            for kind, payload in self._decoder.feed(data):
                if self.closed:
                    break
                self._pass_on(kind, json.loads(payload))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("link.closed it does not speak our protocol: %r", error)
            self.close()
        return True

    def _pass_on(self, kind: int, payload: dict[str, Any]) -> None:
        """One that the system does not allow to be obeyed is no reason to leave out the next."""
        try:
            self._on_frame(kind, payload)
        except OSError:
            log.exception("link.frame_failed kind=%d", kind)

    def _flush(self) -> None:
        try:
            while self._outbox and not self.closed:
                if self._out_fds:
                    sent = socket.send_fds(self._socket, [self._outbox], self._out_fds)
                    close_all(self._out_fds)
                    self._out_fds = []
                else:
                    sent = self._socket.send(self._outbox)
                del self._outbox[:sent]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket, self._flush)
        except OSError:
            self.close()
            return
        else:
            if not self.closed:
                self._loop.remove_writer(self._socket)
        if len(self._outbox) > HIGH_WATER:
            self._drained.clear()
        else:
            self._drained.set()


def close_all(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def peer_is_us(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to the same user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return bool(struct.unpack("3i", credentials)[1] == os.geteuid())


class Listener:
    """A listening unix socket that gives each connection of our own user to *accept*.

    When none but the last descriptors are left, whoever comes is told *refusal*; without one, he
    may have those, and has to wait if there are none at all.
    """

    def __init__(
        self, path: str, accept: Callable[[socket.socket], None], refusal: bytes = b""
    ) -> None:
        self.path = path
        self._accept = accept
        self._refusal = refusal
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if refusal else -1
        self._pause: asyncio.TimerHandle | None = None
        self._missed = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # a dead daemon's: we hold the lock
        self._socket = _listening(path)
        self._file = _file(path)
        asyncio.get_running_loop().add_reader(self._socket, self._ready)

    @property
    def paused(self) -> bool:
        """Whether nobody is let in for a moment, since no descriptors are left."""
        return self._pause is not None

    def look(self) -> None:
        """Listen anew if the socket's file is gone, or another's, so that callers find us again.

        It has to be so at two looks in a row, or it may just be on its way to another name.

        Raises:
            OSError: That cannot be done now.
        """
        missed, self._missed = self._missed, _file(self.path) != self._file
        if not (missed and self._missed):
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        anew = _listening(self.path)
        self._missed = False
        self._stop()
        self._socket, self._file = anew, _file(self.path)
        asyncio.get_running_loop().add_reader(self._socket, self._ready)
        log.warning("listener.renewed %s was gone, or another's", self.path)

    def _ready(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                if not peer_is_us(connection):
                    connection.close()
                elif self._refusal and is_beyond(connection.fileno()):
                    self._refuse(connection)
                else:
                    self._accept(connection)
        except BlockingIOError:
            pass
        except OSError as error:  # no descriptors are left
            if self._turn_away():
                return  # to be called again if more wait
            log.warning("listener.pause %s: %s", os.path.basename(self.path), error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._pause = loop.call_later(PAUSE_S, self._resume)

    def _turn_away(self) -> bool:
        """Refuse the next that waits, if one does, by means of the reserve; False without one."""
        if self._reserve < 0:
            return False
        os.close(self._reserve)
        self._reserve = -1
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            self._refuse(connection)
        with contextlib.suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._reserve >= 0

    def _refuse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.send(self._refusal)
        log.warning("listener.refused %s", os.path.basename(self.path))

    def _resume(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._socket, self._ready)

    def close(self) -> None:
        self._stop()
        if self._reserve >= 0:
            os.close(self._reserve)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _stop(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


def _file(path: str) -> tuple[int, int] | None:
    """Which file is there; None: none, or it cannot be seen."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listening(path: str) -> socket.socket:
    """A socket at *path*, which nobody but our user may connect to."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listening.bind(path)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
    listening.listen(512)
    listening.setblocking(False)
    return listening
