"""What endpoints need of whoever checks their parameters and runs their jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcli.endpoint import Checked
from mcli.endpoints.mount import Mount

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to an endpoint, its parameters checked."""

    mount: Mount
    checked: Checked
    job_id: str
    key: str | None
    """``Idempotency-Key``."""

    request: bytes
    """Digest of all that was asked: two calls with one key must have the same."""


class Kept(Protocol):
    """What jobs leave behind, and when there is more of it."""

    def folder(self, job_id: str) -> str:
        """Where that job's files are; it need not be there yet."""

    async def changed(self, job: Document, offset: int, timeout_s: float) -> Document:
        """The job once its ``output.log`` is longer than *offset*, or its state is not that of
        *job*; or as it is after *timeout_s* seconds.

        Raises:
            MCLIError: It cannot be waited for any longer.
        """


class Jobs(Kept, Protocol):
    """The daemon, or a connection to one."""

    async def check(
        self, mount: Mount, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]
    ) -> Checked:
        """The words for a request's parameters, or what is wrong with each.

        Raises:
            AppBroken: The app cannot tell.
        """

    async def submit(self, call: Call) -> Document:
        """The job's document, once it is accepted. It is an earlier job's if the key was used.

        Raises:
            MCLIError: It was not accepted.
        """

    async def wait(self, job_id: str, timeout_s: float) -> Document:
        """The job once it has ended, or as it is after *timeout_s* seconds.

        Raises:
            MCLIError: It cannot be waited for any longer.
        """
