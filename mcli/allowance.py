"""
How long, how many and how much: what may be kept of jobs that have ended.

An allowance is written as a value for all states, and values for some: ``7d,failed=30d``. A
state that is named has its own; all others share what stands first, or the default. Part of
the settings, which each routed call reads: nothing dear is imported.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from mcli import amount
from mcli.states import FINAL, State

NONE: Final = "none"
"""How no limit is written."""

AGE: Final = "7d"
JOBS: Final = NONE
BYTES: Final = "1GiB"


class Allowance(NamedTuple):
    """An amount for each final state; None is no limit."""

    text: str
    """As it was written."""

    rest: float | None
    """What the states that have none of their own may have together."""

    own: Mapping[State, float | None]

    def of(self, state: State) -> float | None:
        """What that state may have, alone or together with others."""
        return self.own.get(state, self.rest)

    def shared_by(self, state: State) -> frozenset[State]:
        """The states among which that one's amount is divided."""
        return frozenset({state}) if state in self.own else FINAL - set(self.own)

    def __str__(self) -> str:
        return self.text


def ages(text: str) -> Allowance:
    """Seconds since the end of a job: ``7d``, ``7d,failed=30d``, ``none``."""
    return _allowance(text, AGE, age_s)


def counts(text: str) -> Allowance:
    """Jobs: ``1000``, ``1000,failed=none``."""
    return _allowance(text, JOBS, _count)


def sizes(text: str) -> Allowance:
    """Bytes on the disk: ``1GiB``, ``1GiB,failed=200MB``."""
    return _allowance(text, BYTES, amount.size)


def age_s(text: str) -> float:
    """A length of time as seconds. The unit has to be there: 7 was to be days, more likely.

    Raises:
        ValueError: It is none; the message says what is.
    """
    return amount.duration(text if text[-1:].isalpha() else "")


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError("a whole number from 0")
    return int(text)


def _allowance(text: str, default: str, parse: Callable[[str], float]) -> Allowance:
    def one(word: str) -> float | None:
        return None if word.lower() == NONE else parse(word)

    rest, own = one(default), dict[State, float | None]()
    try:
        for at, part in enumerate(text.split(",")):
            name, equals, word = (each.strip() for each in part.partition("="))
            if not equals and at == 0:
                rest = one(name)
            elif not equals or (state := name.lower()) not in FINAL or state in own:
                one("")  # which is nothing, and says what would be
            else:
                own[State(state)] = one(word)
    except ValueError as wanted:
        states = ", ".join(sorted(FINAL))
        raise ValueError(
            f"{wanted}, or none; after a comma STATE=… for each of {states} that has its own"
        ) from None
    return Allowance(text.strip(), rest, own)
