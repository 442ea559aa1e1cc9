"""A short storm; the long one is ``python -m tests.chaos``. And that its judge can see."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pytest

from .judge import Deaths, Job, Line, judge
from .storm import Storm
from .table import put_into, summary, table

SECONDS = 8.0
STAMP = "2026-11-22T02:40:3{}.000Z"
SECOND = 1_795_315_230.0
"""Unix time of second 0 of ``STAMP``."""


def test_a_short_storm(tmp_path: Path) -> None:
    """Nothing is lost, run twice, said wrongly or missing, whatever is killed."""
    storm = Storm(tmp_path, seed=4, clients=2)
    verdict = storm.run(SECONDS)
    assert verdict.clean, list(summary(verdict))
    assert storm.daemon_kills > 1
    assert verdict.accepted


# The judge -------------------------------------------------------------------------------


def job(state: str = "succeeded", *, command: str = "work", **fields: Any) -> Job:
    document = {
        "id": "x",
        "argv": [command, "--", "c1.1", "3", "0"],
        "state": state,
        "reason": None if state == "succeeded" else "exit_nonzero",
        "exit_code": 0 if state == "succeeded" else 3,
        "error": None,
        "route": "daemon",
        "source": "python",
        "attempt": 1,
        "pid": 7,
        "worker_pid": 6,
        "created_at": STAMP.format(0),
        "started_at": STAMP.format(1),
        "finished_at": STAMP.format(2),
    } | fields
    return Job(document, [document])


def line(kind: str, attempt: int = 1) -> Line:
    return Line(kind, "c1.1", "x", attempt, 7, SECOND + 1.5, 0)


RIGHT = [line("S"), line("E")]
TOLD = [["A", "c1.1", "x"]]


def found(
    ledger: list[Line],
    jobs: list[Job],
    notes: list[list[str]] = TOLD,
    killed: Mapping[int, list[float]] | None = None,
    gone: Set[str] = frozenset(),
    asked: Set[str] = frozenset(),
) -> list[str]:
    verdict = judge(ledger, notes, jobs, Deaths(killed or {}, gone, asked))
    return sorted(kind for kind, each in verdict.wrong.items() if each)


def test_what_is_right_is_found_right() -> None:
    """Begun once, ended, and said so."""
    assert found(RIGHT, [job()]) == []


@pytest.mark.parametrize(
    ("ledger", "jobs", "notes", "wrong"),
    [
        ([], [], TOLD, ["accepted and lost"]),
        ([line("S"), *RIGHT], [job()], TOLD, ["run twice"]),
        ([line("S", 0), *RIGHT], [job()], TOLD, ["run twice"]),
        (RIGHT, [job()], [["N", "c1.1"]], ["refused, and run"]),
        ([line("S")], [job()], TOLD, ["shown as done and is not"]),
        (RIGHT, [job("failed")], TOLD, ["shown as dead, and nobody killed it"]),
        ([], [job("queued", pid=None, finished_at=None)], [], ["stuck"]),
        (
            [line("S")],
            [job("lost")],
            TOLD,
            ["lost, and nobody killed it", "shown as dead, and nobody killed it"],
        ),
        (RIGHT, [job("failed", command="again")], TOLD, ["given up too early"]),
        (RIGHT, [job()], [["X", "c1.1", "0", "0"]], ["a run that ended well, and did not"]),
        ([], [], [["X", "c1.1", "0", "1"]], ["a run that ended well, and did not"]),
        (RIGHT, [job()], [["X", "c1.1", "3", "1"]], ["a run that ended badly, and did not"]),
        ([], [], [["X", "c1.1", "3", "0"]], ["a run that ended badly, and did not"]),
        (RIGHT, [], [["X", "c1.1", "125", "0"]], ["a run that ended badly, and did not"]),
        ([], [job("cancelled")], [], ["cancelled, and nobody has asked"]),
        ([line("S")], [job(route="local")], [], ["shown as done and is not"]),
        (
            [line("S")._replace(time_s=SECOND + 3), line("E")],
            [job()],
            TOLD,
            ["begun after its end"],
        ),
        (RIGHT, [Job(job().document, [], missing="1 of 2 bytes")], TOLD, ["bytes missing"]),
    ],
)
def test_what_is_wrong_is_found(
    ledger: list[Line], jobs: list[Job], notes: list[list[str]], wrong: list[str]
) -> None:
    """Each kind of it."""
    assert found(ledger, jobs, notes) == wrong


def test_who_is_told_that_nothing_is_known_or_was_run_is_told_the_truth() -> None:
    """Whatever has become of the first; nothing may have begun for the second."""
    assert found(RIGHT, [job()], [["X", "c1.1", "75", "0"]]) == []
    assert found([], [], [["X", "c1.1", "125", "0"]]) == []


def test_who_was_killed_may_be_dead() -> None:
    """If it was killed while it ran: later the number may be another process's."""
    assert found([line("S")], [job("lost")], killed={7: [SECOND + 1.5]}) == []
    assert found([line("S")], [job("lost")], killed={7: [SECOND + 60]}) != []
    assert found([line("S")], [job("lost", pid=None)], killed={7: [SECOND + 1.5]}) == []


def attempt(**fields: Any) -> dict[str, Any]:
    return dict(job("failed", reason="signal").document) | fields


@pytest.mark.parametrize(
    ("killed", "down", "unread"),
    [
        ({}, [(SECOND, SECOND + 3)], False),
        ({6: [SECOND + 1.2], 7: [SECOND + 1.5]}, [(SECOND + 1.4, SECOND + 1.9)], True),
        ({6: [SECOND + 1.2], 7: [SECOND + 1.5]}, [(SECOND + 1.8, SECOND + 1.9)], False),
        ({6: [SECOND + 1.2], 7: [SECOND + 1.5]}, [], False),
        ({6: [SECOND + 1.2]}, [(SECOND + 1.8, SECOND + 1.9)], True),
        ({7: [SECOND + 1.5]}, [(SECOND + 1.4, SECOND + 1.9)], False),
        ({6: [SECOND + 1.9], 7: [SECOND + 1.2]}, [(SECOND + 1, SECOND + 1.4)], False),
    ],
)
def test_bytes_may_be_missing_only_if_nobody_was_left_to_read_them(
    killed: dict[int, list[float]], down: list[tuple[float, float]], unread: bool
) -> None:
    """Neither its worker, which was killed, nor a daemon when it ended."""
    assert Deaths(killed, down=down).unread(attempt()) is unread


def test_an_end_is_told_soon() -> None:
    """Within 5 s after it could be known; not counted from before the storm was over."""
    late = job(finished_at=STAMP.format(9))
    found_late = judge(RIGHT, TOLD, [late], Deaths({}, calm_s=SECOND + 2)).wrong["told late"]
    assert len(found_late) == 1
    assert judge(RIGHT, TOLD, [late], Deaths({}, calm_s=SECOND + 5)).clean
    killed = job("failed", reason="signal", finished_at=STAMP.format(9))
    deaths = Deaths({7: [SECOND + 1.6]}, calm_s=SECOND + 2)
    assert len(judge([line("S")], TOLD, [killed], deaths).wrong["told late"]) == 1


def test_who_was_asked_to_end_may_have() -> None:
    """Cancelled, or with its true result; lost only if nobody was left who had seen its end."""
    asked = {"x"}
    assert found([], [job("cancelled")], asked=asked) == []
    assert found(RIGHT, [job()], asked=asked) == []
    assert found([line("S")], [job()], asked=asked) == ["shown as done and is not"]
    assert found([line("S")], [job("lost")], killed={6: [SECOND + 1.5]}, asked=asked) == []
    assert "lost, and nobody killed it" in found([line("S")], [job("lost")], asked=asked)


def test_who_printed_to_a_dead_caller_may_be_dead() -> None:
    """One that is waited for has nobody left to print to; one that is not, writes on.

    That its worker was killed is no excuse: others read then.
    """
    wrong = ["shown as dead, and nobody killed it"]
    waited = job("failed", source="cli")
    assert found([line("S")], [waited], gone={"c1"}) == []
    assert found([line("S")], [waited], gone={"c2"}) == wrong
    assert found([line("S")], [waited], killed={6: [SECOND + 1.5]}) == wrong
    assert found([line("S")], [job("failed")], gone={"c1"}) == wrong


def test_recovery_is_what_was_claimed_after_the_fault() -> None:
    """A body that begins after it, and was claimed before, is the work of who is dead now."""
    early = job(started_at=STAMP.format(0)), line("S")._replace(time_s=SECOND + 1.1)
    later = job(started_at=STAMP.format(2), attempt=2), line("S", 2)._replace(time_s=SECOND + 3)
    verdict = judge([early[1], later[1]], [], [early[0], later[0]], Deaths({}))
    made = table({"kill": [SECOND + 1, SECOND + 1]}, verdict)
    assert "| 2.00 s / 2.00 s / 2.00 s |" in made


def test_the_table_holds_a_wrong_against_the_faults_that_hit_its_job(tmp_path: Path) -> None:
    """And counts the jobs that each fault could have harmed."""
    verdict = judge([line("S"), *RIGHT], TOLD, [job()], Deaths({}))
    made = table({"near": [SECOND + 1], "far": [SECOND + 9]}, verdict)
    assert "| near | 1 | 1 | 0 | 1 | 0 | 0 | - | - |" in made
    assert "| far | 1 | 0 | 0 | 0 | 0 | 0 | - | 100.00 % |" in made
    assert "| **all** | 2 | 1 | 0 | 1 | 0 | 0 | - | - |" in made
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- storm -->\nold\n<!-- /storm -->\nafter\n")
    put_into(page, made)
    assert page.read_text() == f"before\n<!-- storm -->\n{made}\n<!-- /storm -->\nafter\n"
