"""What the HTTP API needs of the daemon: the verbs that people have, and nothing of how."""

from collections.abc import Collection
from typing import Any, Protocol

from mcli.home import Home
from mcli.job import JobInfo
from mcli.states import State


class Dispatcher(Protocol):
    """The daemon as the API sees it. ``job_id`` is always a whole id."""

    @property
    def home(self) -> Home: ...

    def status(self) -> dict[str, Any]:
        """pid, address, home, version, started_at, workers, jobs by state."""

    def find(self, prefix: str) -> JobInfo:
        """The job with that id or unique prefix; the latest for ``-``.

        Raises:
            UnknownJob: There is none.
            AmbiguousJob: There are several.
        """

    def page(
        self, *, states: Collection[State] | None, limit: int, before: str | None
    ) -> list[JobInfo]:
        """At most *limit* jobs, newest first, those older than *before* if it is given."""

    async def wait(self, job_id: str, timeout_s: float) -> JobInfo:
        """The job once it is final, or as it is after *timeout_s* seconds."""

    async def output_grew(self, job_id: str, offset: int) -> bool:
        """Wait until ``output.log`` is longer than *offset*; False if it never will be."""

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

    async def rerun(self, job_id: str) -> JobInfo:
        """A new job with the same invocation."""

    async def shutdown(self, kill_jobs: bool) -> None:
        """Begin to stop, ending the running jobs first if so asked."""
