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

from mcli import family, memory
from mcli.card import Pipes
from mcli.invocation import Invocation
from mcli.outcome import Outcome, read_outcome, write_outcome
from mcli.output import AGAIN_MAX_S, AGAIN_S, FULL, Log, missing
from mcli.stream import Stream
from mcli.worker import journal
from mcli.worker.plugs import END_OF_INPUT, Plugs
from mcli.worker.spare import Spare

REACHED: Final = "reached"
"""What a job tells its worker when its body is next. Else it tells what its command says of
itself, as an object: each is a line of JSON."""

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
    card: dict[str, Any]
    """What its directory is to tell of it."""

    output_max: int | None = None
    """Bytes of output that are kept."""

    fds: list[int] = field(default_factory=list)


def _translates(master: int | None) -> bool:
    """Whether the terminal makes a carriage return and a newline of each newline."""
    wanted = termios.OPOST | termios.ONLCR
    return master is not None and termios.tcgetattr(master)[1] & wanted == wanted


class Attempt:
    """A job process at work, seen from its worker.

    Raises:
        OSError: Too many files are open, say; none is left open.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.pid = 0
        self.status: int | None = None
        self.reached = order.invocation.replay is None
        self.plugs = Plugs(order.invocation.stdio, order.invocation.terminal, order.fds)
        with contextlib.ExitStack() as undo:
            undo.callback(self.plugs.discard)
            self.log = Log(os.path.join(order.folder, "output.log"), most=order.output_max)
            undo.callback(self.log.close)
            self.control, self.control_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.pop_all()
        self.pipes = {os.fstat(fd).st_ino for fd in (self.control, *self.plugs.readers)}
        """Inodes by which what holds one of them is known to be of this job."""

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
        """Bytes of output that are not in the log, and never will be."""

        self._unkept_why: str | None = None
        self._unstored: list[tuple[Stream, bytes]] = []
        """What was read when the disk turned out to be full, to be stored when it has room."""

        self.full = False
        """Nothing is read now, for want of room: who writes waits, as on a slow disk."""

        self._again_at: float | None = None
        self._again_s = AGAIN_S
        self._hunt_at: float | None = None
        self._hunts: list[tuple[float, int]] | None = None
        """What strays are sent, and when; the first is next. None: it has not ended."""

        self._outcome: Outcome | None = None
        self._reason: str | None = None
        self._error: str | None = None
        self._stopped_at: float | None = None
        """When SIGKILL was sent for the first time."""

        self._deadline = time.monotonic() + order.timeout_s if order.timeout_s else None
        self._kill_at: float | None = None
        self._look_at: float | None = None
        """When it is seen how much memory it has."""

        self._killed = False
        """SIGKILL has been sent on purpose."""

        self._oom_kills = 0

    def discard(self) -> None:
        """Close all that is open for it: it is not begun."""
        self.plugs.discard()
        self.log.close()
        os.close(self.control)
        os.close(self.control_end)

    def known_pipes(self) -> Pipes:
        """By what its streams are known when nobody holds them any more."""
        inodes = {
            int(stream): os.fstat(fd).st_ino
            for fd, stream in self.plugs.readers.items()
            if fd != self.plugs.master
        }
        return Pipes(inodes, self.unmute.decode(), self.log.size)

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
        self._oom_kills = memory.oom_kills()
        self._watch_memory()

    # Output ---------------------------------------------------------------------------

    def read(self, fd: int) -> bool:
        """Move what *fd* has into the log, once; False at its end. Not while the disk is full."""
        stream = self.plugs.readers[fd]
        if fd != self.plugs.master and stream not in self._held and self._move(stream, fd):
            return True
        try:
            data = os.read(fd, self.log.piece)
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
        """Whether there is no more to do: it was moved, or waits in the pipe for room."""
        try:
            moved = self.log.move(stream, pipe, self.log.piece)
        except OSError as error:
            if error.errno in FULL:
                self._wait_for_room()
            return self.full
        self._again_s = AGAIN_S
        return moved

    def _keep(self, stream: Stream, data: bytes) -> None:
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
            if error.errno in FULL:
                self._wait_for_room()
                return
            lost = sum(len(data) for _, data in self._unstored)
            self._unkept, self._unkept_why = self._unkept + lost, error.strerror
            self._unstored.clear()
            with contextlib.suppress(OSError):
                self.log.declare(lost)

    def _wait_for_room(self) -> None:
        self.full = True
        self._again_at = time.monotonic() + self._again_s
        self._again_s = min(2 * self._again_s, AGAIN_MAX_S)

    def _try_again(self) -> None:
        """Store what waits, and read on if there was room for it."""
        self.full, self._again_at = False, None
        self._store()

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

    def catch_up(self, *only: int) -> None:
        """Everything that has been printed until now, but not for ever: others may print on."""
        for fd in only or list(self.plugs.readers):
            end = time.monotonic() + 2.0
            while time.monotonic() < end and not self.full and self._more(fd):
                pass

    def drain(self) -> bool:
        """After the end of the process: the rest of what it has printed; False: it has no room."""
        self.catch_up()
        if not self.full:
            self._keep(Stream.TTY, self._return)
            self._return = b""
            if not self.reached:
                self._release_held()
        return not self.full

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
        self._killed = self._killed or number == signal.SIGKILL
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
                self.log.most = self._policy.get("output_bytes", self.log.most)
                self._watch_memory()
        self.reached = self.reached or REACHED in messages
        return REACHED in messages

    def due_s(self) -> float | None:
        """Seconds until ``tick`` has something to do, or None."""
        plans = (self._deadline, self._kill_at, self._look_at, self._again_at, self._hunt_at)
        times = [at for at in plans if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.stop(self.order.grace_s, "timeout")
        if self._kill_at is not None and now >= self._kill_at:
            self._kill()
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + memory.LOOK_S
            self._look()
        if self._again_at is not None and now >= self._again_at:
            self._try_again()

    def _kill(self) -> None:
        """SIGKILL to all of it, again and again: one may fork meanwhile."""
        now = time.monotonic()
        self._killed, self._stopped_at = True, self._stopped_at or now
        self._kill_at = now + family.KILL_AGAIN_S
        if now - self._stopped_at > family.UNKILLABLE_S:
            self._kill_at = None
            journal.warn(f"job.unkillable job_id={self.order.job} pids={[self.pid]}")
        family.kill(self.pid, self.order.job)

    @property
    def _memory_max(self) -> int | None:
        """Bytes of memory that it may have."""
        told = self.order.invocation.policy.memory_bytes
        return told or self._policy.get("memory_bytes")

    def _watch_memory(self) -> None:
        if self._memory_max is not None and self.status is None:
            self._look_at = time.monotonic()

    def _look(self) -> None:
        """End it if it has more memory than it may: at once, for it may go on to take more."""
        most = self._memory_max
        if most is None or self.status is not None or self._reason is not None:
            self._look_at = None
        elif memory.used(family.descendants({self.pid}), most) > most:
            self._reason = "memory"
            self._error = f"needed more than its {memory.shown(most)} of memory"
            self._kill()

    def ended(self, status: int) -> None:
        """The process has ended with *status* (of ``waitpid``): complete and keep its outcome."""
        self.status = status
        self._deadline = self._kill_at = self._look_at = None
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not self._killed:
            self._reason, self._error = memory.out_of_memory(self._oom_kills) or (
                self._reason,
                None,
            )
        written = read_outcome(self.order.folder, self.order.attempt)
        outcome = written or Outcome(reached=self.reached, policy=self._policy)
        code = os.waitstatus_to_exitcode(status)
        before = (outcome.exit_code, outcome.signal, outcome.reason)
        outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
        outcome.reason = self._reason or outcome.reason
        outcome.error = self._error or outcome.error
        if self.order.invocation.app.kind == "exec":
            outcome.complete = True
        self._outcome = outcome
        self.catch_up()  # first: whoever reads that it is complete believes that all is stored
        if written is None or before != (outcome.exit_code, outcome.signal, outcome.reason):
            self._write(outcome)

    def _write(self, outcome: Outcome) -> None:
        outcome.pid, outcome.worker_pid = self.pid, os.getpid()
        with contextlib.suppress(OSError):  # the daemon is told as well
            write_outcome(self.order.folder, self.order.attempt, outcome)

    @property
    def leaves_children(self) -> bool:
        """Whether what it has started may live on."""
        told = self.order.invocation.policy
        return told.leave_children or bool(self._policy.get("leave_children"))

    def hunt(self, strays: set[int]) -> bool:
        """Go on ending *strays*, which the job has left; True when that is over."""
        now = time.monotonic()
        if self._hunts is None:
            self._hunts = family.hunts(now, self.order.grace_s)
        while strays and self._hunts and now >= self._hunts[0][0]:
            number = self._hunts.pop(0)[1]
            if number == signal.SIGKILL:
                family.kill_all(lambda: family.descendants(strays))
            else:
                family.end(family.descendants(strays), number)
        self._hunt_at = self._hunts[0][0] if strays and self._hunts else None
        if strays and not self._hunts:
            journal.warn(f"job.unkillable job_id={self.order.job} pids={sorted(strays)}")
        return self._hunt_at is None

    def outcome(self) -> Outcome:
        """What it came to, when all that it has printed is stored."""
        outcome = self._outcome
        assert outcome is not None
        told = missing(self._unkept, self._unkept_why, self.log)
        if told and outcome.exit_code == 0:
            outcome.error = told
            self._write(outcome)
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
