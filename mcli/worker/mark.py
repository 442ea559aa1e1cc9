"""
The job's id where the kernel shows the environment of its process, and of all that it forks.

``/proc/PID/environ`` is memory: what a process was executed with, of which each fork has a copy.
A worker is executed with a blank there, and a job's process writes its id over it; so what the
job forks and never executes, as a program that becomes a daemon of its own, is known as its own.
"""

import ctypes
import os
from typing import Final

from mcli.family import BLANK_MARK, MARK_NAME

_ENV_START: Final = 47
"""Where ``env_start`` is in ``/proc/PID/stat`` after the name (proc_pid_stat(5)): field 50."""

_BLANK: Final = BLANK_MARK.encode()


class Mark:
    """The blank of this process, to be looked for before anything of the app's runs."""

    def __init__(self) -> None:
        self._address = _find()
        os.environ.pop(MARK_NAME, None)

    def write(self, job_id: str) -> None:
        """Fill it in, unless something else is there by now: a title of the process, say."""
        if self._address is None or len(job_id) != len(_BLANK):
            return
        if ctypes.string_at(self._address, len(_BLANK)) == _BLANK:
            ctypes.memmove(self._address, job_id.encode("ascii"), len(_BLANK))


def _find() -> int | None:
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = map(int, fields[_ENV_START : _ENV_START + 2])
    except (OSError, ValueError):  # this kernel does not tell
        return None
    name = MARK_NAME.encode() + b"="
    at = ctypes.string_at(start, end - start).find(name + _BLANK) if start else -1
    return start + at + len(name) if at >= 0 else None
