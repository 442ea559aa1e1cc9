"""What ``mcli logs`` makes of records: last lines, and times before lines."""

import io

import pytest
from click.testing import CliRunner

from mcli.cli import main
from mcli.cli.logs import last_lines, latest, stamped, write
from mcli.output import Record
from mcli.stream import Stream


def records(*blocks: bytes) -> list[Record]:
    return [
        Record(at, at + 1, 1_700_000_000.25, Stream.STDOUT, block)
        for at, block in enumerate(blocks)
    ]


def tail(blocks: tuple[bytes, ...], count: int) -> bytes:
    return b"".join(each.data for each in last_lines(latest(records(*blocks), count), count))


@pytest.mark.parametrize(
    ("blocks", "count", "shown"),
    [
        ((b"1\n2\n3\n",), 2, b"2\n3\n"),
        ((b"1\n2\n3",), 2, b"2\n3"),
        ((b"1\n", b"2\n", b"3\n"), 1, b"3\n"),
        ((b"1\n2", b"2", b"2\n3\n"), 2, b"222\n3\n"),
        ((b"1\n", b"\n", b"\n"), 2, b"\n\n"),
        ((b"1\r2\r3\n",), 1, b"1\r2\r3\n"),
        ((b"1\n2\n",), 9, b"1\n2\n"),
        ((b"1\n2\n",), 0, b""),
        ((), 3, b""),
    ],
)
def test_tail_keeps_the_last_lines(blocks: tuple[bytes, ...], count: int, shown: bytes) -> None:
    """Lines count across records; a last one without newline counts as well."""
    assert tail(blocks, count) == shown


def test_tail_does_not_keep_the_whole_log() -> None:
    """Only as many records as hold the lines are kept in memory."""
    many = records(*[b"line\n"] * 1000)
    assert len(latest(iter(many), 3)) <= 4


def test_a_time_stands_before_each_line() -> None:
    """Each line begins with one time, also when its text came in pieces."""
    lines = b"".join(stamped(records(b"a\nb", b"c\rd\n", b"e"))).split(b"\n")
    assert [line.partition(b" ")[2] for line in lines] == [b"a", b"bc\rd", b"e"]
    assert all(line.partition(b" ")[0].endswith(b":20.250") for line in lines)


def test_bytes_are_written_unchanged() -> None:
    """Without times the bytes are those that were printed."""
    out = io.BytesIO()
    write(records(b"\xff\x00\r\n", b"\x1b[1m"), timestamps=False, out=out)
    assert out.getvalue() == b"\xff\x00\r\n\x1b[1m"


def test_both_streams_by_name_are_a_usage_error() -> None:
    """--stdout and --stderr together are refused: exit 2, and a line that says what to do."""
    done = CliRunner().invoke(main, ["logs", "-", "--stdout", "--stderr"])
    assert done.exit_code == 2
    assert "--stdout and --stderr exclude each other" in done.output
