"""
What Python has read of standard input and its program has not: taken out, and put back.
"""

import os
import sys


def read_ahead() -> str:
    """Take what Python has buffered of standard input; it is in no descriptor any more.

    Raises:
        ValueError: It is not text in the stream's encoding.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    kept = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(empty, 0)
        return sys.stdin.read()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(empty)


def unread(text: str) -> None:
    """Put *text* into the buffer of ``sys.stdin``, before what its descriptor has."""
    if not text or sys.stdin is None:
        return
    kept = os.dup(0)
    reader, writer = os.pipe()
    try:
        # Reading the first line makes Python take in all that follows it.
        os.write(writer, b"\n" + text.encode(sys.stdin.encoding, sys.stdin.errors or "strict"))
        os.close(writer)
        os.dup2(reader, 0)
        sys.stdin.readline()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reader)
