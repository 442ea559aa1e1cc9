"""From what a process did to what is said of its job, and what its caller does then."""

from typing import Any

import pytest

from mcli.daemon.verdict import ending, ending_of
from mcli.ids import new_id
from mcli.job import JobInfo
from mcli.outcome import Outcome
from mcli.states import Reason, State

F = State.FAILED

VERDICTS: list[tuple[dict[str, Any], tuple[State, Reason | None, int | None]]] = [
    ({"exit_code": 0, "complete": True}, (State.SUCCEEDED, None, 0)),
    # It came to its own good end before what was to end it did.
    ({"exit_code": 0, "complete": True, "reason": "user"}, (State.SUCCEEDED, None, 0)),
    ({"exit_code": 0, "complete": True, "reason": "timeout"}, (State.SUCCEEDED, None, 0)),
    # Code 0 without having come to its end: os._exit in a library, say.
    ({"exit_code": 0}, (F, Reason.NO_OUTCOME, 0)),
    ({"exit_code": 0, "complete": True, "reached": False}, (F, Reason.NOT_REACHED, 125)),
    ({"exit_code": 3, "reached": False}, (F, Reason.NOT_REACHED, 125)),
    ({"exit_code": 3, "complete": True}, (F, Reason.EXIT_NONZERO, 3)),
    ({"exit_code": 1, "complete": True, "error": "Traceback"}, (F, Reason.EXCEPTION, 1)),
    ({"signal": 9}, (F, Reason.SIGNAL, None)),
    ({"signal": 9, "reason": "timeout"}, (F, Reason.TIMEOUT, 124)),
    ({"exit_code": 1, "reason": "timeout"}, (F, Reason.TIMEOUT, 124)),
    ({"signal": 15, "reason": "user"}, (State.CANCELLED, Reason.USER, None)),
    ({"exit_code": 1, "reason": "user"}, (State.CANCELLED, Reason.USER, 1)),
    ({"exit_code": 127, "reason": "spawn_error"}, (F, Reason.SPAWN_ERROR, 127)),
    ({"reached": False, "reason": "input_lost"}, (F, Reason.INPUT_LOST, None)),
]


def info(**fields: Any) -> JobInfo:
    known: dict[str, Any] = {"id": new_id(), "name": "x", "argv": [], "cwd": "/", "app": "x"}
    return JobInfo(**known, created_at=0.0, **fields)


@pytest.mark.parametrize(("did", "said"), VERDICTS, ids=str)
def test_verdict(did: dict[str, Any], said: tuple[State, Reason | None, int | None]) -> None:
    """Success is code 0 at the body's regular end; all else failed or was cancelled, and why."""
    end = ending_of(info(state=State.RUNNING), Outcome(**did))
    assert (end.state, end.reason, end.exit_code) == said
    assert (end.signal, end.error) == (did.get("signal"), did.get("error"))


@pytest.mark.parametrize(
    ("did", "json_text"),
    [
        ({"returned": True, "has_result": True, "result": {"a": [1]}}, '{"a": [1]}'),
        ({"returned": True, "has_result": True, "result": None}, "null"),
        ({"returned": True, "has_result": False, "result": "<object>"}, '"<object>"'),
        ({"returned": False}, None),
        ({"returned": True}, None),
    ],
    ids=str,
)
def test_result_is_kept_as_json(did: dict[str, Any], json_text: str | None) -> None:
    """A returned None is a result; a body that did not return has none."""
    outcome = Outcome(exit_code=0, complete=True, **did)
    assert ending_of(info(state=State.RUNNING), outcome).result_json == json_text


ENDINGS: list[tuple[dict[str, Any], tuple[int, int | None], str]] = [
    ({"state": State.SUCCEEDED, "exit_code": 0}, (0, None), ""),
    ({"state": F, "reason": Reason.EXIT_NONZERO, "exit_code": 3}, (3, None), ""),
    ({"state": F, "reason": Reason.SIGNAL, "signal": 9}, (137, 9), ""),
    ({"state": State.CANCELLED, "reason": Reason.USER, "signal": 15}, (143, 15), ""),
    (
        {"state": State.CANCELLED, "reason": Reason.USER},
        (143, None),
        "was cancelled before it began",
    ),
    ({"state": F, "reason": Reason.SPAWN_ERROR, "error": "why"}, (125, None), "why"),
    (
        {"state": F, "reason": Reason.TIMEOUT, "exit_code": 124, "signal": 15, "timeout_s": 1.5},
        (124, None),
        "was ended after its timeout of 1.5 s",
    ),
    ({"state": State.LOST, "reason": Reason.WORKER_LOST}, (125, None), "is lost"),
    ({"state": F, "reason": Reason.INPUT_LOST, "error": "gone"}, (125, None), "gone"),
]


@pytest.mark.parametrize(("job", "end", "said"), ENDINGS, ids=str)
def test_ending(job: dict[str, Any], end: tuple[int, int | None], said: str) -> None:
    """The caller ends as its job did; where it cannot, it says why, in one line."""
    told = ending(info(**job))
    assert (told["exit_code"], told["die_by"]) == end
    assert said in (told["message"] or "")
    assert bool(said) == bool(told["message"])


@pytest.mark.parametrize(
    ("job", "here"),
    [
        ({"state": F, "reason": Reason.NOT_REACHED, "exit_code": 125}, True),
        ({"state": F, "reason": Reason.SPAWN_ERROR}, True),
        ({"state": F, "reason": Reason.INPUT_LOST}, True),
        ({"state": F, "reason": Reason.SPAWN_ERROR, "exit_code": 127}, False),
        ({"state": F, "reason": Reason.SPAWN_ERROR, "attempt": 2}, False),
        ({"state": F, "reason": Reason.SPAWN_ERROR, "attempt": 2, "revoked": 1}, True),
        ({"state": F, "reason": Reason.EXIT_NONZERO, "exit_code": 125}, False),
        ({"state": State.CANCELLED, "reason": Reason.USER}, False),
        ({"state": State.LOST, "reason": Reason.WORKER_LOST}, False),
    ],
    ids=str,
)
def test_only_what_never_began_may_be_run_by_its_caller(job: dict[str, Any], here: bool) -> None:
    """The caller runs a body itself if it surely has not run, and nobody asked for its end."""
    assert ending(info(**job))["run_here"] is here
