"""
From what a process did to what is said of its job. Pure.
"""

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.outcome import Outcome
from mcli.policy import TIMEOUT_CODE, USUAL, Policy
from mcli.retry import again_s
from mcli.states import Reason, State

OWN_CODE: Final = 125
CANCELLED_CODE: Final = 143
"""Of a job that never began: as if SIGTERM had ended it."""


NEVER_RUN: Final = (Reason.NOT_REACHED, Reason.SPAWN_ERROR, Reason.INPUT_LOST)
"""The body was not begun, and nobody has asked for the end: its caller may still run it itself."""


UNSTORED: Final = "what it printed last may be missing: its worker is gone, and had not stored it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended, and whether another one follows."""

    state: State
    reason: Reason | None
    exit_code: int | None = None
    signal: int | None = None
    result_json: str | None = None
    error: str | None = None
    max_attempts: int = 1
    again_s: float | None = None
    """Seconds until the next attempt; None: there is none."""

    def columns(self, *, result: bool = True) -> dict[str, Any]:
        """As ``queue.finish`` takes them; without *result* as ``queue.retry`` does."""
        names = ["state", "reason", "exit_code", "signal", "error"]
        return {name: getattr(self, name) for name in [*names, *["result_json"] * result]}

    def said(self, tried: int) -> str:
        """A line for whoever waits, when another attempt follows."""
        if self.state is State.LOST:
            how = "is lost"
        elif self.reason is Reason.TIMEOUT:
            how = "ran too long"
        elif self.reason is Reason.MEMORY:
            how = "had too much memory"
        elif self.signal is not None:
            how = f"was killed by signal {self.signal}"
        else:
            how = f"failed (exit code {self.exit_code})"
        wait = f"trying again in {self.again_s or 0:.1f} s"
        return f"attempt {tried} of {self.max_attempts} {how}; {wait}"


def ending_of(
    job: JobInfo,
    outcome: Outcome | None,
    invocation: Invocation | None = None,
    chance: Random | None = None,
    *,
    lost: Reason = Reason.WORKER_LOST,
) -> Ending:
    """What is said of an attempt of *job*.

    Args:
        outcome: What it left; None: nothing tells how it ended.
        invocation: What it ran. None: it is not tried again, whatever it says of that.
        chance: For the wait until then.
        lost: Why nothing tells.
    """
    if outcome is None:
        ending = Ending(state=State.LOST, reason=lost)
    else:
        state, reason, code = _judge(outcome)
        kept = outcome.has_result or (outcome.returned and outcome.result is not None)
        ending = Ending(
            state=state,
            reason=reason,
            exit_code=code,
            signal=outcome.signal,
            result_json=json.dumps(outcome.result) if kept else None,
            error=outcome.error or (UNSTORED if outcome.unstored else None),
        )
    if invocation is None:
        return ending
    policy = policy_of(invocation, outcome)
    wait_s = again_s(
        policy,
        state=ending.state,
        reason=ending.reason,
        exit_code=ending.exit_code,
        named=outcome is not None and outcome.named,
        tried=job.tried,
        rng=chance or Random(),  # noqa: S311 - nobody gains by guessing it
    )
    return replace(ending, again_s=wait_s, max_attempts=1 + policy.retries)


def policy_of(invocation: Invocation | None, outcome: Outcome | None) -> Policy:
    """What was said of how it runs: with the command itself, or by its program."""
    told = Policy.parse(outcome.policy) if outcome is not None else USUAL
    return told if invocation is None or invocation.policy == USUAL else invocation.policy


def _judge(outcome: Outcome) -> tuple[State, Reason | None, int | None]:
    code = outcome.exit_code
    if code == 0 and outcome.complete and outcome.reached:
        return State.SUCCEEDED, None, 0
    if outcome.reason in ("user", "client_gone"):
        return State.CANCELLED, Reason(outcome.reason), code
    if outcome.reason == "timeout":
        return State.FAILED, Reason.TIMEOUT, TIMEOUT_CODE
    if outcome.reason is not None:
        return State.FAILED, Reason(outcome.reason), code
    if outcome.signal is not None:
        return State.FAILED, Reason.SIGNAL, None
    if not outcome.reached:
        return State.FAILED, Reason.NOT_REACHED, OWN_CODE
    if code == 0:
        return State.FAILED, Reason.NO_OUTCOME, 0
    return State.FAILED, Reason.EXCEPTION if outcome.error else Reason.EXIT_NONZERO, code


def ending(job: JobInfo) -> dict[str, Any]:
    """What the process that waited for *job* is to do: an exit code, a signal, a line to say."""
    code, die_by, message = job.exit_code, job.signal, None
    if job.state is State.SUCCEEDED:
        message = job.error
    elif job.state is State.LOST:
        code, message = OWN_CODE, f"job {job.id} is lost: how it ended cannot be known"
    elif job.reason is Reason.TIMEOUT:
        code, die_by = TIMEOUT_CODE, None
        limit = f" of {job.timeout_s:g} s" if job.timeout_s else ""
        message = f"job {job.id} was ended after its timeout{limit}"
    elif job.reason is Reason.MEMORY:
        message = f"job {job.id} {job.error}"
    elif job.reason is Reason.NOT_REACHED:
        message = f"job {job.id} did not come to its command"
    elif job.reason in NEVER_RUN and job.exit_code is None:
        code, message = OWN_CODE, job.error
    elif job.state is State.CANCELLED and code is None and die_by is None:
        code, message = CANCELLED_CODE, f"job {job.id} was cancelled before it began"
    elif not job.is_final:
        message = f"job {job.id} runs in the process that made it (pid {job.pid}), not here"
    if code is None:
        code = 128 + die_by if die_by else OWN_CODE
    return {
        "exit_code": code,
        "die_by": die_by,
        "message": message,
        # A program that could not be executed has an exit code of its own, 126 or 127.
        # And what has been begun before is not begun here.
        "run_here": job.reason in NEVER_RUN and code == OWN_CODE and job.tried <= 1,
    }
