"""The header ``Prefer`` (RFC 7240): how long the caller would wait for a job's end."""

from collections.abc import Sequence
from typing import Final, NamedTuple

WAIT_MAX_S: Final = 60.0
"""Seconds that one request may wait; whoever wants to wait longer asks again."""


class Preference(NamedTuple):
    """What is done of what was preferred."""

    wait_s: float = 0.0
    applied: str | None = None
    """For the header ``Preference-Applied``."""


def preference(headers: Sequence[str]) -> Preference:
    """The first preference that is understood; none if there is none. Unknown ones are ignored."""
    for told in ",".join(headers).split(","):
        name, _, value = told.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            return Preference(applied=name)
        if name == "wait" and value.isascii() and value.isdecimal():
            wait_s = min(WAIT_MAX_S, float(value[:9]))
            return Preference(wait_s, f"wait={wait_s:.0f}")
    return Preference()
