"""
The life of a job: its states, why it ended, and every move from one state to another.

A vocabulary with no dependencies. ``MOVES`` is the one table of the state machine: the
queue refuses what is not in it, the schema is tested against it, the docs are drawn from it.
"""

from enum import StrEnum
from typing import Final, Literal, NamedTuple


class State(StrEnum):
    """Where a job is in its life. Each value is what the store and the JSON documents say."""

    SCHEDULED = "scheduled"
    """Has a time (``due_at``) before which it will not run; a retry that waits is this.
    The daemon's clock moves it on to ``queued``; cancelling ends it at once."""

    QUEUED = "queued"
    """Accepted and durable, waiting for room. The dispatcher claims it; cancelling ends it at
    once."""

    RUNNING = "running"
    """An attempt was claimed for a worker, and its process is about to live, lives, or has just
    ended. Its outcome moves it on; recovery does where the outcome has to be found out."""

    STOPPING = "stopping"
    """Asked to end, and its process still lives as far as is known. The end of that process
    moves it on, whatever it chose to do with the request."""

    SUCCEEDED = "succeeded"
    """Ended with exit code 0, having reached its end. Final."""

    FAILED = "failed"
    """Ended, and not well: ``reason`` says how. Final."""

    CANCELLED = "cancelled"
    """Ended because somebody asked for it, before or after it began. Final."""

    LOST = "lost"
    """Its process vanished and how it ended cannot be known. Never shown as success and never
    run again unless the command says that it may be. Final."""


LIVE: Final = frozenset({State.SCHEDULED, State.QUEUED, State.RUNNING, State.STOPPING})
"""States that something will still move on."""

FINAL: Final = frozenset(State) - LIVE
"""States that nothing ever changes."""


Condition = Literal["stopped", "unkillable"]
"""Why the process of a job that has not ended does nothing: a signal or a debugger has stopped
it; or it was sent SIGKILL, and the kernel does not come to end it (it waits for a disk, say)."""


class Reason(StrEnum):
    """Why a job failed, was cancelled or was lost. A closed list; success needs no reason."""

    EXIT_NONZERO = "exit_nonzero"
    """It ended by itself with an exit code other than 0."""

    EXCEPTION = "exception"
    """An exception left the command."""

    SIGNAL = "signal"
    """A signal that mcli did not send killed it."""

    TIMEOUT = "timeout"
    """It ran longer than it may."""

    MEMORY = "memory"
    """It needed more memory than it may, or than there was."""

    SPAWN_ERROR = "spawn_error"
    """Its process could not be started, or its program could not be loaded."""

    NOT_REACHED = "not_reached"
    """The program was replayed, and ended without reaching the command's body."""

    NO_OUTCOME = "no_outcome"
    """Its process ended with 0 without reaching its end, as ``os._exit(0)`` does."""

    INPUT_LOST = "input_lost"
    """Its standard input was lost with a restarted daemon before it began."""

    USER = "user"
    """Somebody asked for its end."""

    CLIENT_GONE = "client_gone"
    """The process that it belonged to has gone."""

    WORKER_LOST = "worker_lost"
    """Its worker vanished, and nothing tells how it ended."""

    REBOOT = "reboot"
    """The machine was started anew while it ran."""

    SHUTDOWN = "shutdown"
    """The daemon was stopped together with its jobs."""


class Event(StrEnum):
    """What can happen to a job. Each is a row of ``MOVES``."""

    CLAIM = "claim"
    REVOKE = "revoke"
    DISCARD = "discard"
    SUCCEED = "succeed"
    FAIL = "fail"
    STOP = "stop"
    CANCEL = "cancel"
    ENDED = "ended"
    LOSE = "lose"
    RETRY = "retry"
    DUE = "due"


class Move(NamedTuple):
    """From any of ``sources`` to ``target``, when ``meaning`` is the case."""

    sources: tuple[State, ...]
    target: State
    meaning: str


_WAITING: Final = (State.SCHEDULED, State.QUEUED)
_STARTED: Final = (State.RUNNING, State.STOPPING)

MOVES: Final[dict[Event, Move]] = {
    Event.DUE: Move((State.SCHEDULED,), State.QUEUED, "its time has come"),
    Event.CLAIM: Move((State.QUEUED,), State.RUNNING, "a worker has room; a new attempt"),
    Event.REVOKE: Move(
        (State.RUNNING,), State.QUEUED, "it never began (its ticket was free); not counted"
    ),
    Event.DISCARD: Move((State.QUEUED,), State.FAILED, "what it needs to begin is gone"),
    Event.SUCCEED: Move(_STARTED, State.SUCCEEDED, "exit code 0, its end was reached"),
    Event.FAIL: Move(_STARTED, State.FAILED, "it ended, and not well"),
    Event.RETRY: Move((State.RUNNING,), State.SCHEDULED, "it failed, and attempts are left"),
    Event.STOP: Move((State.RUNNING,), State.STOPPING, "asked to end, and its process lives"),
    Event.CANCEL: Move(_WAITING, State.CANCELLED, "asked to end before it began: at once"),
    Event.ENDED: Move(
        # From running too: a quick one has ended before the request to stop was committed.
        _STARTED,
        State.CANCELLED,
        "asked to end, and its process is gone",
    ),
    Event.LOSE: Move(_STARTED, State.LOST, "its process vanished, and nothing tells how it ended"),
}
