"""
How much one client may ask of the daemon.

Counts and buckets, pure: each is given the time as ``now``, in seconds of a clock that only
goes forward. ``Guard`` asks them, before anything of a request is worked on.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is allowed. Beyond it a request is refused with 413, 429 or 503, and never queued."""

    body_max: int = 10_000_000
    """Bytes of a request's body."""

    header_max: int = 64 * 1024
    """Bytes of a request's line and headers."""

    head_s: float = 10.0
    """Seconds in which the head of a request has to come."""

    connections_max: int = 200
    """Connections that are open at once."""

    streams_max: int = 20
    """Answers without an end (followed output, events) that one client has open at once."""

    submissions_per_s: float = 50.0
    submissions_burst: int = 500
    """Submissions that a client may make at once, after a pause."""

    failures_per_min: int = 10
    """Failed authentications in a minute; each further one is answered ``failure_wait_s`` later."""

    failure_wait_s: float = 1.0


class Bucket:
    """Holds up to *burst* tokens, filled at *per_s* tokens a second; full at first."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._level = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take one token.

        Returns:
            0 if there was one, else the seconds until there will be; then none was taken.
        """
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._level = min(self._burst, self._level + passed * self._per_s)
        if self._level >= 1.0:
            self._level -= 1.0
            return 0.0
        return (1.0 - self._level) / self._per_s


class Buckets:
    """A bucket for each client, by name."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._of: dict[str, Bucket] = {}

    def take(self, client: str, now: float) -> float:
        """See ``Bucket.take``."""
        bucket = self._of.setdefault(client, Bucket(self._per_s, self._burst))
        return bucket.take(now)


class Open:
    """How many streams each client has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Count one more, unless that would be too many."""
        if self._count[client] >= self._most:
            return False
        self._count[client] += 1
        return True

    def leave(self, client: str) -> None:
        self._count[client] -= 1
        if not self._count[client]:
            del self._count[client]
