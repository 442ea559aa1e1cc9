"""
What a new daemon makes of the jobs that the one before it left running.

Done before the first claim, in pages, and may be done twice: an attempt whose ticket is
free never began and is put back; one whose process lives is adopted; one that left an
outcome is finished from it; of the rest it cannot be known how they ended.
"""

import logging
import time
from typing import Final

from mcli import failpoint, queue
from mcli.daemon.verdict import verdict
from mcli.home import Home
from mcli.job import JobInfo
from mcli.outcome import read_outcome
from mcli.states import Reason, State
from mcli.store.store import Store
from mcli.ticket import Identity, boot_id, holder, revoke, started_ticks

log = logging.getLogger("mcli.recovery")

PAGE: Final = 200


def recover(store: Store, home: Home) -> list[JobInfo]:
    """Settle all running jobs; those whose process lives are returned, to be adopted."""
    adopted: list[JobInfo] = []
    after: str | None = None
    while True:
        page = store.read(
            queue.live, states=(State.RUNNING, State.STOPPING), limit=PAGE, after=after
        )
        adopted += [job for job in page if _lives(job, store, home)]
        if len(page) < PAGE:
            return adopted
        after = page[-1].id


def _lives(job: JobInfo, store: Store, home: Home) -> bool:
    if job.route == "daemon":
        return _settle(job, store, home)
    if job.pid is None or started_ticks(job.pid) is None:  # the caller that took it has gone
        store.write(
            queue.finish, now=time.time(), job_id=job.id, attempt=job.attempt,
            state=State.LOST, reason=Reason.CLIENT_GONE,
        ).result()  # fmt: skip
    return False


def _settle(job: JobInfo, store: Store, home: Home) -> bool:
    """Put back or finish *job*; True if its process lives."""
    folder = home.job(job.id)
    try:
        owner = holder(folder, job.attempt)
    except FileNotFoundError:
        if _revoke(job, store, folder):
            return False
        owner = holder(folder, job.attempt)  # it began at this very moment
    if owner is not None and owner.alive():
        return True
    outcome = read_outcome(folder, job.attempt)
    if outcome is not None:
        columns = verdict(outcome)
    elif owner is None:  # revoked by a daemon that did not come to write it down
        store.write(queue.revoke, now=time.time(), job_id=job.id, attempt=job.attempt).result()
        return False
    else:
        columns = {"state": State.LOST, "reason": _why(owner)}
    done = store.write(
        queue.finish, now=time.time(), job_id=job.id, attempt=job.attempt, **columns
    ).result()
    log.info("job.recovered job_id=%s state=%s", done.id, done.state)
    return False


def _revoke(job: JobInfo, store: Store, folder: str) -> bool:
    if not revoke(folder, job.attempt):
        return False
    failpoint.reach("revoked")
    back = store.write(queue.revoke, now=time.time(), job_id=job.id, attempt=job.attempt).result()
    if back.state is State.STOPPING:  # asked to end, and never began
        store.write(
            queue.finish, now=time.time(), job_id=job.id, attempt=job.attempt,
            state=State.CANCELLED, reason=Reason.USER,
        ).result()  # fmt: skip
    failpoint.reach("requeued")
    log.info("job.requeued job_id=%s", job.id)
    return True


def _why(owner: Identity) -> Reason:
    return Reason.WORKER_LOST if owner.boot_id == boot_id() else Reason.REBOOT
