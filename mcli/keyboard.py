"""
The side of a job's terminal at which somebody types.
"""

import fcntl
import os
import signal
import struct
import termios
from typing import Final

from mcli import family

_KEY_SIGNALS: Final = (
    (termios.VINTR, signal.SIGINT),
    (termios.VQUIT, signal.SIGQUIT),
    (termios.VSUSP, signal.SIGTSTP),
)


class Keyboard:
    """Types at a terminal whose *master* does not block. Whoever holds that closes it."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._keys = b""

    def type(self, job: int, data: bytes) -> list[int]:
        """Give keys to the terminal of the process *job*; the signals that they make there."""
        made = self._signals_of(data)
        self._keys += data
        self.write()
        if signal.SIGTSTP in made and not family.catches(job, signal.SIGTSTP):
            # As the kernel does it, but only under a shell in the job's session.
            group = struct.unpack("i", fcntl.ioctl(self._master, termios.TIOCGPGRP, b"\0" * 4))[0]
            if group > 0:  # nobody's terminal has 0: that would be our own
                family.signal_group(group, signal.SIGSTOP)
        return made

    def _signals_of(self, data: bytes) -> list[int]:
        attributes = termios.tcgetattr(self._master)
        if not attributes[3] & termios.ISIG:
            return []
        codes = {attributes[6][index]: int(number) for index, number in _KEY_SIGNALS}
        codes.pop(b"\0", None)
        return [codes[key] for key in (data[i : i + 1] for i in range(len(data))) if key in codes]

    def write(self) -> bool:
        """Write what the terminal takes now; whether some keys are left."""
        while self._keys:
            try:
                written = os.write(self._master, self._keys)
            except BlockingIOError:
                return True
            except OSError:
                self._keys = b""
                return False
            self._keys = self._keys[written:]
        return False

    def resize(self, rows: int, cols: int) -> None:
        """Who runs at the terminal is told by the kernel."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))
