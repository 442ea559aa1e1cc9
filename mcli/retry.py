"""
Whether a job that ended badly is tried again, and when. Pure.
"""

from random import Random
from typing import Final

from mcli.backoff import backoff_s
from mcli.policy import Policy
from mcli.states import Reason, State

CAP_S: Final = 3600.0
"""Seconds that no wait between two attempts exceeds."""

LEAST: Final = 0.5
"""The shortest wait, as a part of the longest: somebody chose ``retry_delay`` for a reason."""

MENDABLE: Final = frozenset(
    {
        Reason.EXIT_NONZERO,
        Reason.EXCEPTION,
        Reason.SIGNAL,
        Reason.TIMEOUT,
        Reason.MEMORY,
    }
)
"""Failures of the body. Where it was not begun, its caller may still run it itself; and what ended
with exit code 0 without a word may have done all its work."""


def again_s(
    policy: Policy,
    *,
    state: State,
    reason: Reason | None,
    exit_code: int | None,
    named: bool,
    tried: int,
    rng: Random,
) -> float | None:
    """Seconds until the next attempt; None if there is to be none.

    Args:
        state, reason, exit_code: How the last one ended.
        named: It ended with an exception that the command wants to be tried again after.
        tried: Attempts so far.
    """
    if tried > policy.retries or not _is_wanted(policy, state, reason, exit_code, named):
        return None
    return backoff_s(tried, base_s=policy.retry_delay_s, cap_s=CAP_S, rng=rng, least=LEAST)


def _is_wanted(
    policy: Policy, state: State, reason: Reason | None, exit_code: int | None, named: bool
) -> bool:
    if state is State.LOST:
        return policy.retry_lost
    if state is not State.FAILED or reason not in MENDABLE:
        return False
    return not policy.retry_some or named or exit_code in policy.retry_codes
