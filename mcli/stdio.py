"""
What the caller's standard streams are, and its terminal while a job has the keyboard.
"""

import os
import signal
import stat
import sys
import termios
from typing import Any, Final, TextIO

_CC: Final = 6
_OFLAG: Final = 1


def survey(*, detach: bool = False) -> tuple[list[str], dict[str, Any] | None]:
    """How each stream of the job is to be plugged, and the terminal they show.

    As ``stdio`` and ``terminal`` of ``invocation.Invocation``.
    """
    terminal_fd = None if detach else find_terminal()
    plugs = [_input(detach), _output(1, detach), _errors(detach)]
    return plugs, _describe(terminal_fd) if terminal_fd is not None else None


def find_terminal() -> int | None:
    """The descriptor that shows the terminal: stdout, stderr or stdin, if one of them does."""
    return next((fd for fd in (1, 2, 0) if _is_tty(fd)), None)


def _is_tty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _input(detach: bool) -> str:
    if not _open(0):
        return "closed"
    if not _is_tty(0):
        return "null" if _is_null(0) else "fd"
    if detach:
        return "null"
    return "fd" if _in_pipeline() else "tty"


def _is_null(fd: int) -> bool:
    """Whether *fd* is ``/dev/null``, which every process can open for itself."""
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev


def _in_pipeline() -> bool:
    """Whether another program reads what this one prints, and may want the keyboard itself.

    The job then gets the terminal's own descriptor, and only reads keys when it asks for them,
    as a local run does; a pager keeps those that are meant for it.
    """
    return _open(1) and stat.S_ISFIFO(os.fstat(1).st_mode)


def _output(fd: int, detach: bool) -> str:
    if not _open(fd):
        return "closed"
    return "tty" if _is_tty(fd) and not detach else "pipe"


def _errors(detach: bool) -> str:
    plug = _output(2, detach)
    if plug == "pipe" and _open(1) and os.path.sameopenfile(1, 2):
        return "out"
    return plug


def _describe(fd: int) -> dict[str, Any]:
    """Size and settings."""
    size = os.get_terminal_size(fd)
    attributes: list[Any] = termios.tcgetattr(fd)
    attributes[_CC] = [cc if isinstance(cc, int) else cc[0] for cc in attributes[_CC]]
    return {"rows": size.lines, "cols": size.columns, "attributes": attributes}


def ignored_signals() -> list[int]:
    """Signals that the program ignores, as under ``nohup``; SIGPIPE every Python ignores."""
    usual = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)}
    return [
        int(number)
        for number in signal.valid_signals()
        if number not in usual and signal.getsignal(number) is signal.SIG_IGN
    ]


class Keyboard:
    """The terminal's input, handed key by key to the job while it has it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    @classmethod
    def find(cls) -> "Keyboard | None":
        """That of stdin, or /dev/tty's; None if there is none, or it may not be ours alone."""
        if find_terminal() is None or _in_pipeline():
            return None
        if _is_tty(0):
            return cls(0)
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        except OSError:
            return None

    def fileno(self) -> int:
        return self._fd

    @property
    def held(self) -> bool:
        return self._before is not None

    def foreground(self) -> bool:
        """Whether this process may touch the terminal without being stopped for it."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def grab(self) -> None:
        """Make the terminal pass everything on as it is; the job's own terminal interprets it."""
        if self._before is None and self.foreground():
            self._before = termios.tcgetattr(self._fd)
            raw = termios.tcgetattr(self._fd)
            raw[0] &= ~(
                termios.BRKINT
                | termios.ICRNL
                | termios.INPCK
                | termios.ISTRIP
                | termios.IXON
                | termios.INLCR
                | termios.IGNCR
            )
            raw[3] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG
            )
            raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)

    def translate(self, wanted: bool) -> None:
        """Whether the terminal makes line ends of newlines; a full-screen program wants it not."""
        if self._before is not None:
            now = termios.tcgetattr(self._fd)
            now[_OFLAG] = self._before[_OFLAG] if wanted else now[_OFLAG] & ~termios.OPOST
            termios.tcsetattr(self._fd, termios.TCSADRAIN, now)

    def release(self) -> None:
        """Give the terminal back as it was."""
        before, self._before = self._before, None
        if before is not None:
            # In the background the kernel would stop us for this; the shell has its own settings.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
            except termios.error:
                pass  # the terminal is gone
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def write_all(fd: int, data: bytes) -> bool:
    """Write everything; False when nobody reads *fd* any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            _wait_writable(fd)
        except OSError:
            return False
    return True


def _wait_writable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()


def say(text: str, *, before: str = "") -> None:
    """A line of ours on stderr. That nobody can read it changes nothing for the command."""
    stream = sys.stderr
    try:
        if stream is not None and _is_read(stream):
            stream.write(f"{before}mcli: {text}\n")
            stream.flush()
    except (OSError, ValueError):
        pass


def _is_read(stream: TextIO) -> bool:
    """What is written to a pipe that nobody reads would fail once more at the end."""
    from mcli.pipe import is_read

    try:
        return is_read(stream.fileno())
    except (OSError, ValueError):  # it is no file
        return True


def flush() -> None:
    """Send out what this process has printed so far: the job's output comes after it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass


def mute() -> None:
    """Nobody hears this process any more: all that is left to it is to end."""
    flush()
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for fd in (1, 2):
        if _open(fd):
            os.dup2(nowhere, fd)
    os.close(nowhere)
