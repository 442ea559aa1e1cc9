"""
Bytes of strangers on this terminal: shown, and never obeyed.
"""

import codecs
from typing import BinaryIO

from mcli.cli.table import printable


class Spelled:
    """Writes to *out* what is text; every control character is spelled out, as ``\\x1b``."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> None:
        """Half a character at the end waits for its other half."""
        text = self._decoder.decode(data).replace("\r\n", "\n")
        self._out.write(spelled(text).encode())

    def flush(self) -> None:
        self._out.flush()


def spelled(text: str) -> str:
    """*text* with its lines and tabs, and nothing else that a terminal would obey."""
    lines = (line.split("\t") for line in text.split("\n"))
    return "\n".join("\t".join(map(printable, cells)) for cells in lines)
