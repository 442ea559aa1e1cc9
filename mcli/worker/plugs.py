"""
The job's standard streams: pipes, a terminal, or what the caller handed over.

The worker makes the ``Plugs`` of an attempt and keeps the reading ends and the terminal's
master; the others go to the job process, which puts them in place as 0, 1 and 2.
"""

import fcntl
import os
import termios
from collections.abc import Sequence

from mcli.invocation import Stdio, Terminal
from mcli.keyboard import Keyboard
from mcli.stream import Stream

END_OF_INPUT = b"\x04" * 64
"""Typed ahead while the program is replayed, so that whatever it asks is answered by an end."""


class Plugs:
    """Descriptors of one attempt. Whoever holds them closes them.

    Raises:
        OSError: Too many are open, say; none is left open.
    """

    def __init__(
        self, stdio: tuple[Stdio, Stdio, Stdio], terminal: Terminal | None, fds: Sequence[int]
    ) -> None:
        self.stdio = stdio
        self.readers: dict[int, Stream] = {}
        """What the worker reads from."""

        self.master: int | None = None
        self.keyboard: Keyboard | None = None
        self._slave: int | None = None
        self._passed = list(fds)
        self.job: list[int | None] = []
        try:
            if "tty" in stdio:
                self._open_terminal(terminal or Terminal(24, 80))
            self.job.append(self._input(stdio[0]))
            out = self._output(stdio[1], Stream.STDOUT)
            self.job.append(out)
            self.job.append(out if stdio[2] == "out" else self._output(stdio[2], Stream.STDERR))
        except BaseException:
            self.discard()
            raise

    def _open_terminal(self, terminal: Terminal) -> None:
        self.master, self._slave = os.openpty()
        self.readers[self.master] = Stream.TTY
        os.set_inheritable(self.master, False)
        os.set_blocking(self.master, False)  # whoever reads it has others to serve
        if terminal.attributes:
            termios.tcsetattr(self._slave, termios.TCSANOW, terminal.attributes)
        self.keyboard = Keyboard(self.master)
        self.keyboard.resize(terminal.rows, terminal.cols)

    def _input(self, plug: Stdio) -> int | None:
        if plug == "tty":
            return self._slave
        if plug == "fd":
            return self._passed[0]
        return None if plug == "closed" else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _output(self, plug: Stdio, stream: Stream) -> int | None:
        if plug == "tty":
            return self._slave
        if plug == "closed":
            return None
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        self.readers[reader] = stream
        return writer

    @property
    def interactive(self) -> bool:
        """Whether the job has a terminal."""
        return "tty" in self.stdio

    def close_job_side(self) -> None:
        """In the worker, when the job process has its own copies."""
        ends = {fd for fd in (*self.job, self._slave, *self._passed) if fd is not None}
        for fd in ends:
            os.close(fd)
        self.job, self._slave, self._passed = [], None, []

    def discard(self) -> None:
        """Close what was opened here: there is no job for it. What was passed is the caller's."""
        for fd in {*self.readers, *self.job, self._slave}.difference(self._passed):
            if fd is not None:
                os.close(fd)

    def handed_over(self) -> list[int]:
        """What the job process needs, in the order in which ``plug_in`` takes it."""
        return [fd for fd in self.job if fd is not None]


def plug_in(stdio: tuple[Stdio, Stdio, Stdio], fds: Sequence[int]) -> None:
    """In the job process: make *fds* 0, 1 and 2, and the terminal the controlling one.

    What is to be closed is open until ``close_plugs``, so that nothing else gets its number.
    """
    # First out of the way: one of them may have the number that another is to get.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in fds]
    for number, plug in enumerate(stdio):
        if plug != "closed":
            os.dup2(moved.pop(0), number, inheritable=True)
    if "tty" in stdio and not (stdio[0] == "fd" and os.isatty(0)):
        fcntl.ioctl(stdio.index("tty"), termios.TIOCSCTTY, 0)


def close_plugs(stdio: tuple[Stdio, Stdio, Stdio]) -> None:
    """Close what was closed at the caller's."""
    for number, plug in enumerate(stdio):
        if plug == "closed":
            os.close(number)


def own_streams(log: str) -> None:
    """Nothing to read, and the daemon's log to write to.

    A worker is started on pipes, so that Python's streams are made for pipes, as those of
    its jobs are.
    """
    for path, mode, numbers in (
        (os.devnull, os.O_RDONLY, (0,)),
        (log, os.O_WRONLY | os.O_APPEND, (1, 2)),
    ):
        fd = os.open(path, mode | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for number in numbers:
            os.dup2(fd, number)
        os.close(fd)
