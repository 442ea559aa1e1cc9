"""
Text for people: tables and lists that fit the terminal, and what stands in their cells.

Nothing here prints. Text that came from elsewhere (names, arguments, errors) has its
control characters spelled out, so that it cannot move the cursor or fake a line.
"""

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from mcli.states import State

GAP: Final = "  "
UNLIMITED: Final = 1 << 16
"""Columns when nobody looks: a file or a pipe gets lines uncut."""

COLOURS: Final = {
    State.SCHEDULED: "cyan",
    State.QUEUED: "cyan",
    State.RUNNING: "blue",
    State.STOPPING: "yellow",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.LOST: "magenta",
}


class Column(NamedTuple):
    """A column's title, and the width below which it says nothing any more."""

    title: str
    least: int


def printable(text: str) -> str:
    """*text* in one line, with every character that is not simply shown spelled out."""
    return "".join(letter if _shown(letter) else ascii(letter)[1:-1] for letter in text)


def _shown(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return kind[0] != "C" and kind not in ("Zl", "Zp")


def text_width(text: str) -> int:
    """Columns that printable *text* takes on a terminal."""
    return sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """*text* in at most *width* columns; an ellipsis says that there was more."""
    if text_width(text) <= width:
        return text
    kept, used = [], 0
    for letter in text:
        used += _letter_width(letter)
        if used > width - 1:
            break
        kept.append(letter)
    return "".join(kept) + "…" if width > 0 else ""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Aligned lines, the titles first, none wider than *width*.

    The widest columns give way first, then the last ones are left out. Where not even two
    fit, each row becomes a block of ``title value`` lines.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    for count in range(len(columns), 1, -1):
        widths = _widths(columns[:count], cells, width - len(GAP) * (count - 1))
        if widths is not None:
            return [_line(row, widths) for row in (titles, *cells)]
    return _blocks(columns, cells, width)


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int
) -> list[int] | None:
    natural = [
        max([text_width(column.title), *(text_width(row[at]) for row in cells)])
        for at, column in enumerate(columns)
    ]
    least = [min(column.least, width) for column, width in zip(columns, natural, strict=True)]
    if sum(least) > room:
        return None
    widths = [min(width, room) for width in natural]
    while sum(widths) > room:
        shrinkable = [at for at in range(len(widths)) if widths[at] > least[at]]
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    shown = [(cut(cell, width), width) for cell, width in zip(row, widths, strict=False)]
    return GAP.join(cell + " " * (width - text_width(cell)) for cell, width in shown).rstrip()


def _blocks(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[str]:
    lines: list[str] = []
    for row in cells:
        lines += [""] if lines else []
        lines += [
            cut(f"{column.title.lower()} {cell}", width)
            for column, cell in zip(columns, row, strict=True)
            if cell
        ]
    return lines


def terminal_width() -> int:
    """Columns to fill: ``$COLUMNS``, else the terminal's, else no limit."""
    return max(1, shutil.get_terminal_size((UNLIMITED, 24)).columns)


def colourful() -> bool:
    """Whether stdout is a terminal whose user has not asked for no colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(line: str, state: str) -> str:
    """*line* with the first word *state* in its colour, if this terminal shows colours."""
    if not colourful():
        return line
    return line.replace(state, click.style(state, fg=COLOURS[State(state)]), 1)


def moment(stamp: str | None, now: float) -> str:
    """An RFC 3339 time as a short local one: 14:03:05 today, else Nov 22 14:03, else a date."""
    if stamp is None:
        return ""
    then = time.localtime(unix_time(stamp))
    today = time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S", then)
    return time.strftime("%b %d %H:%M" if then[0] == today[0] else "%Y-%m-%d", then)


def unix_time(stamp: str) -> float:
    """An RFC 3339 time in UTC as Unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def span(seconds: float | None) -> str:
    """A length of time in two units at most: 0.4s, 12s, 3m 05s, 2h 10m, 4d 03h."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for size, unit, part, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{smaller}"
    return f"{whole}s"


def space(size: float) -> str:
    """Bytes in thousands, two digits at least: 0 B, 999 B, 1.2 kB, 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}" if unit != "B" and size < 10 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
