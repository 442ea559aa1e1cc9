"""``mcli wait``: until jobs have ended, and then out with their exit code."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final

import click

from mcli.cli import complain
from mcli.states import FINAL, Reason, State

Document = dict[str, Any]

TIMED_OUT: Final = 124
"""As timeout(1) exits: the job ran out of its time, or this wait did."""

MCLI_FAILED: Final = 125
SIGNALLED: Final = 128
TERMINATED: Final = 143


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option("--any", "first", is_flag=True, help="Until one of them has ended.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Give up after S seconds, with exit code 124.",
)
def wait(jobs: Sequence[str], first: bool, timeout_s: float | None) -> None:
    """Wait until each JOB has ended, and exit with its code.

    The code is the job's own, or 128 + N if signal N killed it, or 124 if it ran out of
    time, or 143 if it was cancelled before it began. Of several jobs, the first in the
    order given that is not 0. Prints the id and the state of each as it ends.
    """
    from mcli.client import Client

    with Client() as client:
        found = {(document := client.job(job))["id"]: document for job in jobs}
    codes: dict[str, int] = {}
    for job in endings(list(found.values()), timeout_s):
        click.echo(f"{job['id']}  {job['state']}")
        codes[job["id"]] = exit_code(job)
        if first:
            break
    else:
        if left := [each for each in found if each not in codes]:
            complain(f"waited {timeout_s:g} s; not ended yet: {', '.join(left)}")
            sys.exit(TIMED_OUT)
    sys.exit(next((codes[each] for each in found if codes.get(each)), 0))


def exit_code(job: Document) -> int:
    """What a shell would have got, had it run the job itself."""
    if job["state"] == State.SUCCEEDED:
        return 0
    if job["reason"] == Reason.TIMEOUT:
        return TIMED_OUT
    if job["signal"] is not None:
        return SIGNALLED + int(job["signal"])
    if job["exit_code"]:
        return int(job["exit_code"])
    return TERMINATED if job["state"] == State.CANCELLED else MCLI_FAILED


def endings(jobs: Sequence[Document], timeout_s: float | None) -> Iterator[Document]:
    """The documents of *jobs* in the order in which they end; none any more when time is up."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    yield from (job for job in jobs if job["state"] in FINAL)
    ended: SimpleQueue[Document | Exception] = SimpleQueue()
    waiting = [job["id"] for job in jobs if job["state"] not in FINAL]
    for job_id in waiting:
        # Daemon threads: whoever has waited long enough does not wait for them.
        threading.Thread(target=_await, args=(job_id, ended), daemon=True).start()
    for _ in waiting:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            found = ended.get(timeout=left)
        except Empty:
            return
        if isinstance(found, Exception):
            raise found
        yield found


def _await(job_id: str, ended: "SimpleQueue[Document | Exception]") -> None:
    from mcli.client import Client

    try:
        with Client() as client:
            ended.put(client.wait(job_id))
    except Exception as error:  # noqa: BLE001 - raised again by whoever takes it out
        ended.put(error)
