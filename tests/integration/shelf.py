"""A daemon without workers: jobs on a shelf, served by the real API under a real uvicorn."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from mcli.daemon.api import create_app
from mcli.daemon.limits import Limits
from mcli.daemon.ports import Figures
from mcli.daemon.readers import Readers
from mcli.errors import AmbiguousJob, InvalidTransition, UnknownJob
from mcli.home import Home
from mcli.ids import new_id
from mcli.invocation import Invocation
from mcli.job import AttemptInfo, JobInfo
from mcli.output import Log
from mcli.queue import Accepted
from mcli.states import Reason, State
from mcli.stream import Stream

T = TypeVar("T")

TOKEN = "the-token"
NOW = 1_700_000_000.0


class Shelf:
    """The API's ``Dispatcher``. A test moves the jobs itself, through ``Served.do``."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.jobs: dict[str, JobInfo] = {}
        self.signals: list[tuple[str, int]] = []
        self.shutdowns: list[bool] = []
        self.followed = threading.Event()
        """Set when somebody waits for output or for an end."""
        self.ended: list[Callable[[JobInfo], None]] = []
        self.draining = False
        self.readers = Readers()
        self.leaving = False
        self._changed = asyncio.Condition()

    def clear(self) -> None:
        """Take everything off the shelf."""
        self.jobs.clear()
        self.signals.clear()
        self.shutdowns.clear()
        self.followed.clear()

    async def put(self, **known: Any) -> JobInfo:
        """Add a job, by default one that has just been queued."""
        fields: dict[str, Any] = {
            "id": new_id(),
            "name": "sum",
            "state": State.QUEUED,
            "argv": ["sum", "--all"],
            "cwd": "/",
            "app": "sum.py",
            "created_at": NOW,
        }
        job = JobInfo(**(fields | known))
        self.jobs[job.id] = job
        return job

    async def move(self, job_id: str, state: State, **known: Any) -> JobInfo:
        """Change a job and tell those who wait."""
        async with self._changed:
            job = dataclasses.replace(self.jobs[job_id], state=state, **known)
            self.jobs[job_id] = job
            self._changed.notify_all()
        return job

    async def print(self, job_id: str, stream: Stream, data: bytes) -> None:
        """Add a record to the job's output and tell those who follow it."""
        path = self._log(job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = Log(str(path))
        log.append(stream, data)
        log.close()
        async with self._changed:
            self._changed.notify_all()

    def _log(self, job_id: str) -> Path:
        return Path(self.home.job(job_id)) / "output.log"

    def status(self) -> dict[str, Any]:
        return {"pid": 1, "home": self.home.root, "jobs": {"queued": len(self.jobs)}}

    def find(self, prefix: str) -> JobInfo:
        ids = sorted(self.jobs) if prefix == "-" else [i for i in self.jobs if i.startswith(prefix)]
        if not ids:
            raise UnknownJob(f"no job {prefix!r}")
        if len(ids) > 1 and prefix != "-":
            raise AmbiguousJob(f"several jobs {prefix!r}")
        return self.jobs[ids[-1]]

    def attempts(self, job_id: str) -> list[AttemptInfo]:
        newest = {
            each.name: getattr(self.jobs[job_id], each.name)
            for each in dataclasses.fields(AttemptInfo)
            if not each.name.startswith("output_")
        }
        return [AttemptInfo(**newest, output_start=0, output_end=None)]

    def page(
        self, *, states: Collection[State] | None, limit: int, before: str | None, **only: Any
    ) -> list[JobInfo]:
        return [
            self.jobs[i]
            for i in sorted(self.jobs, reverse=True)
            if (before is None or i < before) and (not states or self.jobs[i].state in states)
        ][:limit]

    async def wait(self, job_id: str, timeout_s: float) -> JobInfo:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                self.followed.set()
                await self._changed.wait_for(lambda: self.leaving or self.jobs[job_id].is_final)
        return self.jobs[job_id]

    async def drain(self) -> None:
        """From now on nobody waits any more: the end is near."""
        async with self._changed:
            self.leaving = True
            self._changed.notify_all()

    async def changed(self, job: JobInfo, offset: int, timeout_s: float) -> JobInfo:
        path = self._log(job.id)

        def differs() -> bool:
            longer = path.exists() and path.stat().st_size > offset
            return longer or self.jobs[job.id].state is not job.state

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                self.followed.set()
                await self._changed.wait_for(differs)
        return self.jobs[job.id]

    def figures(self) -> Figures:
        jobs = dict.fromkeys(State, 0) | {State.QUEUED: len(self.jobs)}
        return Figures(jobs=jobs, workers=0, commits=0, wal_bytes=0, log_bytes=0)

    async def accept(self, invocation: Invocation, *, job_id: str, **sent: Any) -> Accepted:
        return Accepted(await self.put(id=job_id, name=invocation.name), False)

    def earlier(self, *, job_id: str, key: str | None, request: bytes) -> JobInfo | None:
        return None

    async def forget(self, job_id: str) -> None:
        del self.jobs[job_id]

    async def cancel(self, job_id: str) -> JobInfo:
        if self.jobs[job_id].is_final:
            raise InvalidTransition(f"job {job_id} has ended")
        return await self.move(job_id, State.CANCELLED, reason=Reason.USER, finished_at=NOW)

    def caller_lives(self, info: JobInfo) -> bool:
        return not info.is_final

    async def settle(self, job_id: str) -> JobInfo:
        return await self.move(job_id, State.LOST, reason=Reason.WORKER_LOST, finished_at=NOW)

    async def signal(self, job_id: str, signum: int) -> JobInfo:
        self.signals.append((job_id, signum))
        return self.jobs[job_id]

    async def rerun(self, job_id: str, **sent: Any) -> Accepted:
        return Accepted(await self.put(name=self.jobs[job_id].name), False)

    async def shutdown(self, kill_jobs: bool) -> None:
        self.shutdowns.append(kill_jobs)


class Served:
    """A shelf being served."""

    def __init__(self, shelf: Shelf, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.shelf = shelf
        self.url = url
        self._loop = loop

    def do(self, act: Coroutine[Any, Any, T]) -> T:
        """Run *act* where the server runs, and return its result."""
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(timeout=10)


@contextlib.contextmanager
def served(home: Home, **tls: str) -> Iterator[Served]:
    """Serve a new shelf on a free port of 127.0.0.1; over TLS with uvicorn's options for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"{'localhost' if tls else '127.0.0.1'}:{listener.getsockname()[1]}"
        loop = asyncio.new_event_loop()
        shelf = Shelf(home)
        limits = Limits(failure_wait_s=0)  # these tests fail to be let in all the time
        app = create_app(shelf, token=TOKEN, allowed_hosts={host}, limits=limits)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=1,
                **tls,  # type: ignore[arg-type]
            )
        )
        thread = threading.Thread(
            target=loop.run_until_complete, args=(server.serve(sockets=[listener]),)
        )
        thread.start()
        try:
            yield Served(shelf, f"http{'s' if tls else ''}://{host}", loop)
        finally:
            server.should_exit = True
            thread.join()
            loop.close()
