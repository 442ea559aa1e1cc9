"""
What is known about a job, as a value: the same fields for the daemon, the verbs and the API.
"""

import time
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from mcli.invocation import Source
from mcli.states import FINAL, Condition, Reason, State

Route = Literal["daemon", "local"]
"""Who runs it: the daemon, or (decided by the arbiter) the process that called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """A job as it was at one moment. Times are Unix seconds; what is not (yet) known is None.

    ``argv`` may hold secrets, so that ``repr`` leaves it out. Text that came from the system
    (``argv``, ``cwd``) is as ``os.fsdecode`` makes it: any bytes survive.
    """

    id: str
    name: str
    state: State
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    priority: int = 0
    """Higher is begun first."""
    attempt: int = 0
    """Number of the newest attempt, from 1; 0 before the first. It names one execution and is
    never used twice, so that attempts which never began (``revoked``) leave gaps."""
    argv: list[str] = field(repr=False)
    cwd: str
    created_at: float
    queued_at: float | None = None
    """When it entered the queue for the newest attempt."""
    started_at: float | None = None
    """When the newest attempt was given to a worker."""
    stopping_at: float | None = None
    finished_at: float | None = None
    result: Any = field(default=None, repr=False)
    has_result: bool = False
    """Tells a result that is None from no result."""
    error: str | None = field(default=None, repr=False)
    worker_pid: int | None = None
    pid: int | None = None
    app: str
    """The program, in a few words."""
    command: str | None = None
    """Path of the command in the program, e.g. ``db load``; None for a program without commands."""
    timeout_s: float | None = None
    """Seconds that an attempt may run; None: as long as it likes."""
    route: Route = "daemon"
    source: Source = "cli"
    on_finish: str | None = field(default=None, repr=False)
    cancel_requested: bool = False
    due_at: float | None = None
    """When a job that is ``scheduled`` may be queued."""
    max_attempts: int = 1
    """How often it may begin: 1 and its retries."""
    condition: Condition | None = None
    """As the kernel tells now; not in the store. None also where nobody has looked."""
    revoked: int = 0
    """How many of the attempts never began: ``attempt - revoked`` is what a limit counts."""

    @property
    def tried(self) -> int:
        """Attempts that have begun, the newest included."""
        return self.attempt - self.revoked

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def run_s(self) -> float | None:
        """Seconds the newest attempt took; None when it has not ended or never began."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - self.started_at)

    def document(self) -> dict[str, Any]:
        """The job as JSON shows it: always the same keys in the same order, always encodable."""
        return {key: _shown(key, getattr(self, key)) for key in KEYS}


KEYS: Final = (
    "id",
    "name",
    "state",
    "reason",
    "exit_code",
    "signal",
    "attempt",
    "argv",
    "cwd",
    "created_at",
    "started_at",
    "finished_at",
    "run_s",
    "result",
    "error",
    "worker_pid",
    "pid",
    "app",
    "command",
    "timeout_s",
    "queued_at",
    "route",
    "source",
    "max_attempts",
    "due_at",
    "condition",
)
"""What a document shows, in its order; a time ends with ``_at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptInfo:
    """One attempt of a job. Those that are not the newest have ended, and not well."""

    attempt: int
    state: State
    reason: Reason | None
    exit_code: int | None
    signal: int | None
    started_at: float
    finished_at: float | None
    error: str | None = field(default=None, repr=False)
    worker_pid: int | None
    pid: int | None
    output_start: int
    """Where in the record log its output begins."""
    output_end: int | None
    """And where it ends; None for the newest: at the end of the log."""

    def document(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {each.name: _shown(each.name, getattr(self, each.name)) for each in fields(self)}


def _shown(key: str, value: Any) -> Any:
    if key.endswith("_at"):
        return timestamp(value)
    if key == "run_s":
        return None if value is None else round(value, 3)
    return value.value if isinstance(value, (State, Reason)) else encodable(value)


def timestamp(seconds: float | None) -> str | None:
    """Unix seconds as RFC 3339 in UTC, to the millisecond: ``2025-01-31T08:30:00.250Z``."""
    if seconds is None:
        return None
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"


def encodable(value: Any) -> Any:
    """*value* with what UTF-8 cannot carry (lone surrogates) spelled out as ``\\udcff``."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return value
