"""
A real process on a stage: started with pipes or at a terminal, talked to, watched to its end.

``perform`` runs one program once and returns everything an onlooker could see of it: the
bytes it wrote, how it ended, and whether the script of the conversation was played to its
end. Nothing here sleeps: every wait is a wait for bytes, or for the end of them.

Called by ``twin``, which performs the same program in two ways and compares.
"""

import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

ROWS: Final = 24
COLUMNS: Final = 80
CHUNK: Final = 1 << 16

Act = Callable[["Stage"], None]
"""What is done to the process when its cue has come."""


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the conversation: when *cue* (a pattern) has been heard, *act*.

    The cue is looked for after the cue of the step before. With a terminal it should
    contain the whole line: a signal key drops what the terminal has not yet shown.
    """

    cue: bytes
    act: Act


def send(data: bytes) -> Act:
    """Write *data* to its standard input; at a terminal, type it."""
    return lambda stage: stage.write(data)


def kill(number: signal.Signals) -> Act:
    """Send the process that was started, and only that one, a signal."""
    return lambda stage: stage.process.send_signal(number)


def resize(rows: int, columns: int) -> Act:
    """Give the terminal a new size."""
    return lambda stage: stage.resize(rows, columns)


def nothing(_: "Stage") -> None:
    """Only wait for the cue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is to be run, and the conversation with it."""

    argv: Sequence[str | bytes]
    cwd: str
    env: Mapping[str, str]
    stdin: bytes | None = None
    """With pipes: what it can read. None is an empty input, unless there are steps."""
    steps: Sequence[Step] = ()
    deadline_s: float = 20.0
    """Seconds after which it counts as stuck and is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What could be seen of one run. At a terminal ``stdout`` is all that was shown."""

    stdout: bytes
    stderr: bytes
    returncode: int | None
    """Negative: died by that signal. None: it was stuck and had to be killed."""
    missed: bytes | None = None
    """The cue that never came, if the conversation was not played to its end."""
    files: tuple[str, ...] = ()
    """One line per file left behind; filled in by whoever owns the directory."""

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.returncode is None:
            cue = "" if self.missed is None else f", waiting for {self.missed!r}"
            return f"still running at the deadline{cue}"
        if self.returncode < 0:
            return f"killed by {signal.Signals(-self.returncode).name}"
        return f"exit {self.returncode}"


def perform(program: Program, *, terminal: bool) -> Run:
    """Run *program* once, from its start to its end or the deadline.

    Raises:
        OSError: It could not be started.
    """
    with _at_terminal(program) if terminal else _with_pipes(program) as stage:
        return stage.play()


class Stage:
    """One process, the descriptors that lead to it, and what has been heard so far."""

    def __init__(
        self, program: Program, process: subprocess.Popen[bytes], outputs: list[int], inlet: int
    ) -> None:
        self.process = process
        self.heard: dict[int, bytearray] = {fd: bytearray() for fd in outputs}
        self._steps = list(program.steps)
        self._ends_at = time.monotonic() + program.deadline_s
        self._unread = bytearray()
        self._unsent = memoryview(program.stdin or b"")
        self._inlet: int | None = None if inlet < 0 else inlet
        self._selector = selectors.DefaultSelector()
        for fd in outputs:
            self._selector.register(fd, selectors.EVENT_READ)
        self._open = set(outputs)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_inlet()
        self._selector.close()
        for fd in self.heard:
            os.close(fd)
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def play(self) -> Run:
        """Go through the steps, then listen until every output has ended."""
        self._take_steps()
        while self._open and self._left_s() > 0:
            self._turn()
            self._take_steps()
        stdout, stderr = [*self.heard.values(), bytearray()][:2]
        return Run(
            stdout=bytes(stdout),
            stderr=bytes(stderr),
            returncode=self._end(),
            missed=self._steps[0].cue if self._steps else None,
        )

    def write(self, data: bytes) -> None:
        """Queue *data* for its standard input."""
        self._unsent = memoryview(bytes(self._unsent) + data)
        self._want_to_write()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal, which tells the process."""
        set_size(next(iter(self.heard)), rows, columns)

    def _left_s(self) -> float:
        return self._ends_at - time.monotonic()

    def _turn(self) -> None:
        for key, _ in self._selector.select(max(0.0, self._left_s())):
            if key.fd == self._inlet:
                self._feed(key.fd)
            else:
                self._listen(key.fd)

    def _listen(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except OSError:  # EIO: nobody holds the other side of the terminal any more
            data = b""
        if not data:
            self._selector.unregister(fd)
            self._open.discard(fd)
            return
        self.heard[fd] += data
        if self._steps:
            self._unread += data

    def _feed(self, fd: int) -> None:
        try:
            self._unsent = self._unsent[os.write(fd, self._unsent[:CHUNK]) :]
        except BrokenPipeError:  # it does not want to read any more
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._want_to_write()

    def _take_steps(self) -> None:
        while self._steps and (found := re.search(self._steps[0].cue, self._unread)):
            del self._unread[: found.end()]
            self._steps.pop(0).act(self)
        self._want_to_write()

    def _want_to_write(self) -> None:
        """Watch the inlet while there is something to write; close it when all is said."""
        if self._inlet is None:
            return
        watched = self._inlet in self._selector.get_map()
        if self._unsent and not watched:
            self._selector.register(self._inlet, selectors.EVENT_WRITE)
        elif not self._unsent and watched:
            self._selector.unregister(self._inlet)
        if not self._unsent and not self._steps:
            self._close_inlet()

    def _close_inlet(self) -> None:
        if self._inlet is not None:
            if self._inlet in (self._selector.get_map() or {}):
                self._selector.unregister(self._inlet)
            os.close(self._inlet)
            self._inlet = None

    def _end(self) -> int | None:
        try:
            return self.process.wait(max(0.0, self._left_s()))
        except subprocess.TimeoutExpired:
            return None


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the window size of the terminal behind *fd*."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _with_pipes(program: Program) -> Stage:
    talks = program.stdin is not None or bool(program.steps)
    process = _start(
        program,
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        before=_default_signals,
    )
    outputs = [_detach(process.stdout), _detach(process.stderr)]
    inlet = _detach(process.stdin) if talks else -1
    if talks:
        os.set_blocking(inlet, False)
    return Stage(program, process, outputs, inlet)


def _at_terminal(program: Program) -> Stage:
    ours, theirs = os.openpty()
    set_size(theirs, ROWS, COLUMNS)
    try:
        process = _start(
            program, stdin=theirs, stdout=theirs, stderr=theirs, before=_own_the_terminal
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Stage(program, process, [ours], os.dup(ours))


def _start(
    program: Program, *, stdin: int, stdout: int, stderr: int, before: Callable[[], None]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(program.argv),
        cwd=program.cwd,
        env=dict(program.env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=before,
    )


def _detach(pipe: object) -> int:
    """The descriptor of one of Popen's pipes, ours to close from now on."""
    fd = os.dup(pipe.fileno())  # type: ignore[attr-defined]
    pipe.close()  # type: ignore[attr-defined]
    return fd


def _default_signals() -> None:
    # A shell's background job is started with these ignored, and so would be the program.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _own_the_terminal() -> None:
    _default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
