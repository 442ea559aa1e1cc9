"""How much memory processes have, and how it is told."""

import mmap
import os
import signal

import pytest

from mcli import memory


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2 << 30, "2 GiB"),
        (1536 << 20, "1.5 GiB"),
        (150_000_000, "150 MB"),
        (1000, "1 kB"),
        (1 << 10, "1 KiB"),
        (1234567, "1234567 bytes"),
    ],
)
def test_shown_as_it_was_written(number: int, text: str) -> None:
    """A limit is told in the unit in which it is round."""
    assert memory.shown(number) == text


def test_what_is_shared_counts_once() -> None:
    """
    Two processes that have the same 64 MiB have them once between them.
    """
    size = 64 << 20
    shared = mmap.mmap(-1, size)
    shared.write(b"x" * size)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for offset in range(0, size, mmap.PAGESIZE):
            assert shared[offset]
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    try:
        both = [os.getpid(), child]
        assert memory.used(both, 1) < memory.used(both, 1 << 40) - size // 2
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for fd in (reader, writer):
            os.close(fd)
        shared.close()
