"""
What a storm has done, read from the ledger, the clients' notes, the store and the logs.

The standard assertion: whatever was accepted was begun exactly once; no attempt was begun
twice, here and there together; states agree with the ledger; every byte printed is there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from mcli.errors import DaemonError, OutcomeUnknown

from .program import AGAIN_CODE, RETRIES

FINAL: Final = ("succeeded", "failed", "cancelled", "lost")
UNKNOWN: Final = str(OutcomeUnknown.exit_code)
"""With which a run ends whose caller is told that it cannot be known."""

REFUSED: Final = str(DaemonError.exit_code)
"""With which a program ends that there is no daemon to run."""

SOON_S: Final = 5.0
"""Seconds within which the end of a job is told, once it can be known."""

SLACK_S: Final = 2.0
"""Between the end of a process and the time that its attempt is said to have ended."""


DEAF_S: Final = 0.2
"""Of a daemon that dies or begins: in so many seconds it may no longer, or not yet, read."""


class Line(NamedTuple):
    """One line of the ledger."""

    kind: str
    tag: str
    job: str
    attempt: int
    pid: int
    time_s: float
    lines: int
    """That its process had printed by then, and the kernel had taken."""

    @classmethod
    def parse(cls, text: str) -> "Line":
        kind, tag, job, attempt, pid, time_s, lines = text.split()
        return cls(kind, tag, job, int(attempt), int(pid), float(time_s), int(lines))


@dataclass(frozen=True)
class Job:
    """What the store says of a job and its attempts, and what its log has."""

    document: dict[str, Any]
    attempts: Sequence[dict[str, Any]]
    missing: str | None = None
    """What its log does not have of what it has printed."""

    @property
    def tag(self) -> str:
        return str(self.document["argv"][-3])

    @property
    def command(self) -> str:
        return str(self.document["argv"][0])

    @property
    def writes_outcome(self) -> bool:
        """Whether it tells itself how it has ended: a program that is not ours does not."""
        return not self.command.endswith(".sh")

    @property
    def is_local(self) -> bool:
        """Its caller has run it."""
        return bool(self.document["route"] == "local")

    @property
    def state(self) -> str:
        found = self.document
        return str(found["state"]) + (f" ({found['reason']})" if found["reason"] else "")

    @property
    def span(self) -> tuple[float, float]:
        """From its acceptance to its end, in Unix seconds."""
        return _time(self.document["created_at"]) or 0.0, _ended(self.document)


@dataclass
class Verdict:
    """Everything that is wrong, by kind; and how much was looked at."""

    jobs: int = 0
    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By tag, from acceptance to end."""

    begun: list[tuple[float, float]] = field(default_factory=list)
    """Of each attempt that began in a job process: when it was claimed, and when its body began,
    in Unix seconds; sorted."""

    wrong: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By kind, what: each begins with the tag of a job, if it is about one."""

    @property
    def clean(self) -> bool:
        return not any(self.wrong.values())


class Deaths:
    """Who was killed when, as a number may be another process's later on; who was to end.

    Args:
        killed: By pid, when, in Unix seconds.
        gone: Names of the clients that were killed.
        asked: Ids of the jobs that were asked to end.
        down: From when to when, in Unix seconds, there was no daemon.
        calm_s: When the last fault was over and a daemon was there, in Unix seconds.
    """

    def __init__(
        self,
        killed: Mapping[int, Sequence[float]],
        gone: Set[str] = frozenset(),
        asked: Set[str] = frozenset(),
        down: Sequence[tuple[float, float]] = (),
        calm_s: float = float("inf"),
    ) -> None:
        self._killed = killed
        self._gone = gone
        self._asked = asked
        self._down = down
        self.calm_s = calm_s

    def hit(self, attempt: dict[str, Any]) -> bool:
        """The storm has killed the process of this attempt."""
        return bool(self._kills(attempt["pid"], attempt))

    def killed_s(self, attempt: dict[str, Any]) -> float | None:
        """When the storm has killed the process of this attempt, if it has."""
        return max(self._kills(attempt["pid"], attempt), default=None)

    def untold(self, job: Job, attempt: dict[str, Any]) -> bool:
        """It may be lost, since nobody was left who could tell how its process has ended."""
        silent = not job.writes_outcome or self.asked(job)
        orphaned = bool(self._kills(attempt["worker_pid"], attempt))
        return attempt["state"] == "lost" and silent and orphaned

    def unread(self, attempt: dict[str, Any]) -> bool:
        """Nobody may have read what it printed last: its worker had been killed, and it ended as
        there was no daemon to read on. A pipe that nobody has open any more is gone.
        """
        orphaned_s = min(self._kills(attempt["worker_pid"], attempt), default=None)
        kills_s = self._kills(attempt["pid"], attempt)
        if orphaned_s is None or (kills_s and orphaned_s > max(kills_s) + DEAF_S):
            return False
        ends = [(at, at) for at in kills_s] or [(orphaned_s, _ended(attempt))]
        return any(
            first - DEAF_S <= to and since <= last + DEAF_S
            for since, to in self._down
            for first, last in ends
        )

    def asked(self, job: Job) -> bool:
        """Somebody has asked for its end."""
        return job.document["id"] in self._asked

    def unheard(self, tag: str) -> bool:
        """Its caller may have had nobody left to print to, which the job is told, and ends of."""
        return tag.split(".")[0] in self._gone

    def _kills(self, pid: int | None, attempt: dict[str, Any]) -> list[float]:
        """When it was killed, in the time of this attempt."""
        first, last = _time(attempt["started_at"]) or 0.0, _ended(attempt)
        times = self._killed.get(pid, ()) if pid is not None else ()
        return [at for at in times if first - SLACK_S <= at <= last + SLACK_S]


def _time(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()


def _ended(document: dict[str, Any]) -> float:
    return _time(document["finished_at"]) or float("inf")


def judge(
    ledger: Iterable[Line], notes: Iterable[list[str]], jobs: Iterable[Job], deaths: Deaths
) -> Verdict:
    """The standard assertion.

    Args:
        ledger: What the jobs' bodies wrote.
        notes: What the clients wrote.
        jobs: Every job, after the storm.
        deaths: Of whom the storm is guilty itself.
    """
    lines = list(ledger)
    pids = {(line.tag, line.attempt): line.pid for line in lines}
    begun = Counter((line.tag, line.attempt) for line in lines if line.kind == "S")
    ended = Counter((line.tag, line.attempt) for line in lines if line.kind == "E")
    starts_s = {(line.job, line.attempt): line.time_s for line in lines if line.kind == "S"}
    ends_s = {line.job: line.time_s for line in lines if line.kind == "E"}
    found, by_tag = Verdict(), defaultdict(list)
    for job in (_with_pids(job, pids) for job in jobs):
        found.jobs += 1
        found.states[job.state] += 1
        found.spans[job.tag] = job.span
        found.begun += _begun(job, starts_s)
        by_tag[job.tag].append(job)
        late = (*_late(job, starts_s), *_slow(job, ends_s, deaths))
        for kind in (*_misjudged(job, begun, ended, deaths), *late):
            found.wrong[kind].append(f"{job.tag} {job.document['id']} {job.state}")
        if job.missing is not None:
            found.wrong["bytes missing"].append(f"{job.tag} {job.missing}")
    found.begun.sort()
    found.wrong["run twice"] += _twice(begun, by_tag)
    starts = Counter(tag for tag, _ in begun)
    done = {tag for tag, _ in ended}
    hit = {tag for tag, each in by_tag.items() if any(_is_hit(job, deaths) for job in each)}
    well = {
        tag for tag, each in by_tag.items() for job in each if job.document["state"] == "succeeded"
    }
    for kind, tag in _untrue(notes, starts, done, hit, well, found):
        found.wrong[kind].append(f"{tag} {[job.state for job in by_tag[tag]]}")
    return found


def _with_pids(job: Job, pids: Mapping[tuple[str, int], int]) -> Job:
    """Where the daemon did not live to note a process, the ledger knows it."""
    attempts = [
        attempt | {"pid": attempt["pid"] or pids.get((job.tag, attempt["attempt"]))}
        for attempt in job.attempts
    ]
    return replace(job, attempts=attempts)


def _begun(job: Job, starts_s: Mapping[tuple[str, int], float]) -> Iterator[tuple[float, float]]:
    for attempt in job.attempts:
        start_s = starts_s.get((job.document["id"], attempt["attempt"]))
        if start_s is not None:
            yield _time(attempt["started_at"]) or 0.0, start_s


def _twice(begun: Counter[tuple[str, int]], jobs: Mapping[str, list[Job]]) -> Iterator[str]:
    """An attempt that began twice, or a job that began more often than its command says."""
    counts: defaultdict[str, list[int]] = defaultdict(list)
    for (tag, _), count in begun.items():
        counts[tag].append(count)
    for tag, each in counts.items():
        again = any(job.command == "again" for job in jobs.get(tag, ()))
        if max(each) > 1 or sum(each) > (1 + RETRIES if again else 1):
            yield f"{tag} {sum(each)} times"


def _is_hit(job: Job, deaths: Deaths) -> bool:
    """Somebody has ended it, or it says itself what of its output could not be kept."""
    declared = job.document["state"] == "succeeded" and job.document["error"] is not None
    ended = any(deaths.hit(each) or deaths.untold(job, each) for each in job.attempts)
    return declared or ended or deaths.asked(job)


def _misjudged(
    job: Job, begun: Counter[tuple[str, int]], ended: Counter[tuple[str, int]], deaths: Deaths
) -> Iterator[str]:
    """What is said of it, and did not happen."""
    if job.document["state"] not in FINAL:
        yield "stuck"
    if job.document["state"] == "cancelled" and not (deaths.asked(job) or job.is_local):
        yield "cancelled, and nobody has asked"
    for attempt in job.attempts:
        this = job.tag, 0 if job.is_local else attempt["attempt"]
        state = attempt["state"]
        failed_by_itself = job.command == "again" and attempt["exit_code"] == AGAIN_CODE
        if state == "succeeded" and not ended[this]:
            yield "shown as done and is not"
        dead = state in ("failed", "lost") and attempt["reason"] != "not_reached"
        unheard = job.document["source"] == "cli" and deaths.unheard(job.tag)
        hit = deaths.hit(attempt) or deaths.untold(job, attempt)
        excused = failed_by_itself or unheard or hit
        if dead and begun[this] and not excused:
            yield "shown as dead, and nobody killed it"
        if state == "lost" and not hit:
            yield "lost, and nobody killed it"
    ended_badly = job.document["state"] in ("failed", "lost") and job.command == "again"
    excused = deaths.asked(job) or job.document["reason"] == "not_reached"
    if ended_badly and len(job.attempts) <= RETRIES and not excused:
        yield "given up too early"


def _late(job: Job, starts_s: Mapping[tuple[str, int], float]) -> Iterator[str]:
    """What began though its end had been told."""
    begun_s = [starts_s.get((job.document["id"], each["attempt"]), 0.0) for each in job.attempts]
    if max(begun_s, default=0.0) > job.span[1]:
        yield "begun after its end"


def _slow(job: Job, ends_s: Mapping[str, float], deaths: Deaths) -> Iterator[str]:
    """What could be known for long before it was told, with a daemon there and no fault."""
    done_s = ends_s.get(job.document["id"])
    if done_s is None and job.attempts:
        done_s = deaths.killed_s(job.attempts[-1])
    if done_s is not None and job.span[1] - max(done_s, deaths.calm_s) > SOON_S:
        yield "told late"


def _untrue(
    notes: Iterable[list[str]],
    starts: Counter[str],
    done: set[str],
    hit: set[str],
    well: set[str],
    found: Verdict,
) -> Iterator[tuple[str, str]]:
    """What a client was told, and did not happen."""
    for kind, tag, *rest in notes:
        if kind == "A":
            found.accepted += 1
            if not starts[tag] and tag not in hit:
                yield "accepted and lost", tag
        elif kind == "N" and starts[tag]:
            yield "refused, and run", tag
        elif kind == "X" and rest[0] == "0":
            if tag not in done or (rest[1] == "0" and tag not in hit):
                yield "a run that ended well, and did not", tag
        elif kind == "X":
            told = rest[0] == UNKNOWN or (rest[0] == REFUSED and not starts[tag])
            if not told and (tag in well or tag not in hit):
                yield "a run that ended badly, and did not", tag
