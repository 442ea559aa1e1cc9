"""The record log: bytes exactly, in order, with time and stream, whoever reads and when."""

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcli import output
from mcli.output import HEAD, Log, Record, last_words, read_records
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
    log.close()
    again = Log(path)
    assert again.size == log.size
    again.append(Stream.STDERR, b"more")
    again.close()
    assert contents(read_records(path)) == [*PIECES, (Stream.STDERR, b"more")]


def test_a_log_has_one_writer(path: str, log: Log) -> None:
    """Who comes second is refused, until the first has closed it."""
    with pytest.raises(BlockingIOError):
        Log(path)
    log.close()
    Log(path).close()


@pytest.mark.parametrize("whole", [0, HEAD.size + 5])
def test_a_log_is_carried_on_before_a_cut_record(path: str, log: Log, whole: int) -> None:
    """Who carries on after a crash keeps what there is of the last record, and goes on behind."""
    log.append(Stream.STDOUT, b"whole")
    log.append(Stream.STDOUT, b"12345")
    os.truncate(path, 2 * HEAD.size + 5 + 2)
    log.close()
    again = Log(path, whole=whole)
    again.append(Stream.STDERR, b"more")
    again.close()
    kept = [(Stream.STDOUT, b"whole"), (Stream.STDOUT, b"12"), (Stream.STDERR, b"more")]
    assert contents(read_records(path)) == kept


@pytest.mark.parametrize("part", [1, HEAD.size])
def test_a_head_alone_is_cut_off(path: str, log: Log, part: int) -> None:
    """Of a record without data nothing is kept."""
    log.append(Stream.STDOUT, b"whole")
    log.append(Stream.STDOUT, b"12345")
    os.truncate(path, HEAD.size + 5 + part)
    log.close()
    again = Log(path)
    again.append(Stream.STDERR, b"more")
    again.close()
    assert contents(read_records(path)) == [(Stream.STDOUT, b"whole"), (Stream.STDERR, b"more")]


# Moving what a pipe has ----------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_a_pipe_has_is_one_record(path: str, log: Log, pipe: tuple[int, int]) -> None:
    """All that waits in a pipe becomes a record; nothing waits: no record, and no waiting."""
    reader, writer = pipe
    os.write(writer, b"one\n")
    os.write(writer, b"two\n")
    assert log.move(Stream.STDERR, reader, 1 << 20)
    assert not log.move(Stream.STDERR, reader, 1 << 20)
    assert contents(read_records(path)) == [(Stream.STDERR, b"one\ntwo\n")]
    assert log.size == os.path.getsize(path)


def test_no_more_is_moved_than_asked_for(path: str, log: Log, pipe: tuple[int, int]) -> None:
    """The rest stays in the pipe."""
    reader, writer = pipe
    os.write(writer, b"123456")
    assert log.move(Stream.STDOUT, reader, 4)
    assert os.read(reader, 100) == b"56"


def test_full_disk_leaves_the_rest_in_the_pipe(path: str, log: Log, pipe: tuple[int, int]) -> None:
    """What the disk takes is a whole record; the rest can still be read from the pipe."""
    reader, writer = pipe
    os.write(writer, b"x" * 5000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.move(Stream.STDOUT, reader, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = b"".join(record.data for record in read_records(path))
    assert kept + os.read(reader, 1 << 20) == b"x" * 5000
    assert log.size == os.path.getsize(path)


BLOCKS = [b"%07d\n" % number * 4096 for number in range(200)]
"""More than a pipe holds in each: whoever moves them is never idle."""


@pytest.mark.parametrize("at", range(0, 150, 5))
def test_killed_writer_loses_nothing(path: str, pipe: tuple[int, int], at: int) -> None:
    """A writer that is killed at any moment has taken nothing along; the next one goes on."""
    reader, writer = pipe
    mark, marked = os.pipe()
    producer = os.fork()
    if producer == 0:
        for number, block in enumerate(BLOCKS):
            os.write(writer, block)
            if number == at:
                os.write(marked, b"!")
        os._exit(0)
    mover = os.fork()
    if mover == 0:
        log = Log(path)
        while select.select([reader], [], []):
            log.move(Stream.STDOUT, reader, 1 << 16)
    os.read(mark, 1)
    os.kill(mover, signal.SIGKILL)
    os.waitpid(mover, 0)
    log = Log(path)
    while os.waitpid(producer, os.WNOHANG) == (0, 0):
        log.move(Stream.STDOUT, reader, 1 << 16)
    while log.move(Stream.STDOUT, reader, 1 << 16):
        pass
    log.close()
    os.close(mark)
    os.close(marked)
    records: list[Record] = []
    while found := read_records(path, records[-1].next_offset if records else 0):
        records += found
    assert b"".join(each.data for each in records) == b"".join(BLOCKS)


TYPER = "import typer\ndef main(): raise typer.BadParameter('too ' + 'long ' * 20)\ntyper.run(main)"
CLICK = TYPER.replace("typer.run(main)", "click.command(main)()").replace("typer", "click")


@pytest.mark.parametrize("program", [TYPER, CLICK])
def test_last_words_are_the_error_that_was_told(log: Log, path: str, program: str) -> None:
    """Click tells an error in a line, Typer in a box: it is the same line."""
    env = os.environ | {"PYTHONIOENCODING": "utf-8"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, check=False
    )
    log.append(Stream.STDERR, told.stderr)
    log.append(Stream.STDOUT, b"bye\n")
    text = "too " + "long " * 20
    assert last_words(path, Stream.STDERR) == f"Error: Invalid value: {text.strip()}"


# More than is kept --------------------------------------------------------------------------

MOST = 1 << 20
LINE = 1000


def line(number: int) -> bytes:
    return b"%0*d\n" % (LINE - 1, number)


def numbers(records: list[Record]) -> list[int]:
    return [int(record.data) for record in records if record.data]


def everything(path: str) -> list[Record]:
    found: list[Record] = []
    while block := read_records(path, found[-1].next_offset if found else 0):
        found += block
    return found


def test_first_and_last_are_kept(tmp_path: Path) -> None:
    """
    Of too much output both ends are kept, at their offsets; between them stands one record that
    says how many bytes are missing, and the disk has them back.
    """
    path = str(tmp_path / "output.log")
    log = Log(path, most=MOST)
    offsets = {}
    for number in range(5000):
        offsets[number] = log.size
        log.append(Stream.STDOUT, line(number))
    found = everything(path)
    (gap,) = [record for record in found if record.stream is Stream.GAP]
    kept = numbers(found)
    assert kept[0] == 0
    assert kept[-1] == 4999
    assert gap.missing == (5000 - len(kept)) * LINE
    assert gap.data == b""
    assert all(record.offset == offsets[int(record.data)] for record in found if record.data)
    assert 0.8 * MOST < len(kept) * LINE < MOST
    assert os.stat(path).st_blocks * 512 <= MOST + 4 * 4096
    assert os.stat(path).st_size == log.size
    log.close()


def test_reader_that_keeps_up_misses_nothing(tmp_path: Path) -> None:
    """
    Who reads behind the writer, less than half of what is kept behind it, is given every record.
    """
    path = str(tmp_path / "output.log")
    log = Log(path, most=MOST)
    offset, seen = 0, []
    for number in range(5000):
        log.append(Stream.STDOUT, line(number))
        if number % 300 == 0:
            records = read_records(path, offset)
            seen += numbers(records)
            offset = records[-1].next_offset
    seen += numbers(read_records(path, offset))
    assert seen == list(range(5000))
    log.close()


def test_reader_inside_what_is_cut(tmp_path: Path) -> None:
    """
    A reader that was too slow is told about how much it has missed, and goes on behind that.
    """
    path = str(tmp_path / "output.log")
    log = Log(path, most=MOST)
    for number in range(5000):
        if number == 2000:
            offset = log.size
        log.append(Stream.STDOUT, line(number))
    gap, following = read_records(path, offset)[0], numbers(everything(path))
    assert gap.stream is Stream.GAP
    first = numbers(read_records(path, gap.next_offset))[0]
    assert abs(gap.missing - (first - 2000) * LINE) <= LINE
    assert first in following
    log.close()


def test_log_that_is_cut_is_written_on(tmp_path: Path) -> None:
    """
    The next writer finds the end behind the hole, and goes on cutting.
    """
    path = str(tmp_path / "output.log")
    number = 0
    for _ in range(4):
        log = Log(path, most=MOST)
        for _ in range(1500):
            log.append(Stream.STDOUT, line(number))
            number += 1
        log.close()
    found = everything(path)
    kept = numbers(found)
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 5999)
    assert sum(record.missing for record in found) == (6000 - len(kept)) * LINE
    assert os.stat(path).st_blocks * 512 <= MOST + 4 * 4096


def test_records_are_whole_while_others_are_cut(tmp_path: Path) -> None:
    """
    A reader that the hole overtakes is never given what is no longer there as if it were output.
    """
    path = str(tmp_path / "output.log")
    Log(path).close()
    writer = os.fork()
    if writer == 0:
        log = Log(path, most=MOST)
        for number in range(30_000):
            log.append(Stream.STDOUT, line(number))
        os._exit(0)
    size, at, overtaken = LINE + HEAD.size, 0, 0
    while at < 30_000:
        for start in (at, max(0, at - 480), max(0, at - 2000)):  # at the edge of what is kept, too
            for record in read_records(path, start * size, 1 << 17):
                if record.stream is Stream.GAP:
                    overtaken += 1
                else:
                    assert record.data == line(record.offset // size)
                at = max(at, record.next_offset // size)
    assert overtaken
    assert os.waitpid(writer, 0)[1] == 0


def test_cut_in_the_middle_of_a_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is cut between the question what is missing and the reading is not taken for output.
    """
    log = Log(path, most=MOST)
    for number in range(1000):
        log.append(Stream.STDOUT, line(number))
    found = output._found

    def late(*given: Any) -> list[Record]:
        monkeypatch.setattr(output, "_found", found)
        for number in range(1000, 4000):
            log.append(Stream.STDOUT, line(number))
        return found(*given)

    monkeypatch.setattr(output, "_found", late)
    (gap,) = read_records(path, 800 * (LINE + HEAD.size))
    first = numbers(read_records(path, gap.next_offset))[0]
    assert abs(gap.missing - (first - 800) * LINE) <= LINE
    log.close()


def test_pipe_is_cut_as_well(tmp_path: Path) -> None:
    """
    What is moved from a pipe is limited like what is appended.
    """
    path = str(tmp_path / "output.log")
    log = Log(path, most=MOST)
    reader, writer = os.pipe()
    for number in range(5000):
        os.write(writer, line(number))
        assert log.move(Stream.STDERR, reader, 1 << 18)
    kept = numbers(everything(path))
    assert (kept[0], kept[-1]) == (0, 4999)
    assert os.stat(path).st_blocks * 512 <= MOST + 4 * 4096
    for fd in (reader, writer):
        os.close(fd)
    log.close()


def test_where_no_hole_can_be_made(tmp_path: Path) -> None:
    """
    On a file system without holes the first part is kept, and what comes after that is counted.
    """
    words = ["mount", "-t", "ramfs", "none", str(tmp_path)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    try:
        path = str(tmp_path / "output.log")
        log = Log(path, most=MOST)
        for number in range(5000):
            log.append(Stream.STDOUT, line(number))
        found = everything(path)
        kept = numbers(found)
        assert kept == list(range(len(kept)))
        assert 0.8 * MOST < len(kept) * LINE <= 1.1 * MOST
        assert sum(record.missing for record in found) == (5000 - len(kept)) * LINE
        log.close()
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_log_truncated_under_its_writer(tmp_path: Path) -> None:
    """
    The writer goes on where it was; readers are told of a gap, and go on behind it.
    """
    path = str(tmp_path / "output.log")
    log = Log(path)
    for number in range(50):
        log.append(Stream.STDOUT, line(number))
    os.truncate(path, 0)
    assert log.lost() == log.size
    assert read_records(path) == []
    for number in range(50, 60):
        log.append(Stream.STDOUT, line(number))
    gap, *rest = everything(path)
    assert (gap.stream, gap.missing) == (Stream.GAP, 50 * (LINE + 16))
    assert numbers(rest) == list(range(50, 60))
    log.close()


def test_a_log_is_closed_once(tmp_path: Path) -> None:
    """A second time its descriptor may be another file's."""
    log = Log(str(tmp_path / "output.log"))
    log.close()
    with open(tmp_path / "other", "wb", buffering=0) as other:
        log.close()
        assert other.write(b"x") == 1
