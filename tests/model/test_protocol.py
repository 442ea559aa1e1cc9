"""The protocol under faults in every order that chance finds; wrong rules are found out."""

from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.exc import IntegrityError

from mcli import attach, queue
from mcli.daemon import recovery
from mcli.errors import OutcomeUnknown, UnknownJob
from mcli.states import State
from mcli.store.schema import jobs

from .machine import Machine

BUDGET = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
    print_blob=False,
)
"""What a run of the tests can spend; ``python -m tests.model`` spends more."""


TO_BE_FOUND = settings(BUDGET, max_examples=400)
"""It ends with the first that is found, mostly within a tenth of that."""


def test_protocol() -> None:
    """
    P1 to P4: whatever comes, accepted is kept, nothing is begun twice, ends are final and true.
    """
    run_state_machine_as_test(Machine, settings=BUDGET)


def requeue_what_was_running(job: Any, store: Any, home: Any, look: Any) -> bool:
    """Recovery that does not ask whether an attempt has begun."""
    store.write(queue.revoke, now=9.0, job_id=job.id, attempt=job.attempt)
    return False


def run_here_on_any_error(invocation: Any, home: Any, job_id: str, *, here: bool) -> None:
    """A caller that takes silence for a refusal."""


def wait_for_it_on_any_error(invocation: Any, home: Any, job_id: str, *, here: bool) -> Any:
    """A caller that runs its command itself only if it was refused."""
    return mock.Mock()


def lose_what_was_running(job: Any, store: Any, home: Any, look: Any) -> bool:
    """Recovery that gives up whatever was running."""
    told = {"state": "lost", "reason": "worker_lost"}
    store.write(queue.finish, now=9.0, job_id=job.id, attempt=job.attempt, **told)
    return False


def any_attempt(job_id: str, attempt: int) -> Any:
    """A queue that takes what is said of one attempt for the newest."""
    return jobs.c.id == job_id


def never_run_in_doubt(invocation: Any, home: Any, job_id: str, *, here: bool) -> Any:
    """The opposite, which is not wrong, only of no use: nothing is lost without a word."""
    raise OutcomeUnknown(job_id)


@pytest.mark.parametrize(
    ("module", "name", "rule"),
    [
        (recovery, "_settle", requeue_what_was_running),
        (recovery, "_settle", lose_what_was_running),
        (attach, "_settle", run_here_on_any_error),
        (attach, "_settle", wait_for_it_on_any_error),
        (queue, "_attempt", any_attempt),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).rpartition(".")[2],
)
def test_wrong_rule_is_found(
    module: Any, name: str, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule that would be simpler is found to be wrong: a promise is broken, or the store
    refuses a second record of an attempt.
    """
    monkeypatch.setattr(module, name, rule)
    with pytest.raises((AssertionError, UnknownJob, IntegrityError)):
        run_state_machine_as_test(Machine, settings=TO_BE_FOUND)


def test_doubt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never to run in doubt breaks no promise: its caller is told."""
    monkeypatch.setattr(attach, "_settle", never_run_in_doubt)
    run_state_machine_as_test(Machine, settings=settings(BUDGET, max_examples=20))


def test_worker_that_comes_late() -> None:
    """An order obeyed only after the next daemon has put the job back begins nothing."""
    machine = Machine()
    try:
        machine._call(("reply", "reply"), False)
        for _ in range(2):
            claimed = machine.desk.write(queue.claim, now=2.0, limit=1).result()
            machine.orders += [(job.id, job.attempt) for job in claimed]
            machine.restart()
        for pid, order in enumerate([*machine.orders], 1000):
            machine.processes[pid], machine.began[pid] = order, False
            machine._take(pid)
        machine.orders = []
        machine.never_twice()
    finally:
        machine.teardown()


@pytest.mark.parametrize("put_back", [True, False])
def test_asked_to_end_with_its_order_given(put_back: bool) -> None:
    """Cancelled when the next daemon sees that it has not begun; the order begins nothing then."""
    machine = Machine()
    try:
        machine._call(("reply", "reply"), False)
        (job,) = machine.desk.write(queue.claim, now=2.0, limit=1).result()
        if put_back:
            machine.restart()
        machine._cancel(job.id, withdrawn=False)
        machine.restart()
        assert machine.desk.read(queue.get, job.id).state is State.CANCELLED
        machine.processes[1000], machine.began[1000] = (job.id, job.attempt), False
        machine._take(1000)
        assert not machine.begun
    finally:
        machine.teardown()
