"""
One attempt as its worker sees it: a child process, what it prints, and when it must end.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import signal
import struct
import termios
import time
from dataclasses import dataclass, field
from typing import Any, Final

from mcli import family
from mcli.invocation import Invocation
from mcli.outcome import Outcome, read_outcome, write_outcome
from mcli.output import Log
from mcli.stream import Stream
from mcli.worker.plugs import END_OF_INPUT, Plugs
from mcli.worker.spare import Spare

REACHED: Final = "reached"
"""What a job tells its worker when its body is next. Else it tells what its command says of
itself, as an object: each is a line of JSON."""

READ_BYTES: Final = 1 << 18
HELD_BYTES: Final = 1 << 16
"""Bytes of withheld output that are kept, for the case that the body is never reached."""

_KEY_SIGNALS: Final = (
    (termios.VINTR, signal.SIGINT),
    (termios.VQUIT, signal.SIGQUIT),
    (termios.VSUSP, signal.SIGTSTP),
)


@dataclass(slots=True, kw_only=True)
class Order:
    """What the daemon asked for: the payload of a ``START`` frame."""

    job: str
    attempt: int
    folder: str
    invocation: Invocation
    timeout_s: float | None
    grace_s: float
    fds: list[int] = field(default_factory=list)


def _translates(master: int | None) -> bool:
    """Whether the terminal makes a carriage return and a newline of each newline."""
    wanted = termios.OPOST | termios.ONLCR
    return master is not None and termios.tcgetattr(master)[1] & wanted == wanted


class Attempt:
    """A job process at work, seen from its worker."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.pid = 0
        self.status: int | None = None
        self.reached = order.invocation.replay is None
        self.plugs = Plugs(order.invocation.stdio, order.invocation.terminal, order.fds)
        self.control, self.control_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.log = Log(os.path.join(order.folder, "output.log"))
        self.unmute: bytes = (
            b"" if self.reached else f"\x02mcli {secrets.token_hex(16)}\x03".encode()
        )
        """What the job writes to each of its streams when its body is reached."""

        self._held = dict.fromkeys(self.plugs.readers.values(), b"") if self.unmute else {}
        self._keys = b""
        self._line_ends = _translates(self.plugs.master)
        self._return = b""
        """A carriage return at the end of what was read: it may belong to a line end."""

        self._told = b""
        """The beginning of a line that the job has not told in full."""

        self._policy: dict[str, Any] = {}
        self._unkept = 0
        """Bytes of output that are not in the log, for want of room."""

        self._unkept_why: str | None = None
        self._reason: str | None = None
        self._deadline = time.monotonic() + order.timeout_s if order.timeout_s else None
        self._kill_at: float | None = None

    def begin(self, spare: Spare) -> None:
        """Have *spare* become this job."""
        if self.unmute and self.plugs.interactive and self.plugs.master is not None:
            os.write(self.plugs.master, END_OF_INPUT)
        self.pid = spare.pid
        order = self.order
        payload = {
            "job": order.job,
            "attempt": order.attempt,
            "folder": order.folder,
            "invocation": order.invocation.document(),
            "unmute": self.unmute.decode(),
            "deadline": self._deadline,
        }
        spare.send(payload, [self.control_end, *self.plugs.handed_over()])
        os.close(self.control_end)
        self.plugs.close_job_side()

    # Output ---------------------------------------------------------------------------

    def read(self, fd: int) -> bool:
        """Move what *fd* has into the log, once; False at its end."""
        stream = self.plugs.readers[fd]
        if fd != self.plugs.master and stream not in self._held and self._move(stream, fd):
            return True
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal's other side is closed
                raise
            data = b""
        if not data:
            return False
        if fd == self.plugs.master:
            data = self._as_printed(data)
        if stream in self._held:
            data = self._withhold(stream, data)
        self._keep(stream, data)
        return True

    def _move(self, stream: Stream, pipe: int) -> bool:
        """Whether there was something. What the disk has no room for is taken by reading it."""
        try:
            return self.log.move(stream, pipe, READ_BYTES)
        except OSError:
            return False

    def _keep(self, stream: Stream, data: bytes) -> None:
        """Add to the log. A full disk costs the job output, and not its life."""
        try:
            if data:
                self.log.append(stream, data)
        except OSError as error:
            self._unkept += len(data)
            self._unkept_why = error.strerror

    def _as_printed(self, data: bytes) -> bytes:
        """Without the carriage returns that the job's terminal has put before newlines.

        The caller's terminal puts them there again, and a log is better without.
        """
        data, self._return = self._return + data, b""
        if not self._line_ends:
            return data
        if data.endswith(b"\r"):
            data, self._return = data[:-1], b"\r"
        return data.replace(b"\r\n", b"\n")

    def _withhold(self, stream: Stream, data: bytes) -> bytes:
        """What of *data* comes after the mark that this stream is to be heard from now on."""
        held = self._held[stream] + data
        before, mark, after = held.partition(self.unmute)
        if mark:
            del self._held[stream]
            return after
        self._held[stream] = before[-HELD_BYTES:]
        return b""

    def catch_up(self) -> None:
        """Everything that has been printed until now, but not for ever: others may print on."""
        for fd in list(self.plugs.readers):
            end = time.monotonic() + 2.0
            while time.monotonic() < end and self._more(fd):
                pass

    def drain(self) -> None:
        """After the end of the process: the rest of what it has printed."""
        self.catch_up()
        self._keep(Stream.TTY, self._return)
        if not self.reached:
            self._release_held()

    def _more(self, fd: int) -> bool:
        import select

        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0)) and self.read(fd)

    def _release_held(self) -> None:
        for stream, data in self._held.items():
            self._keep(stream, data)
        self._held = {}

    def close(self, fd: int) -> None:
        """Read no more of *fd*: the job is told when it writes there."""
        if self.plugs.readers.pop(fd, None) is not None:
            os.close(fd)
            if fd == self.plugs.master:
                self.plugs.master = None

    # Input ----------------------------------------------------------------------------

    def type(self, data: bytes) -> list[int]:
        """Give keys to the job's terminal; the signals that they make there."""
        master = self.plugs.master
        if master is None:
            return []
        made = self._signals_of(master, data)
        self._keys += data
        self.write_keys()
        for number in made:
            if number == signal.SIGTSTP:
                self._suspend(master)
        return made

    def mode_changed(self) -> bool | None:
        """Whether the job has made its terminal raw, or no longer; None if that is as before.

        The caller's terminal then must leave line ends alone as well.
        """
        if self.plugs.master is None:
            return None
        line_ends = _translates(self.plugs.master)
        if line_ends == self._line_ends:
            return None
        self._line_ends = line_ends
        return not line_ends

    def write_keys(self) -> bool:
        """Write what the terminal takes now; whether some keys are left."""
        while self._keys and self.plugs.master is not None:
            try:
                written = os.write(self.plugs.master, self._keys)
            except BlockingIOError:
                return True
            except OSError:
                self._keys = b""
                return False
            self._keys = self._keys[written:]
        return False

    def _signals_of(self, master: int, data: bytes) -> list[int]:
        attributes = termios.tcgetattr(master)
        if not attributes[3] & termios.ISIG:
            return []
        codes = {attributes[6][index]: int(number) for index, number in _KEY_SIGNALS}
        codes.pop(b"\0", None)
        return [codes[key] for key in (data[i : i + 1] for i in range(len(data))) if key in codes]

    def _suspend(self, master: int) -> None:
        """Stop the job as Ctrl-Z does. The kernel only does it under a shell in its session."""
        group = struct.unpack("i", fcntl.ioctl(master, termios.TIOCGPGRP, b"\0" * 4))[0]
        if not self._catches(signal.SIGTSTP):
            family.signal_group(group, signal.SIGSTOP)

    def _catches(self, number: int) -> bool:
        with open(f"/proc/{self.pid}/status") as file:
            found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
        return bool(found and int(found[1], 16) >> (number - 1) & 1)

    def resize(self, rows: int, cols: int) -> None:
        self.plugs.resize(rows, cols)
        if self.order.invocation.stdio[0] != "tty":  # it may have no terminal that would tell it
            self.signal(signal.SIGWINCH, group=True)

    # Signals and the end --------------------------------------------------------------

    def signal(self, number: int, *, group: bool) -> None:
        if self.status is not None:
            return
        if number == signal.SIGTSTP and not self._catches(number):
            number = signal.SIGSTOP
        if group:
            family.signal_group(self.pid, number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace_s: float, reason: str = "user") -> None:
        """SIGTERM now, SIGKILL to all that is left after *grace_s* seconds."""
        if self._reason is None and self.status is None:
            self._reason = reason
            self._kill_at = time.monotonic() + grace_s
            family.signal_group(self.pid, signal.SIGTERM)
            family.signal_group(self.pid, signal.SIGCONT)

    def hear(self, told: bytes) -> bool:
        """What the job has told; whether that its body is next is part of it."""
        *lines, self._told = (self._told + told).split(b"\n")
        messages = list(map(json.loads, lines))
        for terms in messages:
            if terms != REACHED:
                self._deadline, self._policy = terms["deadline"], terms["policy"]
        self.reached = self.reached or REACHED in messages
        return REACHED in messages

    def due_s(self) -> float | None:
        """Seconds until ``tick`` has something to do, or None."""
        times = [at for at in (self._deadline, self._kill_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.stop(self.order.grace_s, "timeout")
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            family.kill(self.pid, self.order.job)

    def finish(self, status: int) -> Outcome:
        """The process has ended with *status* (of ``waitpid``): complete and keep its outcome."""
        self.status = status
        self._deadline = self._kill_at = None
        self.drain()
        written = read_outcome(self.order.folder, self.order.attempt)
        outcome = written or Outcome(reached=self.reached, policy=self._policy)
        code = os.waitstatus_to_exitcode(status)
        before = (outcome.exit_code, outcome.signal, outcome.reason)
        outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
        outcome.reason = self._reason or outcome.reason
        if self.order.invocation.app.kind == "exec":
            outcome.complete = True
        if self._unkept and code == 0:
            outcome.error = (
                f"{self._unkept} bytes of its output could not be kept: {self._unkept_why}"
            )
        if (
            self._unkept
            or written is None
            or before != (outcome.exit_code, outcome.signal, outcome.reason)
        ):
            outcome.pid, outcome.worker_pid = self.pid, os.getpid()
            with contextlib.suppress(OSError):  # the daemon is told as well
                write_outcome(self.order.folder, self.order.attempt, outcome)
        return outcome

    def facts(self) -> dict[str, Any]:
        """For a daemon that has been away."""
        return {
            "job": self.order.job,
            "attempt": self.order.attempt,
            "pid": self.pid,
            "reached": self.reached,
            "size": self.log.size,
        }
