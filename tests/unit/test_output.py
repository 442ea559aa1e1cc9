"""The record log: bytes exactly, in order, with time and stream, whoever reads and when."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcli.output import HEAD, Log, Record, read_records
from mcli.stream import Stream

PIECES = [
    (Stream.STDOUT, b"one\n"),
    (Stream.STDERR, bytes(range(256))),
    (Stream.STDOUT, b""),
    (Stream.TTY, b"x" * 1000),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "output.log")


@pytest.fixture
def log(path: str) -> Iterator[Log]:
    log = Log(path)
    yield log
    log.close()


def fill(log: Log) -> None:
    for stream, data in PIECES:
        log.append(stream, data)


def contents(records: list[Record]) -> list[tuple[Stream, bytes]]:
    return [(record.stream, record.data) for record in records]


def test_records_are_read_as_they_were_written(path: str, log: Log) -> None:
    """Every record comes back, in order, with its stream, each beginning where one ended."""
    fill(log)
    found = read_records(path)
    assert contents(found) == PIECES
    assert [record.offset for record in found] == [0, *(each.next_offset for each in found[:-1])]
    assert found[-1].next_offset == log.size == os.path.getsize(path)


def test_a_log_that_does_not_exist_yet_is_empty(path: str) -> None:
    """A job that has printed nothing has no records, and that is no error."""
    assert read_records(path) == []


def test_reading_goes_on_from_any_record(path: str, log: Log) -> None:
    """From the offset after a record come those behind it, and none twice."""
    fill(log)
    for at, record in enumerate(read_records(path), start=1):
        assert contents(read_records(path, record.next_offset)) == PIECES[at:]


@pytest.mark.parametrize("limit", [1, HEAD.size, HEAD.size + 4, 300, 1 << 20])
def test_a_limit_loses_nothing(path: str, log: Log, limit: int) -> None:
    """However little is read at a time, whole records come, at least one, until the end."""
    fill(log)
    found: list[Record] = []
    while block := read_records(path, found[-1].next_offset if found else 0, limit):
        found += block
    assert contents(found) == PIECES


def test_a_record_may_be_larger_than_the_limit(path: str, log: Log) -> None:
    """A record of several megabytes is read whole, alone."""
    data = os.urandom(3 << 20)
    log.append(Stream.STDOUT, data)
    log.append(Stream.STDOUT, b"next")
    (record,) = read_records(path)
    assert record.data == data


@pytest.mark.parametrize("kept", range(1, HEAD.size + 5, 3))
def test_a_record_cut_short_is_not_returned(path: str, log: Log, kept: int) -> None:
    """What a crash has left of the last record is as if it were not there."""
    log.append(Stream.STDOUT, b"whole")
    log.append(Stream.STDOUT, b"12345")
    os.truncate(path, HEAD.size + 5 + kept)
    assert contents(read_records(path)) == [(Stream.STDOUT, b"whole")]
    assert read_records(path, HEAD.size + 5) == []


def test_a_log_is_opened_again_at_its_end(path: str, log: Log) -> None:
    """Who carries on the log of another process adds to it."""
    fill(log)
    again = Log(path)
    assert again.size == log.size
    again.append(Stream.STDERR, b"more")
    again.close()
    assert contents(read_records(path)) == [*PIECES, (Stream.STDERR, b"more")]


@pytest.mark.parametrize("whole", [0, HEAD.size + 5])
def test_a_log_is_carried_on_before_a_cut_record(path: str, log: Log, whole: int) -> None:
    """Who carries on after a crash writes where the last whole record ends."""
    log.append(Stream.STDOUT, b"whole")
    log.append(Stream.STDOUT, b"12345")
    os.truncate(path, 2 * HEAD.size + 5 + 2)
    again = Log(path, whole=whole)
    again.append(Stream.STDERR, b"more")
    again.close()
    assert contents(read_records(path)) == [(Stream.STDOUT, b"whole"), (Stream.STDERR, b"more")]


def test_time_is_kept_to_the_microsecond(
    path: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record has the wall time at which it was written."""
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
    log.append(Stream.STDOUT, b"now")
    assert read_records(path)[0].time_s == pytest.approx(1_700_000_000.123456, abs=1e-6)


def test_nobody_else_may_read_it(path: str, log: Log) -> None:
    """Output may hold secrets: the file is its owner's only."""
    log.append(Stream.STDOUT, b"hush")
    assert os.stat(path).st_mode & 0o777 == 0o600
