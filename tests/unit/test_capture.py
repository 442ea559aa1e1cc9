"""What a job prints on its way into its log, when whoever moves it is killed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcli.capture import Capture
from mcli.output import read_records, waiting
from mcli.stream import Stream

MARK = b"\x02mcli 0123456789abcdef\x03"
OUT = Stream.STDOUT


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def muted(folder: Path) -> Capture:
    return Capture(str(folder), muted=[OUT], unmute=MARK)


def printed(folder: Path) -> bytes:
    return b"".join(record.data for record in read_records(str(folder / "output.log")))


@pytest.mark.parametrize("before", [b"", b"before\n", MARK[:-1], MARK[:7] * 3, b"x" * 60_000])
def test_what_follows_the_mark_is_never_taken_along(
    pipe: tuple[int, int], tmp_path: Path, before: bytes
) -> None:
    """
    The mark has been read, and nothing after it: that goes straight from the pipe into the log,
    whoever does it.
    """
    reader, writer = pipe
    os.write(writer, before + MARK + b"after\n")
    killed = muted(tmp_path)
    killed.read(OUT, reader)
    assert killed.heard
    assert waiting(reader) == len(b"after\n")
    killed.log.close()
    later = Capture(str(tmp_path))
    later.catch_up(OUT, reader)
    later.log.close()
    assert printed(tmp_path) == b"after\n"


def test_mark_that_comes_in_pieces(pipe: tuple[int, int], tmp_path: Path) -> None:
    """
    However it is cut, it is known; nothing before it is shown, and all after it.
    """
    reader, writer = pipe
    capture = muted(tmp_path)
    for byte in b"\x02mcl" + MARK + b"after\n":
        os.write(writer, bytes([byte]))
        capture.read(OUT, reader)
    capture.log.close()
    assert printed(tmp_path) == b"after\n"


def test_without_a_mark_all_is_kept(pipe: tuple[int, int], tmp_path: Path) -> None:
    """
    Of a job whose body was never reached it is shown what it has printed instead, in order.
    """
    reader, writer = pipe
    capture = muted(tmp_path)
    text = b"".join(b"%06d\n" % number for number in range(9000)) + MARK[:-2]
    os.write(writer, text)
    capture.catch_up(OUT, reader)
    assert printed(tmp_path) == b""
    capture.release()
    capture.log.close()
    assert printed(tmp_path) == text
