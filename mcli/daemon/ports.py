"""What the HTTP API needs of the daemon: the verbs that people have, and nothing of how."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

from mcli.daemon.readers import Readers
from mcli.errors import UnknownCommand
from mcli.home import Home
from mcli.invocation import Invocation
from mcli.job import AttemptInfo, JobInfo
from mcli.queue import Accepted
from mcli.states import State


class Figures(NamedTuple):
    """What is counted."""

    jobs: Mapping[State, int]
    workers: int
    commits: int
    """Transactions of the store since the daemon was started."""

    wal_bytes: int
    """Length of the store's write-ahead log."""

    log_bytes: int
    """Bytes that jobs have printed meanwhile, with what tells their time and stream."""


class Dispatcher(Protocol):
    """The daemon as the API sees it. ``job_id`` is always a whole id."""

    ended: list[Callable[[JobInfo], None]]
    """Told of each job that has ended."""

    readers: Readers
    """Who reads the files of jobs now."""

    leaving: bool
    """It ends now, and nobody is let wait any longer."""

    @property
    def home(self) -> Home: ...

    def status(self) -> dict[str, Any]:
        """pid, address, home, version, started_at, workers, jobs by state."""

    def figures(self) -> Figures:
        """What is counted, as it is now."""

    def find(self, prefix: str) -> JobInfo:
        """The job with that id or unique prefix; the latest for ``-``.

        Raises:
            UnknownJob: There is none.
            AmbiguousJob: There are several.
        """

    def attempts(self, job_id: str) -> list[AttemptInfo]:
        """Every attempt of a job, the first one first."""

    def page(
        self, *, states: Collection[State] | None, limit: int, before: str | None, **only: Any
    ) -> list[JobInfo]:
        """At most *limit* jobs, newest first, those older than *before* if it is given.

        *only* is what else ``queue.page`` can choose by.
        """

    async def accept(
        self,
        invocation: Invocation,
        *,
        job_id: str,
        priority: int = 0,
        key: str | None = None,
        request: bytes = b"",
    ) -> Accepted:
        """Accept a job, once per id and once per key; see ``queue.accept``.

        Raises:
            Refused: The daemon is stopping.
            RequestError: It is no job id.
            Conflict, KeyReused: The id or the key is another request's.
        """

    def earlier(self, *, job_id: str, key: str | None, request: bytes) -> JobInfo | None:
        """The job that the same request has made before, if it has.

        Raises:
            Conflict, KeyReused: As above.
        """

    async def wait(self, job_id: str, timeout_s: float) -> JobInfo:
        """The job once it is final, or as it is after *timeout_s* seconds, or when it is
        ``leaving``."""

    async def changed(self, job: JobInfo, offset: int, timeout_s: float) -> JobInfo:
        """The job once ``output.log`` is longer than *offset*, or its state is not that of *job*;
        or as it is after *timeout_s* seconds."""

    async def cancel(self, job_id: str) -> JobInfo:
        """Ask it to end: SIGTERM, grace, SIGKILL.

        Raises:
            InvalidTransition: It has ended.
        """

    async def signal(self, job_id: str, signum: int) -> JobInfo:
        """Send a signal to its processes.

        Raises:
            InvalidTransition: It is not running.
        """

    def caller_lives(self, info: JobInfo) -> bool:
        """Whether the process that has taken the job to run it itself still does."""

    async def settle(self, job_id: str) -> JobInfo:
        """End a run whose process is gone: from what it has left, else as ``lost``.

        One that lives is left alone.
        """

    async def rerun(self, job_id: str, *, key: str | None = None, request: bytes = b"") -> Accepted:
        """A new job with the same invocation."""

    async def forget(self, job_id: str) -> None:
        """Remove it from the store.

        Raises:
            InvalidTransition: It has not ended.
        """

    async def shutdown(self, kill_jobs: bool) -> None:
        """Begin to stop, ending the running jobs first if so asked."""


class Apps(Protocol):
    """The apps that requests may name."""

    async def checked(self, app: str, command: str, params: Mapping[str, Any]) -> Invocation:
        """One call of that command, complete.

        Raises:
            UnknownCommand: There is no such app, or it has no such command.
            BadParameters: The command does not take these values.
        """


class NoApps:
    """The apps of a daemon that has none."""

    async def checked(self, app: str, command: str, params: Mapping[str, Any]) -> Invocation:  # noqa: ARG002
        raise UnknownCommand(f"there is no app {app!a}; see: mcli apps list")
