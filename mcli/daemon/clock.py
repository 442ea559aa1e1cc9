"""
Whether the clock that is set was set: by what it says against the time since the boot.

No timeout depends on it. But ``retry_delay`` and retention are dates, and so is what is shown.
"""

import time
from typing import Final

JUMP_S: Final = 2.0
"""Seconds that make a jump: to keep a clock right takes less from one look to the next."""

_AT_ONCE_S: Final = 0.1
"""Seconds within which both clocks are read, if they are to be compared."""

_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """The clock, as it was at the last look."""

    def __init__(self) -> None:
        self._offset_s = _offset_s()

    def jump_s(self) -> float | None:
        """By how many seconds it was set since the last look; None if it was not."""
        offset_s = _offset_s()
        if offset_s is None:
            return None
        before_s, self._offset_s = self._offset_s, offset_s
        if before_s is None or abs(offset_s - before_s) < JUMP_S:
            return None
        return offset_s - before_s


def _offset_s() -> float | None:
    """What the clock says more than the one since the boot; None if this process stood still."""
    first = time.clock_gettime(_SINCE_BOOT)
    now = time.time()
    if time.clock_gettime(_SINCE_BOOT) - first > _AT_ONCE_S:
        return None
    return now - first
