"""
One attempt as its worker sees it: a child process, what it prints, and when it must end.
"""

import contextlib
import json
import os
import secrets
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Final

from mcli import family, memory
from mcli.capture import Capture, translates
from mcli.card import Pipes, has_begun
from mcli.invocation import Invocation
from mcli.outcome import Outcome, read_outcome, write_outcome
from mcli.worker import journal
from mcli.worker.plugs import END_OF_INPUT, Plugs
from mcli.worker.spare import Spare

REACHED: Final = "reached"
"""What a job tells its worker when its body is next. Else it tells what its command says of
itself, as an object: each is a line of JSON."""


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


class Attempt:
    """A job process at work, seen from its worker.

    Args:
        pid: Of the process that is to become this job.

    Raises:
        OSError: Too many files are open, say; none is left open.
    """

    def __init__(self, order: Order, pid: int) -> None:
        self.order = order
        self.pid = pid
        self.status: int | None = None
        self.reached = order.invocation.replay is None
        self.plugs = Plugs(order.invocation.stdio, order.invocation.terminal, order.fds)
        self.unmute: bytes = (
            b"" if self.reached else f"\x02mcli {secrets.token_hex(16)}\x03".encode()
        )
        """What the job writes to each of its streams when its body is reached."""

        with contextlib.ExitStack() as undo:
            undo.callback(self.plugs.discard)
            self.capture = Capture(
                order.folder,
                most=order.output_max,
                muted=self.plugs.readers.values() if self.unmute else (),
                unmute=self.unmute,
            )
            undo.callback(self.capture.close)
            self.control, self.control_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.pop_all()
        self.capture.line_ends = translates(self.plugs.master)
        self.pipes = {os.fstat(fd).st_ino for fd in (self.control, *self.plugs.readers)}
        """Inodes by which what holds one of them is known to be of this job."""

        self._told = b""
        """The beginning of a line that the job has not told in full."""

        self._policy: dict[str, Any] = {}
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
        self.capture.close()
        os.close(self.control)
        os.close(self.control_end)

    def known_pipes(self) -> Pipes:
        """By what its streams are known when nobody holds them any more."""
        inodes = {
            int(stream): os.fstat(fd).st_ino
            for fd, stream in self.plugs.readers.items()
            if fd != self.plugs.master
        }
        return Pipes(inodes, self.unmute.decode())

    def begin(self, spare: Spare) -> None:
        """Have *spare* become this job."""
        if self.unmute and self.plugs.interactive and self.plugs.master is not None:
            os.write(self.plugs.master, END_OF_INPUT)
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
        try:
            self.capture.read(self.plugs.readers[fd], fd)
        except EOFError:
            return False
        return True

    def catch_up(self, *only: int) -> None:
        """Everything that has been printed until now."""
        for fd in only or list(self.plugs.readers):
            self.capture.catch_up(self.plugs.readers[fd], fd)
        if self.status is not None:
            self.capture.gather()

    def drain(self) -> bool:
        """After the end of the process: the rest of what it has printed; False: it has no room."""
        self.catch_up()
        if not self.capture.full:
            self.capture.finish()
            if not self.reached:
                self.capture.release()
            if self.capture.anchors.ends:  # too many files are open to read there
                self.hunt_later()
                return False
        return not self.capture.full

    def close(self, fd: int) -> None:
        """Read no more of *fd*: the job is told when it writes there."""
        if self.plugs.readers.pop(fd, None) is not None:
            os.close(fd)
            if fd == self.plugs.master:
                self.plugs.master = self.plugs.keyboard = None

    # Input ----------------------------------------------------------------------------

    def type(self, data: bytes) -> list[int]:
        """Give keys to the job's terminal; the signals that they make there."""
        keyboard = self.plugs.keyboard
        if keyboard is None or self.status is not None:
            return []
        return keyboard.type(self.pid, data)

    def mode_changed(self) -> bool | None:
        """Whether the job has made its terminal raw, or no longer; None if that is as before.

        The caller's terminal then must leave line ends alone as well.
        """
        if self.plugs.master is None:
            return None
        line_ends = translates(self.plugs.master)
        if line_ends == self.capture.line_ends:
            return None
        self.capture.line_ends = line_ends
        return not line_ends

    def resize(self, rows: int, cols: int) -> None:
        if self.plugs.keyboard is not None:
            self.plugs.keyboard.resize(rows, cols)
        if self.order.invocation.stdio[0] != "tty":  # it may have no terminal that would tell it
            self.signal(signal.SIGWINCH, group=True)

    # Signals and the end --------------------------------------------------------------

    def signal(self, number: int, *, group: bool) -> None:
        if self.status is not None:
            return
        if number == signal.SIGTSTP and not family.catches(self.pid, number):
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
                log = self.capture.log
                log.most = self._policy.get("output_bytes", log.most)
                self._watch_memory()
        self.reached = self.reached or REACHED in messages
        return REACHED in messages

    def due_s(self) -> float | None:
        """Seconds until ``tick`` has something to do, or None."""
        plans = (self._deadline, self._kill_at, self._look_at, self.capture.again_at, self._hunt_at)
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
        if self.capture.again_at is not None and now >= self.capture.again_at:
            self.capture.try_again()

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
        """The process has ended with *status* (of ``waitpid``); ``complete`` is next."""
        self.status = status
        self._deadline = self._kill_at = self._look_at = None

    def complete(self) -> bool:
        """Complete and keep its outcome; False if that was done before.

        Raises:
            OSError: Too many files are open to see what it has left.
        """
        if self._outcome is not None or self.status is None:
            return False
        status = self.status
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not self._killed:
            self._reason, self._error = memory.out_of_memory(self._oom_kills) or (
                self._reason,
                None,
            )
        written = read_outcome(self.order.folder, self.order.attempt)
        outcome = written or Outcome(reached=self.reached, policy=self._policy)
        code = os.waitstatus_to_exitcode(status)
        begun = written is not None or has_begun(self.order.folder, self.order.attempt, code)
        before = (outcome.exit_code, outcome.signal, outcome.reason)
        outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
        outcome.reason = self._reason or outcome.reason
        outcome.error = self._error or outcome.error
        if self.order.invocation.app.kind == "exec":  # it writes none, and may end with any code
            outcome.complete = begun
        self._outcome = outcome
        self.catch_up()  # first: whoever reads an outcome believes that all is stored
        told = (outcome.exit_code, outcome.signal, outcome.reason)
        if begun and (written is None or before != told):
            outcome.unstored = self.capture.full
            self._write(outcome)
        return True

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

    def hunt_later(self) -> None:
        """It could not be seen what it has left, or what is in its pipes."""
        self._hunt_at = time.monotonic() + family.PART_S

    def outcome(self) -> Outcome:
        """What it came to, when all that it has printed is stored."""
        outcome = self._outcome
        assert outcome is not None
        told = self.capture.missing() if outcome.exit_code == 0 else None
        if told or outcome.unstored:
            outcome.error, outcome.unstored = told or outcome.error, False
            self._write(outcome)
        return outcome

    def facts(self) -> dict[str, Any]:
        """For a daemon that has been away."""
        return {
            "job": self.order.job,
            "attempt": self.order.attempt,
            "pid": self.pid,
            "reached": self.reached,
            "size": self.capture.log.size,
        }
