"""
What a storm has done, read from the ledger, the clients' notes, the store and the logs.

The standard assertion: whatever was accepted was begun exactly once; nothing was begun twice,
here and there together; states agree with the ledger; every byte printed is there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One line of the ledger."""

    kind: str
    tag: str
    job: str
    attempt: int
    pid: int
    time_s: float

    @classmethod
    def parse(cls, text: str) -> "Line":
        kind, tag, job, attempt, pid, time_s = text.split()
        return cls(kind, tag, job, int(attempt), int(pid), float(time_s))


@dataclass
class Verdict:
    """Everything that is wrong, by kind; and how much was looked at."""

    jobs: int = 0
    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    wrong: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def clean(self) -> bool:
        return not self.wrong


def judge(
    ledger: Iterable[Line],
    notes: Iterable[list[str]],
    jobs: Iterable[dict[str, Any]],
    missing: Iterable[tuple[str, str]],
    killed: set[int],
    gone: set[str],
) -> Verdict:
    """The standard assertion.

    Args:
        ledger: What the jobs' bodies wrote.
        notes: What the clients wrote.
        jobs: Every job's document, after the storm.
        missing: (tag, what) of succeeded jobs whose log is not what was printed.
        killed: Processes that the storm has killed itself.
        gone: Clients that it has killed: what they ran has nobody to print to.
    """
    lines = list(ledger)
    begun = Counter(line.tag for line in lines if line.kind == "S")
    ended = Counter(line.tag for line in lines if line.kind == "E")
    found = Verdict()
    by_tag: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        found.jobs += 1
        found.states[_state(job)] += 1
        by_tag[_tag(job)].append(job)
        for kind in _misjudged(job, begun, ended, killed, gone):
            found.wrong[kind].append(f"{_tag(job)} {job['id']} {_state(job)}")
    hit = {_tag(job) for each in by_tag.values() for job in each if _is_hit(job, killed)}
    found.wrong |= {"twice": [tag for tag, count in begun.items() if count > 1]}
    for kind, tag in _untrue(notes, begun, ended, hit, found):
        found.wrong[kind].append(f"{tag} {[_state(job) for job in by_tag[tag]]}")
    found.wrong["missing bytes"] += [f"{tag}: {what}" for tag, what in missing]
    found.wrong = defaultdict(list, {kind: each for kind, each in found.wrong.items() if each})
    return found


def _tag(job: dict[str, Any]) -> str:
    return str(job["argv"][-3])


def _state(job: dict[str, Any]) -> str:
    return str(job["state"]) + (f" ({job['reason']})" if job["reason"] else "")


def _is_hit(job: dict[str, Any], killed: set[int]) -> bool:
    """Its process was killed, or it says itself what of its output could not be kept."""
    return job["pid"] in killed or (job["state"] == "succeeded" and job["error"] is not None)


def _misjudged(
    job: dict[str, Any],
    begun: Counter[str],
    ended: Counter[str],
    killed: set[int],
    gone: set[str],
) -> Iterator[str]:
    tag, state = _tag(job), job["state"]
    if state not in ("succeeded", "failed", "cancelled", "lost"):
        yield "stuck"
    if state == "succeeded" and not ended[tag]:
        yield "shown as done and is not"
    shown_dead = state in ("failed", "lost") and job["reason"] != "not_reached"
    # A job with nobody left to read what it prints is told so by the kernel, and may end of it.
    unheard = job["worker_pid"] in killed or job["worker_pid"] == 1 or tag.split(".")[0] in gone
    if shown_dead and job["pid"] not in killed and not unheard and (ended[tag] or begun[tag]):
        yield "shown as dead, and nobody killed it"
    honest = job["pid"] in killed or job["reason"] == "client_gone"
    if state == "lost" and not honest:
        yield "lost, and nobody killed it"


def _untrue(
    notes: Iterable[list[str]],
    begun: Counter[str],
    ended: Counter[str],
    hit: set[str],
    found: Verdict,
) -> Iterator[tuple[str, str]]:
    """What a client was told, and did not happen."""
    for kind, tag, *rest in notes:
        if kind == "A":
            found.accepted += 1
            if not begun[tag] and tag not in hit:
                yield "lost", tag
        elif kind == "N" and begun[tag]:
            yield "refused, and run", tag
        elif kind == "X" and rest[0] == "0" and not (ended[tag] and (rest[1] == "1" or tag in hit)):
            yield "a run that ended well, and did not", tag
