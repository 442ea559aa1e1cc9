"""The outcome file: whole or not there."""

import json
import os
from pathlib import Path

import pytest

from mcli.outcome import Outcome, outcome_path, read_outcome, write_outcome

CASES = [
    Outcome(),
    Outcome(exit_code=0, returned=True, complete=True, result={"a": [1, None]}, has_result=True),
    Outcome(signal=9, reason="timeout", worker_pid=1, pid=2),
    Outcome(exit_code=1, error="Traceback …\n\udcff", reached=False),
]


@pytest.mark.parametrize("written", CASES)
def test_it_is_read_as_it_was_written(tmp_path: Path, written: Outcome) -> None:
    """All fields come back, whatever the text in them; the draft is gone."""
    write_outcome(str(tmp_path), 3, written)
    assert read_outcome(str(tmp_path), 3) == written
    assert os.listdir(tmp_path) == ["3.outcome"]


def test_what_a_later_version_says_more(tmp_path: Path) -> None:
    """It is left out, and the rest is read."""
    told = {"exit_code": 7, "complete": True, "weather": "fine"}
    Path(outcome_path(str(tmp_path), 1)).write_text(json.dumps(told))
    assert read_outcome(str(tmp_path), 1) == Outcome(exit_code=7, complete=True)


def test_there_is_none_before_it_is_written(tmp_path: Path) -> None:
    """No file is no outcome; that of another attempt is not this one's."""
    write_outcome(str(tmp_path), 1, Outcome(exit_code=0))
    assert read_outcome(str(tmp_path), 2) is None


def test_the_later_one_replaces_the_earlier(tmp_path: Path) -> None:
    """The worker completes what the job has written: the file is replaced as a whole."""
    write_outcome(str(tmp_path), 1, Outcome(result="x" * 9999))
    write_outcome(str(tmp_path), 1, Outcome(signal=11))
    assert read_outcome(str(tmp_path), 1) == Outcome(signal=11)


def test_a_failure_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot be made durable, the one in its place is untouched."""

    def fail(_fd: int) -> None:
        raise OSError("disk full")

    write_outcome(str(tmp_path), 1, Outcome(exit_code=4))
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_outcome(str(tmp_path), 1, Outcome(exit_code=5))
    assert read_outcome(str(tmp_path), 1) == Outcome(exit_code=4)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """Results may hold secrets: the file is its owner's only."""
    write_outcome(str(tmp_path), 1, Outcome())
    assert os.stat(outcome_path(str(tmp_path), 1)).st_mode & 0o777 == 0o600
