"""What a job prints on its way into its log, when whoever moves it is killed."""

import fcntl
import os
import select
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

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
    records = read_records(str(folder / "output.log"), limit_bytes=1 << 30)
    return b"".join(record.data for record in records)


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


@pytest.mark.parametrize(("first", "shown"), [(b"on\n", b"on\n"), (b"x" + MARK + b"on\n", b"on\n")])
def test_mark_that_somebody_may_have_read(
    pipe: tuple[int, int], tmp_path: Path, first: bytes, shown: bytes
) -> None:
    """
    All of the marks were written: what is there is shown, but for what a mark says is not to be.
    It is one piece, however fast more is printed: that is moved, within the limits.
    """
    reader, writer = pipe
    capture = Capture(str(tmp_path), muted=[OUT], unmute=MARK, reached=True)
    os.write(writer, first)
    more = b"more " * (1 << 18)
    printer = Thread(target=_write, args=(writer, more))
    printer.start()
    capture.unmute(OUT, reader)
    assert not capture.muted
    while len(printed(tmp_path)) < len(shown + more):
        select.select([reader], [], [])
        capture.catch_up(OUT, reader)
    printer.join()
    capture.log.close()
    assert printed(tmp_path) == shown + more
    pieces = [
        len(record.data)
        for record in read_records(str(tmp_path / "output.log"), limit_bytes=1 << 30)
    ]
    assert max(pieces) <= fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def test_what_is_printed_while_a_stream_is_closed(tmp_path: Path) -> None:
    """
    Between the last look and the end of the reading end the job prints on: that is kept, and
    then it is told that nobody reads.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK)
    capture = Capture(str(tmp_path))
    os.write(writer, b"before\n")
    capture.catch_up(OUT, reader)
    capture.anchors.keep(OUT, reader)
    os.write(writer, b"meanwhile\n")
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"after\n")
    os.close(writer)
    capture.gather()
    capture.close()
    assert printed(tmp_path) == b"before\nmeanwhile\n"
