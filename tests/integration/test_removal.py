"""Retention over a real store and real folders: what goes goes whole, and nothing else does."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from mcli import queue
from mcli.daemon import removal
from mcli.daemon.readers import Readers
from mcli.daemon.retention import REQUEST_S, Retention, taken
from mcli.home import Home
from mcli.ids import new_id
from mcli.settings import Settings
from mcli.states import State
from mcli.store.store import Store
from mcli.ticket import identify, take

DAY = 86400.0


class Kept:
    """A state directory with jobs that have ended, and the daemon's housekeeping for it."""

    def __init__(self, home: Home, store: Store) -> None:
        self.home = home
        self.store = store
        self.readers = Readers()

    def job(self, days: float, *, ends: bool = True, size: int = 0, **fields: Any) -> str:
        """A job that ended so long ago, and has printed so much."""
        job_id, at = new_id(), time.time() - days * DAY
        given: dict[str, Any] = {"name": "x", "app": "x.py", "command": None, "argv": []}
        given |= {"cwd": "/", "invocation": b"all", "timeout_s": None}
        self.store.write(_accept, now=at, job_id=job_id, **(given | fields)).result()
        if ends:
            self.store.write(queue.request_stop, now=at, job_id=job_id).result()
        self.folder(job_id, size)
        return job_id

    def folder(self, job_id: str, size: int = 0) -> Path:
        folder = Path(self.home.job(job_id))
        folder.mkdir()
        (folder / "output.log").write_bytes(b"x" * size)
        return folder

    def round(self, **env: str) -> float:
        """One look at all; in how many seconds comes the next."""
        settings = Settings.load({}, env, os.devnull)

        async def look() -> float:
            return await Retention(self.home, settings, self.store, self.readers).round()

        return asyncio.run(look())

    def rows(self) -> set[str]:
        return {job.id for job in self.store.read(queue.page, limit=1000)}

    def folders(self) -> set[str]:
        return set(os.listdir(self.home.jobs))


def _accept(conn: Connection, /, **columns: Any) -> None:
    queue.accept(conn, **columns)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    home = Home(str(tmp_path / "home"))
    home.create()
    store = Store.open(home.database)
    yield Kept(home, store)
    store.close()


def test_goes_whole_or_stays_whole(kept: Kept) -> None:
    """After a week row and folder go together; what is younger, or lives, stays."""
    old, young, live = kept.job(8), kept.job(6), kept.job(99, ends=False)
    wait_s = kept.round()
    assert kept.rows() == kept.folders() == {young, live}
    assert 3500 < wait_s <= 3600
    assert not kept.store.read(queue.known, [old])


def test_nothing_is_done_when_nothing_may_go(kept: Kept) -> None:
    """Without limits all stays, and nothing is written."""
    job, commits = kept.job(999), kept.store.commits
    kept.round(MCLI_KEEP_AGE="none", MCLI_KEEP_BYTES="none")
    assert kept.rows() == kept.folders() == {job}
    assert kept.store.commits == commits


def test_bytes_are_those_on_the_disk(kept: Kept) -> None:
    """What a folder takes is counted in blocks; the first that ended goes for it."""
    jobs = [kept.job(3 - at, size=1 << 20) for at in range(3)]
    sparse = kept.folder(kept.job(0.5, size=0) + "x")  # not of a job; only to be measured
    with open(sparse / "output.log", "r+b") as log:
        log.truncate(1 << 30)
    assert taken(str(sparse))[0] < 1 << 20
    assert taken(kept.home.job(jobs[0]))[0] >= 1 << 20
    kept.round(MCLI_KEEP_BYTES="2500KiB")
    assert kept.rows() & set(jobs) == set(jobs[1:])


def test_a_delivery_that_waits_holds_its_job(kept: Kept) -> None:
    """Until its URL has been told, a job stays; afterwards it goes."""
    job = kept.job(8, on_finish="http://127.0.0.1:1/")
    (seen,) = kept.store.read(queue.ended, now=time.time(), state=State.CANCELLED, limit=9)
    assert seen.held
    assert kept.store.write(queue.forget_ended, [job]).result() == {job}
    kept.round()
    assert kept.rows() == kept.folders() == {job}
    sql = "UPDATE deliveries SET due_at = NULL, delivered_at = 1"
    kept.store.write(lambda conn: conn.exec_driver_sql(sql)).result()
    kept.round()
    assert kept.rows() == kept.folders() == set()


def test_a_key_of_the_last_day_holds_its_job(kept: Kept) -> None:
    """For a day the same request brings the same job; so long it stays whatever is set."""
    job = kept.job(0.5, key="mine", request=b"r")
    older = kept.job(1.1, key="other", request=b"r")
    kept.round(MCLI_KEEP_AGE="1h", MCLI_KEEP_JOBS="0", MCLI_KEEP_BYTES="0B")
    assert kept.rows() == kept.folders() == {job}
    assert older not in kept.rows()
    found = kept.store.read(
        queue.earlier, now=time.time(), job_id=new_id(), key="mine", request=b"r"
    )
    assert found is not None
    assert found.id == job


def test_what_is_read_stays(kept: Kept) -> None:
    """Who follows a job's output reads it to its end."""
    job = kept.job(8)
    with kept.readers.reading(job):
        kept.round()
        assert kept.rows() == kept.folders() == {job}
    kept.round()
    assert kept.rows() == kept.folders() == set()


def test_more_than_a_page(kept: Kept) -> None:
    """Many go in one round, in several transactions."""
    jobs = [kept.job(8) for _ in range(45)]
    kept.round(MCLI_KEEP_AGE="7d")
    assert kept.rows() == kept.folders() == set()
    assert len(jobs) == 45
    assert sum(kept.store.read(queue.counts).values()) == 0


# Folders without a row ------------------------------------------------------------------


def stray(kept: Kept, days: float, *, began: bool = True, alive: bool = False) -> str:
    """A folder of a job that the store does not know."""
    job_id = new_id()
    folder = kept.folder(job_id)
    if began:
        fd = take(str(folder), 1, identify(os.getpid()) if alive else None)
        assert fd is not None
        os.close(fd)
    for path in (*folder.iterdir(), folder):
        os.utime(path, 2 * (time.time() - days * DAY,))
    return job_id


def test_folder_without_a_row(kept: Kept) -> None:
    """It goes like a job that was lost when it was last written to; not while it is alive."""
    old, young = stray(kept, 8), stray(kept, 6)
    alive = stray(kept, 8, alive=True)
    kept.round()
    assert kept.folders() == {young, alive}
    assert old not in kept.folders()
    kept.round(MCLI_KEEP_AGE="lost=1d")
    assert kept.folders() == {alive}


def test_files_of_a_request_that_came_to_nothing(kept: Kept) -> None:
    """A folder in which nothing was begun goes after an hour, whatever is kept of jobs."""
    stray(kept, REQUEST_S / DAY + 0.01, began=False)
    coming = stray(kept, REQUEST_S / DAY - 0.01, began=False)
    kept.round(MCLI_KEEP_AGE="none", MCLI_KEEP_BYTES="none")
    assert kept.folders() == {coming}


def test_what_is_no_job_is_left_alone(kept: Kept) -> None:
    """Only what has the name of a job is the daemon's to remove."""
    for name in ("notes", "x.removed", "0"):
        kept.folder(name)
    kept.round(MCLI_KEEP_AGE="0s")
    assert kept.folders() == {"notes", "x.removed", "0"}


# Crashes in between ---------------------------------------------------------------------


def test_put_away_and_no_more(kept: Kept) -> None:
    """Killed before the row was removed: the next daemon puts its files back."""
    job = kept.job(8, size=7)
    assert removal.put_away(kept.home.jobs, [job]) == [job]
    assert kept.folders() == {job + removal.AWAY}
    assert removal.settle(kept.home.jobs, kept.store) == []
    assert kept.rows() == kept.folders() == {job}
    assert Path(kept.home.job(job), "output.log").read_bytes() == b"x" * 7


def test_forgotten_and_no_more(kept: Kept) -> None:
    """Killed before the files were erased: they are put back nowhere, and erased."""
    job = kept.job(8)
    removal.put_away(kept.home.jobs, [job])
    kept.store.write(queue.forget, job).result()
    assert removal.settle(kept.home.jobs, kept.store) == [job]
    removal.erase(kept.home.jobs, [job])
    assert kept.folders() == set()


def test_another_job_has_the_id_by_now(kept: Kept) -> None:
    """What was put away of the first is not put into the folder of the second."""
    job = kept.job(8)
    removal.put_away(kept.home.jobs, [job])
    kept.folder(job, 3)
    assert removal.settle(kept.home.jobs, kept.store) == [job]
    assert kept.folders() == {job, job + removal.AWAY}
    assert Path(kept.home.job(job), "output.log").read_bytes() == b"xxx"


def test_store_that_cannot_be_written(kept: Kept) -> None:
    """The files are put back, and nothing is gone."""
    job = kept.job(8)
    other = sqlite3.connect(kept.home.database, isolation_level=None)
    other.execute("CREATE TRIGGER no BEFORE DELETE ON jobs BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no"):
        kept.round()
    other.execute("DROP TRIGGER no")
    other.close()
    assert kept.rows() == kept.folders() == {job}
    kept.round()
    assert kept.rows() == kept.folders() == set()


@pytest.mark.parametrize("planted", ["link", "file"])
def test_planted_things_are_not_followed(kept: Kept, tmp_path: Path, planted: str) -> None:
    """In the place of its folder a job has put something else: that goes, and nothing more."""
    job = kept.job(8)
    aside = tmp_path / "aside"
    os.rename(kept.home.job(job), aside)
    if planted == "link":
        os.symlink(aside, kept.home.job(job))
    else:
        Path(kept.home.job(job)).write_text("")
    kept.round()
    assert kept.rows() == kept.folders() == set()
    assert (aside / "output.log").exists()
