"""
The process that has loaded an app and is asked about it: what it offers, and whether a
request's parameters are right.

It runs no job. It is started when it is needed, and ended when it has been idle, is late
with an answer, or has loaded what is no longer so.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from mcli.appbook import Entry
from mcli.endpoint import Checked, Description
from mcli.errors import AppBroken

LOAD_S: Final = 60.0
"""Seconds that an app may take to be loaded."""

CHECK_S: Final = 10.0
"""Seconds that a request's parameters may take to be checked."""

LINE_BYTES: Final = 64 << 20
"""Bytes that an answer may have."""

T = TypeVar("T")


class Describer:
    """One app's process, now there, now not. To be used in an event loop only."""

    def __init__(self, entry: Entry, env: Mapping[str, str], log: str) -> None:
        self._entry = entry
        self._env = env
        self._log = log
        self._asking = asyncio.Lock()
        self._process: _Process | None = None
        self._used = time.monotonic()

    async def describe(self) -> Description:
        """What the app offers, as it is now: it is loaded anew.

        Raises:
            AppBroken: Its process does not say.
        """
        async with self._asking:
            self.close()
            return self._understood(Description.parse, await self._ask({"ask": "describe"}))

    async def check(
        self, command: str, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]
    ) -> Checked:
        """The words for a request's parameters, or what is wrong with each.

        Raises:
            AppBroken: Its process does not say.
        """
        question = {"ask": "check", "command": command, "values": values, "texts": texts}
        async with self._asking:
            answer = await self._ask(question)
        return self._understood(lambda fields: Checked(**fields), answer)

    def _understood(self, parse: Callable[[dict[str, Any]], T], answer: dict[str, Any]) -> T:
        try:
            return parse(answer)
        except (KeyError, TypeError, ValueError):
            raise AppBroken(
                f"the app {self._entry.name} has an mcli that this daemon does not understand; "
                "install the same version for both"
            ) from None

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._process is not None and self._process.is_gone():
            self.close()
        loads = self._process is None
        patience_s = LOAD_S if loads else CHECK_S
        try:
            async with asyncio.timeout(patience_s):
                process = self._process = self._process or await self._start()
                return await process.ask(question)
        except TimeoutError:
            self.close()
            raise AppBroken(
                f"the app {self._entry.name} does not answer: it was given {patience_s:.0f} s; "
                f"what does it do when {'it is imported' if loads else 'a value is checked'}?"
            ) from None
        except (OSError, ValueError) as error:
            self.close()
            raise AppBroken(
                f"the process that loads the app {self._entry.name} has ended ({error}); "
                "see: mcli daemon logs"
            ) from None
        except BaseException:
            self.close()  # whoever asks next would get this answer
            raise
        finally:
            self._used = time.monotonic()

    async def _start(self) -> "_Process":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                fd = self._spawn(theirs)
            except OSError:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
        return _Process(fd, reader, writer)

    def _spawn(self, theirs: socket.socket) -> int:
        entry = self._entry
        cwd = entry.cwd if os.path.isdir(entry.cwd) else "/"
        config = {"target": entry.target, "cwd": cwd, "log": self._log}
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                [entry.python, "-m", "mcli.worker.describer", json.dumps(config)],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                cwd=entry.mcli_root or "/",
                env=self._env,
                start_new_session=True,
            )
        process.returncode = 0  # the daemon reaps all its children itself
        return os.pidfd_open(process.pid)  # it may have ended, but nobody has reaped it yet

    def trim(self, idle_s: float) -> None:
        """End the process if nobody has asked it for so long."""
        if not self._asking.locked() and time.monotonic() - self._used > idle_s:
            self.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.end()


class _Process:
    def __init__(self, fd: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._fd = fd
        self._reader = reader
        self._writer = writer

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self._writer.write(json.dumps(question).encode("ascii") + b"\n")
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise OSError("it said nothing")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def is_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def end(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        os.close(self._fd)
