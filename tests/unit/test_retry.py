"""Which failures are tried again, and when."""

from random import Random
from typing import Any

import pytest

from mcli.policy import Policy
from mcli.retry import CAP_S, LEAST, again_s
from mcli.states import Reason, State

THREE = Policy(retries=3, retry_delay_s=2.0)


def again(policy: Policy, tried: int = 1, **end: Any) -> float | None:
    how = {"state": State.FAILED, "reason": Reason.EXIT_NONZERO, "exit_code": 3, "named": False}
    return again_s(policy, tried=tried, rng=Random(7), **{**how, **end})


def test_nothing_is_tried_again_unless_asked_for() -> None:
    """A command has side effects."""
    assert again(Policy()) is None


def test_waits_double_and_are_never_half_as_long() -> None:
    """About the delay, then about twice that, up to an hour."""
    for tried, bound in ((1, 2.0), (2, 4.0), (3, 8.0)):
        waits = {again(THREE, tried=tried) for _ in range(5)}
        assert all(wait is not None and LEAST * bound <= wait <= bound for wait in waits)
    longest = again(Policy(retries=99, retry_delay_s=60.0), tried=90)
    assert longest is not None
    assert longest <= CAP_S


def test_the_last_attempt_is_the_last() -> None:
    """Three retries are four attempts."""
    assert again(THREE, tried=3) is not None
    assert again(THREE, tried=4) is None


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ({"reason": Reason.EXCEPTION}, True),
        ({"reason": Reason.SIGNAL, "exit_code": None}, True),
        ({"reason": Reason.TIMEOUT, "exit_code": 124}, True),
        ({"reason": Reason.MEMORY}, True),
        ({"reason": Reason.NO_OUTCOME, "exit_code": 0}, False),
        ({"reason": Reason.NOT_REACHED, "exit_code": 125}, False),
        ({"reason": Reason.SPAWN_ERROR}, False),
        ({"reason": Reason.INPUT_LOST}, False),
        ({"state": State.SUCCEEDED, "reason": None, "exit_code": 0}, False),
        ({"state": State.CANCELLED, "reason": Reason.USER}, False),
        ({"state": State.LOST, "reason": Reason.WORKER_LOST}, False),
    ],
)
def test_failures_of_the_body_are_tried_again(end: dict[str, Any], wanted: bool) -> None:
    """What was asked to end, what may have run and what never began are not."""
    assert (again(THREE, **end) is not None) is wanted


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ({"exit_code": 75}, True),
        ({"exit_code": 1}, False),
        ({"exit_code": 1, "reason": Reason.EXCEPTION, "named": True}, True),
        ({"exit_code": None, "reason": Reason.SIGNAL}, False),
    ],
)
def test_only_what_was_named(end: dict[str, Any], wanted: bool) -> None:
    """With ``retry_on`` nothing else is tried again."""
    named = Policy(retries=1, retry_codes=(75,), retry_exceptions=True)
    assert (again(named, **end) is not None) is wanted


def test_a_lost_job_is_tried_again_only_if_its_author_said_so() -> None:
    """It may have run."""
    lost: dict[str, Any] = {"state": State.LOST, "reason": Reason.REBOOT, "exit_code": None}
    assert again(Policy(retries=1, retry_lost=True), **lost) is not None
