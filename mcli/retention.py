"""
Which of the jobs that have ended are to go: a decision, made of what was seen of each.

Pure: the daemon shows it all of them, one by one (``Survey.add``), and removes what it names
(``Survey.going``). However many there are, only those that ended first are remembered.

Nothing goes within a minute of its end, for somebody may be about to ask for it; nothing that
is ``held``; and for the sake of bytes not the newest, however large it is.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from mcli.allowance import Allowance
from mcli.states import FINAL, State

RECENT_S: Final = 60.0
"""Seconds after its end in which a job is kept whatever is set."""

REMEMBERED: Final = 10_000
"""Of each state, how many of those that ended first are candidates at a time."""


class Ended(NamedTuple):
    """A job that has ended, as far as it matters here."""

    finished_at: float
    id: str
    state: State
    bytes: int = 0
    """That its files take on the disk."""

    held: bool = False
    """Somebody still has a right to it: it counts, and does not go."""


class Allowances(NamedTuple):
    """What may be kept."""

    age_s: Allowance
    jobs: Allowance
    bytes: Allowance


class Survey:
    """All jobs that have ended, seen at *now*."""

    def __init__(self, allowed: Allowances, now: float, *, remembered: int = REMEMBERED) -> None:
        self._allowed = allowed
        self._now = now
        self._remembered = remembered
        self._jobs = Counter[State]()
        self._bytes = Counter[State]()
        self._first: dict[State, list[tuple[float, Ended]]] = {state: [] for state in FINAL}
        """Heaps, the one that ended last on top; with its time negated."""

        self._newest: dict[State, Ended] = {}
        self._recent: float | None = None
        """The first end of those that are too recent to go."""

        self._overflow: set[State] = set()
        """States of which there are more candidates than are remembered."""

    def add(self, each: Ended) -> None:
        """Take *each* into account."""
        self._jobs[each.state] += 1
        self._bytes[each.state] += each.bytes
        self._newest[each.state] = max(each, self._newest.get(each.state, each))
        if each.held:
            return
        if each.finished_at > self._now - RECENT_S:
            self._recent = min(each.finished_at, self._recent or each.finished_at)
            return
        heap = self._first[each.state]
        if len(heap) < self._remembered:
            heapq.heappush(heap, (-each.finished_at, each))
        else:
            heapq.heappushpop(heap, (-each.finished_at, each))
            self._overflow.add(each.state)

    @property
    def jobs(self) -> int:
        """How many were seen."""
        return self._jobs.total()

    @property
    def bytes(self) -> int:
        """What their files take."""
        return self._bytes.total()

    def going(self) -> list[Ended]:
        """Those that are to go, the first that ended first. Perhaps not all: see ``more``."""
        going = {each.id: each for each in self._too_old()}
        for shared in {self._allowed.jobs.shared_by(state) for state in FINAL}:
            going |= {each.id: each for each in self._too_many(shared, list(going.values()))}
        for shared in {self._allowed.bytes.shared_by(state) for state in FINAL}:
            going |= {each.id: each for each in self._too_much(shared, list(going.values()))}
        return sorted(going.values())

    def more(self, going: Collection[Ended]) -> bool:
        """Whether others may have to go once *going* are gone."""
        taken = Counter(each.state for each in going)
        return any(taken[state] >= self._remembered for state in self._overflow)

    def next_at(self, going: Collection[Ended]) -> float | None:
        """When one of those that stay may have to go; None: never, if nothing happens."""
        gone = {each.id for each in going}
        ends = [] if self._recent is None else [self._recent + RECENT_S]
        for state in FINAL:
            age_s = self._allowed.age_s.of(state)
            stay = [each for each in self._candidates({state}) if each.id not in gone]
            if age_s is not None and stay:
                ends.append(stay[0].finished_at + age_s)
        return min(ends, default=None)

    def _candidates(self, states: Collection[State]) -> list[Ended]:
        return sorted(each for state in states for _, each in self._first[state])

    def _too_old(self) -> Iterator[Ended]:
        for state in FINAL:
            age_s = self._allowed.age_s.of(state)
            if age_s is not None:
                limit = self._now - age_s
                yield from (e for e in self._candidates({state}) if e.finished_at <= limit)

    def _too_many(self, states: Collection[State], going: Collection[Ended]) -> Iterator[Ended]:
        allowed = self._allowed.jobs.of(next(iter(states)))
        if allowed is None:
            return
        gone = {each.id for each in going}
        over = sum(self._jobs[state] for state in states) - allowed
        over -= sum(each.state in states for each in going)
        for each in self._candidates(states):
            if over <= 0:
                return
            if each.id not in gone:
                over -= 1
                yield each

    def _too_much(self, states: Collection[State], going: Collection[Ended]) -> Iterator[Ended]:
        allowed = self._allowed.bytes.of(next(iter(states)))
        if allowed is None:
            return
        gone = {each.id for each in going}
        newest = max((self._newest[s] for s in states if s in self._newest), default=None)
        over = sum(self._bytes[state] for state in states) - allowed
        over -= sum(each.bytes for each in going if each.state in states)
        for each in self._candidates(states):
            if over <= 0:
                return
            if each.id not in gone and each.bytes and each != newest:
                over -= each.bytes
                yield each
