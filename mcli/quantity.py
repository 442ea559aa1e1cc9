"""
Amounts as people write them: ``90s``, ``12h``, ``7d``; ``500MB``, ``1GiB``.

The one place where they are read. What is none is a ``ValueError`` that says, after "it must
be", what would be right.
"""

import re
from typing import Final

NONE: Final = "none"
"""How no limit is written."""

DURATION: Final = "a time such as 90s, 15m, 12h or 7d"
SIZE: Final = "a size such as 500MB or 1GiB"
COUNT: Final = "a whole number from 0"

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES: Final = {"b": 1} | {
    f"{letter}{unit}": size**power
    for power, letter in enumerate("kmgt", 1)
    for unit, size in (("b", 1000), ("ib", 1024))
}
_AMOUNT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]+)")


def duration_s(text: str) -> float:
    """Seconds; the unit has to be there, for 7 may be days to one and seconds to another.

    Raises:
        ValueError: It is no time.
    """
    return _amount(text, _SECONDS, DURATION)


def size_bytes(text: str) -> int:
    """Bytes; kB, MB, GB and TB count in thousands, KiB, MiB, GiB and TiB in 1,024s.

    Raises:
        ValueError: It is no size.
    """
    return int(_amount(text, _BYTES, SIZE))


def count(text: str) -> int:
    """How many.

    Raises:
        ValueError: It is no whole number, or below 0.
    """
    if not re.fullmatch(r"[0-9]{1,15}", text.strip()):
        raise ValueError(COUNT)
    return int(text)


def _amount(text: str, units: dict[str, int], wanted: str) -> float:
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None or found[2] not in units:
        raise ValueError(wanted)
    return float(found[1]) * units[found[2]]


def shown_bytes(size: float) -> str:
    """Bytes in few letters, in thousands: 0 B, 999 B, 1.2 kB, 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}" if unit != "B" and size < 10 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
