"""
From what a process did to what is said of its job. Pure.
"""

import json
from typing import Any, Final

from mcli.job import JobInfo
from mcli.outcome import Outcome
from mcli.policy import TIMEOUT_CODE
from mcli.states import Reason, State

OWN_CODE: Final = 125
CANCELLED_CODE: Final = 143
"""Of a job that never began: as if SIGTERM had ended it."""


NEVER_RUN: Final = (Reason.NOT_REACHED, Reason.SPAWN_ERROR, Reason.INPUT_LOST)
"""The body was not begun, and nobody has asked for the end: its caller may still run it itself."""


def verdict(outcome: Outcome) -> dict[str, Any]:
    """The final state and its columns, as ``queue.finish`` takes them."""
    state, reason, code = _judge(outcome)
    kept = outcome.returned and outcome.result is not None
    return {
        "state": state,
        "reason": reason,
        "exit_code": code,
        "signal": outcome.signal,
        "result_json": json.dumps(outcome.result) if kept or outcome.has_result else None,
        "error": outcome.error,
    }


def _judge(outcome: Outcome) -> tuple[State, Reason | None, int | None]:
    code = outcome.exit_code
    if code == 0 and outcome.complete and outcome.reached:
        return State.SUCCEEDED, None, 0
    if outcome.reason == "user":
        return State.CANCELLED, Reason.USER, code
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
        "run_here": job.reason in NEVER_RUN and code == OWN_CODE,
    }
