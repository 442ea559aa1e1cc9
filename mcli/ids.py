"""
The ids of jobs: made by the client before it sends anything, so that it can ask again.
"""

import os
import time

_RANDOM_BITS = 74
_HEX = frozenset("0123456789abcdef")
_last = 0


def new_id() -> str:
    """A UUID of version 7: the time in milliseconds, then chance. 36 characters, lower case.

    Ids that a process makes one after the other sort in that order, also within a
    millisecond and when the clock is set back.

    Source:
        RFC 9562, section 5.7, and section 6.2 method 2 for the order within a millisecond.
    """
    global _last
    milliseconds = time.time_ns() // 1_000_000
    drawn = milliseconds << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big") >> 6
    if drawn <= _last:
        drawn = _last + 1 + int.from_bytes(os.urandom(4), "big")
    _last = drawn
    return _uuid7(drawn)


def is_id(text: str) -> bool:
    """Whether *text* may be a job's id, and so the name of its directory.

    Of version 7 only: jobs are begun and listed in the order of their ids.
    """
    groups = text.split("-")
    shaped = [len(group) for group in groups] == [8, 4, 4, 4, 12]
    return shaped and _HEX.issuperset("".join(groups)) and groups[2][0] == "7"


def _uuid7(number: int) -> str:
    """48 bits of time and 74 of chance, with version and variant put between them."""
    milliseconds, chance = number >> _RANDOM_BITS, number & ((1 << _RANDOM_BITS) - 1)
    high, low = chance >> 62, chance & ((1 << 62) - 1)
    digits = f"{milliseconds:012x}7{high:03x}{0b10 << 62 | low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
