"""
Amounts as people write them: bytes (``500MB``, ``2GiB``) and seconds (``90s``, ``12h``, ``7d``).
"""

import math
import re
from typing import Final

TIME_MAX_S: Final = 100 * 365 * 86400.0
"""The longest time that can be meant, in seconds; dates before and after it can be told, too."""

_AMOUNT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
_PREFIXES: Final = "kmgt"
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def size(text: str) -> int:
    """Bytes: a number with or without a unit, 1000 to the step for kB, MB, …, 1024 for KiB, K, ….

    Raises:
        ValueError: It is none; the message says what is.
    """
    number, unit = _split(text, wanted := "a number of bytes, such as 500MB or 2GiB")
    prefix, rest = unit[:1], unit[1:]
    if unit in ("", "b"):
        factor = 1
    elif prefix in _PREFIXES and rest in ("", "b", "ib"):
        factor = (1000 if rest == "b" else 1024) ** (_PREFIXES.index(prefix) + 1)
    else:
        raise ValueError(wanted)
    return math.ceil(number * factor)


def duration(text: str) -> float:
    """Seconds: a number with or without one of the units s, m (or min), h, d, w.

    Raises:
        ValueError: It is none; the message says what is.
    """
    number, unit = _split(text, wanted := "a time, such as 90s, 12h or 7d")
    if unit not in _SECONDS or number * _SECONDS[unit] > TIME_MAX_S:
        raise ValueError(wanted)
    return number * _SECONDS[unit]


def _split(text: str, wanted: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(text)
    number = float(found[1]) if found is not None else math.inf
    if found is None or math.isinf(number):
        raise ValueError(wanted)
    return number, found[2].lower()
