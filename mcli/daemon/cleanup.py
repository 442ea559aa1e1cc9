"""
Runs that nothing will end: found by what the kernel and their files tell, and ended.

While its daemon lives, a run whose process is gone is ended within seconds. What can stay is
one that a caller took to run itself, and did not come to close; and what nobody has foreseen.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from mcli.daemon.ports import Dispatcher
from mcli.daemon.reply import Daemon, Document
from mcli.daemon.verdict import ending_of
from mcli.job import JobInfo, timestamp
from mcli.outcome import read_outcome
from mcli.states import State
from mcli.ticket import is_over

PAGE: Final = 500
RUNS: Final = (State.RUNNING, State.STOPPING)

routes = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job that runs as far as the store knows, and what there is of it."""

    job: JobInfo
    ends: State | None
    """How it would be ended; None: it lives."""

    last_sign_at: float
    """When it last printed something, or began."""

    output_bytes: int
    """In its record log."""

    def document(self) -> Document:
        return {
            "job": self.job.document(),
            "alive": self.ends is None,
            "action": "keep" if self.ends is None else self.ends.value,
            "last_sign_at": timestamp(self.last_sign_at),
            "output_bytes": self.output_bytes,
        }


def look(job: JobInfo, daemon: Dispatcher) -> Run:
    """What there is of *job*."""
    size, printed_at = 0, 0.0
    folder = daemon.home.job(job.id)
    try:
        log = os.lstat(os.path.join(folder, "output.log"))
        size, printed_at = log.st_size, log.st_mtime
    except OSError:
        pass  # it has printed nothing
    return Run(
        job=job,
        ends=None if lives(job, daemon) else _end(job, folder),
        last_sign_at=max(printed_at, job.started_at or job.created_at),
        output_bytes=size,
    )


def lives(job: JobInfo, daemon: Dispatcher) -> bool:
    """Whether its process is there, or may still come."""
    if job.route == "local":
        return daemon.caller_lives(job)
    return not is_over(daemon.home.job(job.id), job.attempt)


def _end(job: JobInfo, folder: str) -> State:
    """By what it has left."""
    return ending_of(job, read_outcome(folder, job.attempt)).state


class Cleanup(BaseModel):
    """What to look at, and whether to do anything."""

    model_config = ConfigDict(extra="forbid")

    stale_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    dry_run: bool = True


@routes.post("/v1/cleanup")
async def cleanup(daemon: Daemon, body: Cleanup) -> Document:
    """The runs that have given no sign of life for *stale_s* seconds.

    Those without a process are ended, unless it is a *dry_run*: from the outcome that they have
    left, else as ``lost``. Those that live are only told.
    """
    before = time.time() - body.stale_s
    found = [run for run in await _runs(daemon) if run.last_sign_at <= before]
    told: list[dict[str, Any]] = []
    for run in found:
        if run.ends is not None and not body.dry_run:
            ended = await daemon.settle(run.job.id)
            told.append(run.document() | {"job": ended.document(), "action": ended.state.value})
        else:
            told.append(run.document())
    return {"dry_run": body.dry_run, "runs": told}


async def _runs(daemon: Dispatcher) -> list[Run]:
    """All of them, the newest first."""
    found: list[Run] = []
    before: str | None = None
    while True:
        page = await asyncio.to_thread(daemon.page, states=RUNS, limit=PAGE, before=before)
        found += await asyncio.to_thread(lambda: [look(job, daemon) for job in page])  # noqa: B023 - awaited here
        if len(page) < PAGE:
            return found
        before = page[-1].id
