"""
Memory: how much processes have, and whether the kernel has ended one for want of it.
"""

import contextlib
import os
from collections.abc import Collection
from typing import Final

LOOK_S: Final = 0.1
"""Seconds between two looks at a job that may not have all the memory there is."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def used(pids: Collection[int], limit: int) -> int:
    """Bytes of memory that *pids* have between them.

    Pages that several share count once. To find that out is dear, so it is done only if they
    would have more than *limit* otherwise.
    """
    total = sum(map(_resident, pids))
    return total if total <= limit else sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int:
    """Its own pages, and its share of those that it has together with others."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def shown(number: int) -> str:
    """Bytes for people, as they write them in a limit."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
        for step, mark in ((1024, "iB"), (1000, "B")):
            if number >= step**power and number % (step**power // 8) == 0:
                return f"{number / step**power:g} {unit.upper() if step == 1024 else unit}{mark}"
    return f"{number} bytes"


def out_of_memory(before: int) -> tuple[str, str] | None:
    """Reason and message for a process that SIGKILL has ended and nobody is known to have sent it.

    Args:
        before: What ``oom_kills`` said when it began.
    """
    if oom_kills() <= before:
        return None
    return "memory", "signal 9 (out of memory): the kernel has ended it"


def oom_kills() -> int:
    """How often the kernel has ended a process of this control group for want of memory.

    Of the whole machine where the group does not tell. Only its growth means something.
    """
    for path, word in _counters():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for line in file:
                name, _, value = line.partition(b" ")
                if name == word:
                    return int(value)
    return 0


def _counters() -> list[tuple[str, bytes]]:
    """Files that count, the most exact first, and the word before the number."""
    found = [("/proc/vmstat", b"oom_kill")]
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                place = f"/sys/fs/cgroup/memory{path}/memory.oom_control"
            elif not controllers:
                place = f"/sys/fs/cgroup{path}/memory.events"
            else:
                continue
            found.insert(0, (place, b"oom_kill"))
    return found
