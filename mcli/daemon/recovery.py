"""
What a new daemon makes of the jobs that the one before it left running.

Done before the first claim, in pages, and may be done twice: an attempt whose ticket is
free never began and is put back; one whose process or worker lives is adopted; one that left an
outcome is finished from it; of the rest it cannot be known how they ended.
"""

import json
import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from mcli import failpoint, family, queue
from mcli.card import read_attempt, read_began_ticks, read_pipes, read_worker, read_worker_ticks
from mcli.daemon.verdict import Ending, ending_of, policy_of
from mcli.home import Home
from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.outcome import read_outcome
from mcli.output import log_size
from mcli.states import Reason, State
from mcli.store.store import Store
from mcli.ticket import Identity, boot_id, clear, holder, newest, revoke, started_ticks

log = logging.getLogger("mcli.recovery")

PAGE: Final = 200

Look = Callable[[], family.Traces]


def recover(store: Store, home: Home) -> list[JobInfo]:
    """Settle all running jobs; those of which processes live are returned, to be adopted."""
    adopted: list[JobInfo] = []
    look = cache(family.traces)  # once, and only if there is a job that has ended
    after: str | None = None
    while True:
        page = store.read(
            queue.live, states=(State.RUNNING, State.STOPPING), limit=PAGE, after=after
        )
        adopted += [job for job in page if _lives_if_known(job, store, home, look)]
        if len(page) < PAGE:
            return adopted
        after = page[-1].id


def _lives_if_known(job: JobInfo, store: Store, home: Home, look: Look) -> bool:
    """One job whose files say what cannot be is no reason to begin without all the others."""
    try:
        return _lives(job, store, home, look)
    except (ValueError, TypeError, KeyError, OverflowError):
        log.exception("job.unreadable job_id=%s", job.id)
        _end(job, store, home, ending_of(job, None))
        return False


def settle(job_id: str, store: Store, home: Home) -> JobInfo:
    """The same for one job that nobody looks after; the job as it is then."""
    job = store.read(queue.get, job_id)
    if not job.is_final:
        _lives(job, store, home, family.traces)
    return store.read(queue.get, job_id)


def _lives(job: JobInfo, store: Store, home: Home, look: Look) -> bool:
    if job.route == "daemon":
        return _settle(job, store, home, look)
    if not caller_lives(job, store, home):
        outcome = read_outcome(home.job(job.id), job.attempt)  # if it could not write to the store
        _end(job, store, home, ending_of(job, outcome, lost=Reason.CLIENT_GONE))
    return False


def caller_lives(job: JobInfo, store: Store, home: Home) -> bool:
    """Whether the process that has taken the job to run it itself still does."""
    if read_outcome(home.job(job.id), job.attempt) is not None:
        return False
    caller = store.read(queue.caller, job.id)
    if caller is None:
        return job.pid is not None and started_ticks(job.pid) is not None
    return caller.alive()


def _settle(job: JobInfo, store: Store, home: Home, look: Look) -> bool:
    """Put back or finish *job*; True if its process lives, or what that has left behind."""
    folder = home.job(job.id)
    begun = newest(folder)
    if begun > job.attempt:  # the row is older than the directory
        job = store.write(queue.overtaken, job_id=job.id, attempt=begun).result()
    try:
        owner = holder(folder, job.attempt)
    except FileNotFoundError:
        if job.pid is not None and read_attempt(folder) != job.attempt:
            # It began in a directory that somebody has removed: what became of it is not known.
            _end(job, store, home, ending_of(job, None, _repeatable(_invocation(job, store))))
            return False
        if revoke(folder, job.attempt):
            failpoint.reach("revoked")
            _put_back(job, store, home)
            return False
        return _settle(job, store, home, look)  # it began at this very moment
    if owner is None:  # revoked by a daemon that did not come to write it down
        _put_back(job, store, home)
        return False
    if job.pid is None:  # the one before did not come to write it down
        this: dict[str, Any] = {"job_id": job.id, "attempt": job.attempt}
        store.write(queue.started, **this, pid=owner.pid, worker_pid=read_worker(folder)).result()
    if owner.alive() or _worker_lives(folder):  # which may know more than it has come to store
        return True
    outcome = read_outcome(folder, job.attempt)
    lost = _why(owner)
    invocation = _invocation(job, store)
    if lost is not Reason.REBOOT:
        pipes = read_pipes(folder).inodes.values()
        if outcome is None and not look().read.isdisjoint(pipes):
            return True  # its caller holds them, and may be all that has what it printed last
        if outcome is not None and outcome.unstored:
            return True
        known = invocation is not None or outcome is not None
        hunted = known and not policy_of(invocation, outcome).leave_children
        if hunted and look().of(job.id, pipes, read_began_ticks(folder)):
            return True
    _end(job, store, home, ending_of(job, outcome, _repeatable(invocation), lost=lost))
    return False


def _worker_lives(folder: str) -> bool:
    pid, ticks = read_worker(folder), read_worker_ticks(folder)
    return pid is not None and ticks is not None and started_ticks(pid) == ticks


def _invocation(job: JobInfo, store: Store) -> Invocation | None:
    body = store.read(queue.invocation, job.id)
    return Invocation.parse(json.loads(body)) if body is not None else None


def _repeatable(invocation: Invocation | None) -> Invocation | None:
    """What can be run again: input that was passed to the last daemon is gone."""
    return invocation if invocation is not None and invocation.stdio[0] != "fd" else None


def _end(job: JobInfo, store: Store, home: Home, ending: Ending) -> None:
    now = time.time()
    this: dict[str, Any] = {"now": now, "job_id": job.id, "attempt": job.attempt}
    clear(home.job(job.id))
    if ending.again_s is not None:
        waits = store.write(
            queue.retry,
            **this,
            due_at=now + ending.again_s,
            max_attempts=ending.max_attempts,
            output_end=log_size(home.job(job.id)),
            **ending.columns(result=False),
        ).result()
        if waits.state is State.SCHEDULED:
            log.info("job.retries job_id=%s attempt=%d", waits.id, waits.attempt)
            return
    done = store.write(queue.finish, **this, **ending.columns()).result()
    log.info("job.recovered job_id=%s state=%s", done.id, done.state)


def _put_back(job: JobInfo, store: Store, home: Home) -> None:
    clear(home.job(job.id))
    back = store.write(queue.revoke, now=time.time(), job_id=job.id, attempt=job.attempt).result()
    if back.state is State.STOPPING:  # asked to end, and never began
        store.write(
            queue.finish, now=time.time(), job_id=job.id, attempt=job.attempt,
            state=State.CANCELLED, reason=Reason.USER,
        ).result()  # fmt: skip
    failpoint.reach("requeued")
    log.info("job.requeued job_id=%s", job.id)


def _why(owner: Identity) -> Reason:
    return Reason.WORKER_LOST if owner.boot_id == boot_id() else Reason.REBOOT
