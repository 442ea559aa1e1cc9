"""
The daemon's housekeeping: it looks at all jobs that have ended, and removes what may go.

What that is, ``mcli.retention`` decides. Here the jobs are shown to it, page by page, with
what their folders take; each page is read in a thread, and a pause follows it that is longer
than it took, so that neither the event loop nor the writer notices. A daemon in which nothing
ends does nothing: the next round is when something has ended, or becomes too old.

A folder without a row (its store was damaged and is gone, say) is seen as a job that was lost
when its files were last changed. One in which no attempt was begun holds what came with a
request; it is left by a crash when nobody has written to it for ``REQUEST_S``.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple, ParamSpec, TypeVar

from mcli import queue
from mcli.daemon import removal
from mcli.daemon.readers import Readers
from mcli.errors import MCLIError
from mcli.home import Home
from mcli.ids import is_id
from mcli.retention import Allowances, Ended, Survey
from mcli.settings import Settings
from mcli.states import FINAL, State
from mcli.store.store import Store
from mcli.ticket import holder

log = logging.getLogger("mcli.retention")

PAGE: Final = 200
"""Jobs that are looked at in one go."""

REMOVED: Final = 20
"""Jobs that are removed in one transaction."""

PAUSE: Final = 4.0
"""How many times as long as a page took the pause after it is."""

LOOK_S: Final = 3600.0
"""Seconds after which everything is looked at again, whatever was foreseen."""

REQUEST_S: Final = 3600.0
"""Seconds after which nobody still writes the files of a request."""

BLOCK: Final = 512
"""Bytes in which ``st_blocks`` counts, everywhere."""

P = ParamSpec("P")
T = TypeVar("T")


class _Stray(NamedTuple):
    """A folder without a row."""

    id: str
    bytes: int
    changed_at: float
    attempts: bool
    """Whether one was begun."""


class Retention:
    """Removes what may go, while ``run`` runs."""

    def __init__(self, home: Home, settings: Settings, store: Store, readers: Readers) -> None:
        self._home = home
        self._store = store
        self._readers = readers
        self._interval_s = settings.keep_interval_s
        self._allowed = Allowances(settings.keep_age, settings.keep_jobs, settings.keep_bytes)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A job has ended: others may have to go."""
        self._woken.set()

    async def run(self, left: Sequence[str] = ()) -> None:
        """Look again and again, until cancelled.

        Args:
            left: Jobs whose files a daemon before this one had put away, and not erased.
        """
        while True:
            self._woken.clear()
            wait_s = LOOK_S
            try:
                while left:
                    await self._paced(removal.erase, self._home.jobs, left[:1])
                    left = left[1:]
                wait_s = await self.round()
            except MCLIError as error:
                log.error("retention.failed %s", error)
                self._woken.set()
            except Exception:  # the daemon's own work does not depend on it
                log.exception("retention.failed")
                self._woken.set()
            if wait_s == 0.0:
                continue  # there was too much for one round
            await asyncio.sleep(self._interval_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s - self._interval_s):
                    await self._woken.wait()

    async def round(self) -> float:
        """Look at all, remove what may go; in how many seconds to look again."""
        now = time.time()
        survey = Survey(self._allowed, now)
        for state in FINAL:
            await self._see(survey, state, now)
        unused = await self._see_strays(survey, now)
        going = survey.going()
        ids = [each.id for each in going] + unused
        removed = 0
        for at in range(0, len(ids), REMOVED):
            removed += await self._remove(ids[at : at + REMOVED])
        if removed:
            log.info(
                "retention.removed jobs=%d of=%d bytes=%d of=%d",
                removed, survey.jobs, sum(each.bytes for each in going), survey.bytes,
            )  # fmt: skip
        if removed and survey.more(going):
            return 0.0
        next_at = survey.next_at(going)
        return LOOK_S if next_at is None else min(LOOK_S, max(0.0, next_at - now))

    async def _see(self, survey: Survey, state: State, now: float) -> None:
        after: str | None = None
        while True:
            page = await self._paced(self._page, state, now, after)
            for each in page:
                survey.add(each)
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def _see_strays(self, survey: Survey, now: float) -> list[str]:
        """Take the folders without a row into account; those of requests that came to nothing."""
        unused = []
        with os.scandir(self._home.jobs) as entries:
            names = (entry.name for entry in entries if is_id(entry.name))
            while page := await asyncio.to_thread(lambda: list(islice(names, PAGE))):
                for each in await self._paced(self._strays, page):
                    if each.attempts:
                        survey.add(Ended(each.changed_at, each.id, State.LOST, each.bytes))
                    elif each.changed_at < now - REQUEST_S:
                        unused.append(each.id)
        return unused

    async def _paced(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """*work* in a thread, and then a pause."""
        begun = time.monotonic()
        result = await asyncio.to_thread(work, *args, **kwargs)
        await asyncio.sleep(PAUSE * (time.monotonic() - begun))
        return result

    async def _remove(self, job_ids: Collection[str]) -> int:
        """Remove them, but for those that somebody reads now; how many that were."""
        jobs = self._home.jobs
        wanted = [each for each in job_ids if each not in self._readers]
        moved = await asyncio.to_thread(removal.put_away, jobs, wanted)
        try:
            left = await asyncio.wrap_future(self._store.write(queue.forget_ended, wanted))
        except Exception:
            await asyncio.to_thread(removal.put_back, jobs, moved)
            raise
        await asyncio.to_thread(removal.put_back, jobs, [each for each in moved if each in left])
        begun = time.monotonic()
        for each in moved:
            if each not in left:
                await asyncio.to_thread(removal.erase, jobs, [each])
        await asyncio.sleep(time.monotonic() - begun)
        return len(wanted) - len(left)

    # In a thread ------------------------------------------------------------------------

    def _page(self, state: State, now: float, after: str | None) -> list[Ended]:
        page = self._store.read(queue.ended, now=now, state=state, limit=PAGE, after=after)
        return [each._replace(bytes=taken(self._home.job(each.id))[0]) for each in page]

    def _strays(self, names: Collection[str]) -> list[_Stray]:
        """Of folders those without a row, and without a process."""
        there = self._store.read(queue.known, names)
        found = (_stray(name, self._home.job(name)) for name in names if name not in there)
        return [each for each in found if each is not None]


def _stray(name: str, folder: str) -> _Stray | None:
    attempts = _attempts(folder)
    if any(_lives(folder, attempt) for attempt in attempts):
        return None
    size, changed_at = taken(folder)
    return _Stray(name, size, changed_at, bool(attempts))


def taken(folder: str) -> tuple[int, float]:
    """The bytes that a folder's files take on the disk, and when one was last changed."""
    size, changed_at = 0, 0.0
    with suppress(OSError):  # it has none, or is being removed
        found = os.lstat(folder)
        size, changed_at = found.st_blocks * BLOCK, found.st_mtime
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner, last = taken(entry.path)
                else:
                    about = entry.stat(follow_symlinks=False)
                    inner, last = about.st_blocks * BLOCK, about.st_mtime
                size, changed_at = size + inner, max(changed_at, last)
    return size, changed_at


def _attempts(folder: str) -> list[int]:
    """The attempts whose ticket is in that folder."""
    with suppress(OSError):
        tickets = [name for name in os.listdir(folder) if name.endswith(".start")]
        return [int(name[:-6]) for name in tickets if name[:-6].isdecimal()]
    return []


def _lives(folder: str, attempt: int) -> bool:
    with suppress(OSError, ValueError, TypeError):
        owner = holder(folder, attempt)
        return owner is not None and owner.alive()
    return False
