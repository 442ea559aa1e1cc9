"""A job as a value: its id, its document, and what it does not tell."""

import json
import uuid
from typing import Any

import pytest

from mcli import ids
from mcli.ids import is_id, new_id
from mcli.job import JobInfo, timestamp
from mcli.states import Reason, State

KEYS = [
    *("id", "name", "state", "reason", "exit_code", "signal", "attempt", "argv", "cwd"),
    *("created_at", "started_at", "finished_at", "run_s", "result", "error", "worker_pid", "pid"),
    *("app", "command", "timeout_s", "queued_at", "route", "source", "max_attempts", "due_at"),
    "condition",
]


ID = "0190163d-8694-739b-aea5-966c26f8ad91"
RANDOM = "cd518550-0558-4dec-b44c-abe6756d1fe5"
"""Of version 4."""


def info(**fields: Any) -> JobInfo:
    known: dict[str, Any] = {
        "id": new_id(),
        "name": "load",
        "state": State.QUEUED,
        "argv": ["app.py"],
    }
    return JobInfo(**(known | {"cwd": "/", "created_at": 0.0, "app": "app.py"} | fields))


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The clock's nanoseconds, to be set by the test; the order of ids begins anew."""
    now = [1_700_000_000_123_000_000]
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    return now


def test_id_is_a_uuid_of_version_7(stopped_clock: list[int]) -> None:
    """The id is a UUIDv7 in lower case whose first 48 bits are the time in milliseconds."""
    made = new_id()
    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert made == made.lower()
    assert len(made) == 36
    assert uuid.UUID(made).int >> 80 == stopped_clock[0] // 1_000_000


def test_ids_of_one_millisecond_sort(stopped_clock: list[int]) -> None:
    """Ids made while the clock stands still are all different, and sort as they were made."""
    made = [new_id() for _ in range(2000)]
    assert made == sorted(set(made))


def test_ids_sort_when_the_clock_is_set_back(stopped_clock: list[int]) -> None:
    """An id made after the clock was set back still sorts after those before."""
    before = new_id()
    stopped_clock[0] -= 3_600 * 10**9
    assert new_id() > before


@pytest.mark.parametrize(
    "text",
    ["", "../../etc", "0" * 36, ID.upper(), ID + "/..", ID[:-1], ID + "0", RANDOM],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """Only a whole id of version 7 in lower case may name a job's directory."""
    assert not is_id(text)


def test_a_made_id_is_an_id() -> None:
    """What ``new_id`` makes is accepted."""
    assert is_id(new_id())


def test_document_has_its_keys_in_order() -> None:
    """The document has every key, in the documented order, whatever is known."""
    assert list(info().document()) == KEYS


def test_document_shows_words_and_times() -> None:
    """States and reasons are words, times RFC 3339 in UTC with milliseconds."""
    ended = info(
        state=State.FAILED, reason=Reason.SIGNAL, started_at=1.25, finished_at=3.0, signal=9
    )
    shown = json.loads(json.dumps(ended.document()))
    assert (shown["state"], shown["reason"], shown["run_s"]) == ("failed", "signal", 1.75)
    assert shown["started_at"] == "1970-01-01T00:00:01.250Z"


def test_document_can_always_be_encoded() -> None:
    """Bytes that are no UTF-8, in arguments, paths and results, are spelled out."""
    odd = info(argv=["\udcff"], cwd="/\udcfe", result={"\ud800": ["\udfff"]}, has_result=True)
    shown = odd.document()
    json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
    assert shown["argv"] == ["\\udcff"]


def test_time_is_rounded_before_it_is_split() -> None:
    """999.6 milliseconds are the next second, not 1000 milliseconds."""
    assert timestamp(1.9996) == "1970-01-01T00:00:02.000Z"
    assert timestamp(None) is None


def test_run_time_needs_both_ends() -> None:
    """A job that runs or never began has no run time; a clock set back makes it 0, not less."""
    assert info(started_at=1.0).run_s is None
    assert info(finished_at=1.0).run_s is None
    assert info(started_at=2.0, finished_at=1.0).run_s == 0.0


def test_repr_hides_arguments() -> None:
    """Arguments, results and errors may hold secrets and are not printed by accident."""
    secret = info(argv=["app.py", "--password=hush"], error="hush", result="hush")
    assert "hush" not in repr(secret)
