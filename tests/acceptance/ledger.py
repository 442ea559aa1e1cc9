"""
What must hold after any fault, whatever it was: the standard assertion.

A ledger outside the store has a line for each beginning and each end of a body. ``Ledger``
reads it; ``standard`` holds it against what callers were told and what the store says.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Final, NamedTuple

from mcli.family import environment

from .daemon import Daemon, Document, gone, until

SOON_S: Final = 10.0
"""Seconds in which a job has ended whose end can be known. 5 are promised, to which the storm
holds; beside other tests a machine is busy."""

SPARE_FDS: Final = 2


class Line(NamedTuple):
    """One line of the ledger."""

    kind: str
    tag: str
    job: str
    attempt: str
    pid: int


class Told(NamedTuple):
    """How a caller ended that had the job *tag* run."""

    tag: str
    code: int
    out: str
    err: str


def ledger(daemon: Daemon) -> list[Line]:
    """All lines, in the order in which they came."""
    with suppress(FileNotFoundError):
        words = [line.split() for line in daemon.ledger.read_text().splitlines()]
        return [Line(kind, tag, job, attempt, int(pid)) for kind, tag, job, attempt, pid in words]
    return []


def standard(daemon: Daemon, told: Iterable[Told], *, base_fds: int) -> list[Document]:
    """
    Begun once, or not and told so; states agree with the ledger; all has ended soon; the store
    is sound; no process is left, no file in the making, and no descriptor.

    Args:
        told: What became of the callers.
        base_fds: Descriptors of a daemon that has nothing to do.

    Returns:
        The jobs, all of them ended.
    """
    jobs = ended_soon(daemon)
    lines = ledger(daemon)
    for each in told:
        _held(each, lines, jobs)
    for job in jobs:
        _agrees(job, lines)
    _sound(daemon)
    _nobody_left(daemon, lines, jobs)
    assert daemon.drafts() == []
    until_fds_are_back(daemon, base_fds)
    return jobs


def at_rest(daemon: Daemon) -> None:
    """
    Of any test, when all of it has ended: what was accepted has begun once, or has not, and the
    store says so; states agree with the ledger; none is open of a daemon that has ended in order;
    the store is sound; no process of a job is left.
    """
    begun = Counter((job, int(attempt)) for job, attempt, *_ in daemon.starts() if job != "here")
    assert set(begun.values()) <= {1}, f"begun twice: {begun}"
    if not (daemon.sound and os.path.exists(daemon.home.database)):
        return
    ended = {(job, int(attempt)) for job, attempt in daemon.ends()}
    with closing(sqlite3.connect(daemon.home.database)) as store:
        assert store.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        rows = store.execute("SELECT id, route, state, attempt, finished_at FROM jobs").fetchall()
    for job_id, route, state, attempt, finished_at in rows:
        assert finished_at is not None or not daemon.settled, (job_id, state)
        if route == "local" or (state == "cancelled" and attempt == 0):
            assert job_id not in {job for job, _ in begun}, (job_id, route, state)
        if state == "succeeded" and (job_id, attempt) in begun:
            assert (job_id, attempt) in ended, (job_id, state)
    assert _marked(job_id for job_id, *_ in rows) == []


def _marked(ids: Iterable[str]) -> list[int]:
    """Processes with the mark of one of these jobs."""
    marks = {b"MCLI_JOB_ID=" + job_id.encode() for job_id in ids}
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in pids if not marks.isdisjoint(environment(pid))]


def ended_soon(daemon: Daemon) -> list[Document]:
    """All jobs, none of which lives any longer than it has to."""
    with daemon.client() as client:
        deadline = time.monotonic() + SOON_S
        while live := [job for job in client.jobs() if job["finished_at"] is None]:
            assert time.monotonic() < deadline, live
            for job in live:  # one may be accepted meanwhile, of a caller that is dead
                client.wait(job["id"], max(0.0, deadline - time.monotonic()))
        return list(client.jobs())


def _held(told: Told, lines: list[Line], jobs: list[Document]) -> None:
    """What one caller was told is so."""
    begun = [line for line in lines if line.kind == "S" and line.tag == told.tag]
    ended = [line for line in lines if line.kind == "E" and line.tag == told.tag]
    known = [job["id"] for job in jobs if told.tag in job["argv"]]
    assert len(begun) <= 1, f"run twice: {begun}"
    if told.code == 0:
        assert told.out.strip() in (f"did {told.tag}", *known), told
        assert len(begun) == len(ended) == 1, told
    elif told.code > 0 and not begun:
        assert told.err, "it was not run, and nobody was told"
    if told.code == 75:
        assert any(job_id in told.err for job_id in known) or "mcli inspect" in told.err


def _agrees(job: Document, lines: list[Line]) -> None:
    """What the store says of a job is what its body has done."""
    owner = "here" if job["route"] == "local" else job["id"]
    tag = next(word for word in job["argv"] if word.startswith("case"))
    kinds = [line.kind for line in lines if line.job == owner and line.tag == tag]
    assert kinds in ([], ["S"], ["S", "E"]), (job, kinds)
    if job["state"] == "succeeded":
        assert kinds == ["S", "E"], job
    if kinds == ["S", "E"]:  # if it came to its end, then what followed it was what went wrong
        assert job["state"] == "succeeded" or job["reason"] in ("signal", "client_gone"), job


def _sound(daemon: Daemon) -> None:
    with closing(sqlite3.connect(f"file:{daemon.home.database}?mode=ro", uri=True)) as store:
        assert store.execute("PRAGMA quick_check").fetchall() == [("ok",)]


def _nobody_left(daemon: Daemon, lines: list[Line], jobs: list[Document]) -> None:
    """No process of a body, and none that was started by one."""
    for line in lines:
        assert line.job == "here" or gone(line.pid), line
    assert _marked(job["id"] for job in jobs) == []


def fds(daemon: Daemon) -> int:
    """How many descriptors the daemon has open, but those of warm workers and of the store."""
    with daemon.client() as client:
        workers = len(client.status()["workers"])
    store = daemon.home.database
    return sum(not each.startswith(store) for each in open_files(daemon)) - workers


def open_files(daemon: Daemon) -> list[str]:
    """What they are."""
    folder = f"/proc/{daemon.pid}/fd"
    found = []
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"{folder}/{name}"))
    return sorted(found)


def until_fds_are_back(daemon: Daemon, base: int) -> None:
    """The daemon closes what it had open for jobs; it may take a turn of its loop."""
    until(
        lambda: abs(fds(daemon) - base) <= SPARE_FDS,
        instead=lambda: f"{open_files(daemon)}, and {base} before",
    )
