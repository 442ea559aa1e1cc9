"""
Everything mcli raises on purpose.

    MCLIError                       exit  meaning
    ├── RequestError                  2   the caller can fix the call
    │   ├── BadSetting                2   a setting is not what it should be
    │   ├── UnknownJob                2   no job has that id or prefix
    │   ├── AmbiguousJob              2   several jobs have that prefix
    │   ├── UnknownCommand            2   no app has that command
    │   ├── BadParameters             2   values that the command does not take
    │   ├── Conflict                  2   that id belongs to another job
    │   ├── KeyReused                 2   that idempotency key belongs to another request
    │   ├── Unfinished                2   the job has not ended yet
    │   ├── UnknownApp                2   no app has that name
    │   ├── BadApp                    2   it cannot be added: it does not load, or clashes
    │   ├── Incomplete                2   a request's body ends before it is whole
    │   ├── WrongMedia                2   a request's body is of a type that is not read here
    │   └── InvalidTransition         2   the job is past the point where this can be done
    ├── DaemonError                 125   the daemon cannot be reached or trusted
    │   ├── DaemonNotRunning        125   nothing listens there
    │   │   └── DaemonDied          125   and nobody has stopped it
    │   ├── ProtocolMismatch        125   it speaks another version
    │   ├── Refused                 125   it answered no, and did not take the job
    │   │   ├── QueueFull           125   too many wait already
    │   │   └── NoRoom              125   the disk is full
    │   ├── NotReady                125   it lives, and a job cannot pass through it
    │   └── UnsafeHome              125   the state directory can be written by others
    ├── StoreError                  125   the database cannot be used
    │   ├── StoreFull               125   the disk has no room for it
    │   ├── StoreDoubtful           125   whether it has been written cannot be known
    │   ├── StoreTooNew             125   written by a newer mcli
    │   ├── StoreUnreadable         125   not a database, or a damaged one
    │   └── StoreGone               125   its file was removed or replaced
    ├── AppBroken                   125   the app cannot be loaded as it is now
    ├── JobFailed                   125   the result of a job that has none to give
    ├── NotExecutable               126   the program to run cannot be executed
    ├── NotFound                    127   there is no such program
    └── OutcomeUnknown               75   it may or may not have been accepted; not run here

``JobTimeout`` stands apart: it is raised in a command's body, by the clock.

``code`` crosses the wire, ``exit_code`` leaves the process. A message says what is
wrong and what would be right, in one line.
"""

from collections.abc import Sequence
from typing import ClassVar


class MCLIError(Exception):
    """The root of the tree above."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 125


class RequestError(MCLIError):
    """The caller can fix the call."""

    code = "request"
    exit_code = 2


class BadSetting(RequestError):
    """A setting's value is wrong: the message names it, the value and what would be right."""

    code = "bad_setting"


class UnknownJob(RequestError):
    """No job has that id or prefix."""

    code = "unknown_job"


class AmbiguousJob(RequestError):
    """Several jobs have that prefix."""

    code = "ambiguous_job"


class UnknownCommand(RequestError):
    """No app of that name, or it has no such command."""

    code = "unknown_command"


class BadParameters(RequestError):
    """Values that the command does not take."""

    code = "bad_parameters"

    def __init__(self, errors: Sequence[dict[str, str]] | str = ()) -> None:
        """What is wrong with each parameter; or, at the other end, all of it in a line."""
        known = [] if isinstance(errors, str) else list(errors)
        told = "; ".join(each["message"].removesuffix(".") for each in known)
        super().__init__(errors if isinstance(errors, str) else told)
        self.errors = known
        """``parameter`` and ``message``, one for each parameter that is wrong."""


class Conflict(RequestError):
    """A job of that id exists already, and is another one or is run by its caller."""

    code = "conflict"


class KeyReused(RequestError):
    """The idempotency key was used for another request within a day."""

    code = "idempotency_key_reused"


class Unfinished(RequestError):
    """The job has not ended yet, so that it has no result."""

    code = "unfinished"


class InvalidTransition(RequestError):
    """The job is in a state from which this cannot be done."""

    code = "invalid_transition"


class UnknownApp(RequestError):
    """No app has that name."""

    code = "unknown_app"


class BadApp(RequestError):
    """An app cannot be added: it does not load, or its endpoints clash with others."""

    code = "bad_app"


class Incomplete(RequestError):
    """A request's body ends before it is whole."""

    code = "incomplete"


class WrongMedia(RequestError):
    """A request's body is of a media type that is not read there."""

    code = "wrong_media"


class DaemonError(MCLIError):
    """The daemon cannot be reached or trusted."""

    code = "daemon"


class DaemonNotRunning(DaemonError):
    """Nothing listens at the daemon's socket: nothing was sent."""

    code = "daemon_not_running"

    def __init__(
        self, message: str = "the daemon is not running; start it with: mcli daemon start"
    ) -> None:
        super().__init__(message)


class DaemonDied(DaemonNotRunning):
    """Nothing listens there any more, though nobody has stopped the daemon: nothing was sent."""

    code = "daemon_died"

    def __init__(
        self, message: str = "the daemon has died; start it with: mcli daemon start"
    ) -> None:
        super().__init__(message)


class ProtocolMismatch(DaemonError):
    """The other end speaks another version of the protocol."""

    code = "protocol_mismatch"


class Refused(DaemonError):
    """The daemon answered, and did not take the job."""

    code = "refused"


class QueueFull(Refused):
    """As many jobs wait as may; nothing was taken."""

    code = "queue_full"


class NoRoom(Refused):
    """The disk with the state directory is full; nothing was taken."""

    code = "no_room"


class NotReady(DaemonError):
    """The daemon lives, but a small job that it gave itself did not come through."""

    code = "not_ready"


class UnsafeHome(DaemonError):
    """The state directory belongs to somebody else, or others may write to it."""

    code = "unsafe_home"


class StoreError(MCLIError):
    """The database cannot be used."""

    code = "store"


class StoreFull(StoreError):
    """The disk has no room; nothing was written."""

    code = "store_full"


class StoreDoubtful(StoreError):
    """The disk failed while a transaction was committed: it may come to light later, or not."""

    code = "store_doubtful"


class StoreTooNew(StoreError):
    """The database was written by a newer mcli."""

    code = "store_too_new"


class StoreUnreadable(StoreError):
    """The database is damaged, or is none."""

    code = "store_unreadable"


class StoreGone(StoreError):
    """The database's file was removed or replaced while it was in use."""

    code = "store_gone"


class AppBroken(MCLIError):
    """The app cannot be loaded as it is now, or its endpoints clash with others."""

    code = "app_broken"

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback
        """All that is known of it; empty if the message says all."""


class JobFailed(MCLIError):
    """The result was asked of a job that has none: it did not succeed, or it was not kept."""

    code = "job_failed"


class NotExecutable(MCLIError):
    """The program to run is there, and cannot be executed."""

    code = "not_executable"
    exit_code = 126


class NotFound(MCLIError):
    """There is no such program."""

    code = "not_found"
    exit_code = 127


class OutcomeUnknown(MCLIError):
    """The job may or may not have been accepted; it was not run here."""

    code = "outcome_unknown"
    exit_code = 75


class JobTimeout(BaseException):
    """The job has run as long as it may, and has the time of ``MCLI_GRACE`` to end well.

    Raised in the body, wherever it is. Like ``KeyboardInterrupt`` no ``Exception``, so that
    nothing that was meant for errors of the command catches it.
    """
