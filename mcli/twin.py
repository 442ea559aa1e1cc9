"""
One program run in two ways, and what differs: local against routed.

A pair of runs is equal when nobody outside could tell them apart: the same bytes on each
stream (or on the terminal), the same ending, the same files left behind. How the bytes were
cut into pieces on their way does not count.

Called by ``cli.verify`` and by the fidelity tests.
"""

import difflib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from mcli.stage import CHUNK, Program, Run

BEFORE: Final = 400
"""Bytes shown before the first difference."""
WINDOW: Final = 8000
"""Bytes compared line by line from there on."""
LINE: Final = 300
"""Characters shown of one line."""


def local(program: Program) -> Program:
    """*program* as it runs without the daemon."""
    return replace(program, env={**program.env, "MCLI_BACKGROUND_ENABLED": "false"})


def routed(program: Program) -> Program:
    """*program* as it runs through the daemon."""
    return replace(program, env={**program.env, "MCLI_BACKGROUND_ENABLED": "true"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One aspect in which two runs are not equal."""

    aspect: str
    local: bytes
    routed: bytes

    def __str__(self) -> str:
        """A unified diff of the bytes, escaped, around the first that differs."""
        first = first_difference(self.local, self.routed)
        start = self.local.rfind(b"\n", 0, max(0, first - BEFORE)) + 1
        lines = difflib.unified_diff(
            _escaped(self.local[start : first + WINDOW]),
            _escaped(self.routed[start : first + WINDOW]),
            f"{self.aspect}, local ({len(self.local)} bytes)",
            f"{self.aspect}, routed ({len(self.routed)} bytes), first difference at byte {first}",
            lineterm="",
        )
        return "\n".join(line[:LINE] for line in lines)


def differences(local: Run, routed: Run, *, terminal: bool) -> list[Difference]:
    """Everything in which the two runs are not equal; empty when they are."""
    aspects = [
        ("terminal" if terminal else "stdout", local.stdout, routed.stdout),
        ("stderr", local.stderr, routed.stderr),
        ("ending", local.ending.encode(), routed.ending.encode()),
        ("files", _joined(local.files), _joined(routed.files)),
    ]
    return [Difference(aspect=a, local=x, routed=y) for a, x, y in aspects if x != y]


def first_difference(one: bytes, other: bytes) -> int:
    """The offset of the first byte that is not in both; the shorter length if there is none."""
    shorter = min(len(one), len(other))
    for start in range(0, shorter, CHUNK):
        if one[start : start + CHUNK] != other[start : start + CHUNK]:
            end = min(start + CHUNK, shorter)
            return next((at for at in range(start, end) if one[at] != other[at]), shorter)
    return shorter


def files_below(folder: str) -> tuple[str, ...]:
    """One line per file and directory: mode, path, and what is in it."""
    return tuple(sorted(_lines_below(folder)))


def _lines_below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(parent, name)
            mode = stat.filemode(os.lstat(path).st_mode)
            yield f"{os.path.relpath(path, folder)} {mode} {_content(path)}".rstrip()


def _content(path: str) -> str:
    if os.path.islink(path):
        return f"-> {os.readlink(path)}"
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{os.path.getsize(path)} bytes, sha256 {digest}"


def _joined(lines: tuple[str, ...]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _escaped(data: bytes) -> list[str]:
    return [repr(line)[2:-1] for line in data.splitlines(keepends=True)]
