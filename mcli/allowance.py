"""
How long, how many and how much: what may be kept of jobs that have ended.

An allowance is written as a value for all states, and values for some: ``7d,failed=30d``. A
state that is named has its own; all others share what stands first, or the default. Part of
the settings, which each routed call reads: nothing dear is imported.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from mcli import quantity
from mcli.states import FINAL, State

AGE: Final = "7d"
JOBS: Final = quantity.NONE
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
    return _allowance(text, AGE, quantity.duration_s, f"{quantity.DURATION}, or none")


def counts(text: str) -> Allowance:
    """Jobs: ``1000``, ``1000,failed=none``."""
    return _allowance(text, JOBS, quantity.count, f"{quantity.COUNT}, or none")


def sizes(text: str) -> Allowance:
    """Bytes on the disk: ``1GiB``, ``1GiB,failed=200MB``."""
    return _allowance(text, BYTES, quantity.size_bytes, f"{quantity.SIZE}, or none")


def _allowance(text: str, default: str, parse: Callable[[str], float], wanted: str) -> Allowance:
    states = ", ".join(sorted(FINAL))
    named = f"{wanted}; after a comma STATE=… for each of {states} that has its own"

    def amount(word: str) -> float | None:
        try:
            return None if word.strip().lower() == quantity.NONE else parse(word)
        except ValueError:
            raise ValueError(named) from None

    rest, own = amount(default), dict[State, float | None]()
    for at, part in enumerate(text.split(",")):
        name, equals, word = part.partition("=")
        if not equals and at == 0:
            rest = amount(part)
        elif not equals or (state := name.strip().lower()) not in FINAL or state in own:
            raise ValueError(named)
        else:
            own[State(state)] = amount(word)
    return Allowance(text.strip(), rest, own)
