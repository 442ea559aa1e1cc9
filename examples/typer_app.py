"""
A Typer app: the decorator is the same.

    python examples/typer_app.py dedupe hosts.txt --output unique.txt --compare ignore-case
    python examples/typer_app.py split examples/data/sales.csv --parts 4 --directory parts
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

import mcli

app = typer.Typer(
    help="Work on the lines of large files.",
    rich_markup_mode=None,  # errors are one plain line, not a box
    add_completion=False,
)

Source = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


class Compare(StrEnum):
    """When two lines count as one."""

    exact = "exact"
    ignore_case = "ignore-case"
    ignore_space = "ignore-space"


@app.command()
@mcli.background
def dedupe(
    source: Source,
    output: Annotated[Path | None, typer.Option(help="[stdout]", dir_okay=False)] = None,
    compare: Annotated[Compare, typer.Option(help="When two lines count as one.")] = Compare.exact,
) -> None:
    """Print the lines of SOURCE without those that came before; the order stays."""
    with source.open("rb") as lines:
        if output is None:
            kept, dropped = copy_unique(lines, typer.get_binary_stream("stdout"), compare)
        else:
            with replacing(output) as file:
                kept, dropped = copy_unique(lines, file, compare)
    typer.echo(f"{kept} lines kept, {dropped} dropped", err=True)


@app.command()
@mcli.background
def split(
    source: Source,
    parts: Annotated[int, typer.Option(min=1, max=999, help="How many files to make.")] = 2,
    directory: Annotated[Path, typer.Option(help="Made if missing.", file_okay=False)] = Path(),
) -> None:
    """Split SOURCE into parts of about the same size, each of whole lines."""
    size = source.stat().st_size
    with source.open("rb") as lines:
        for part in range(1, parts + 1):
            path = directory / f"{source.stem}.{part:03}{source.suffix}"
            with replacing(path) as file:
                count = copy_until(lines, file, size * part // parts)
            typer.echo(f"{path}: {count} lines")


def copy_unique(lines: Iterable[bytes], out: BinaryIO, compare: Compare) -> tuple[int, int]:
    """Copy each line whose key is new; return how many were kept and dropped."""
    seen: set[bytes] = set()
    total = 0
    for total, line in enumerate(lines, 1):  # noqa: B007
        # A digest takes less memory than the line, and a file may be larger than memory.
        key = hashlib.blake2b(comparable(line, compare), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            out.write(line)
    out.flush()
    return len(seen), total - len(seen)


def comparable(line: bytes, compare: Compare) -> bytes:
    """What has to be equal for two lines to count as one."""
    match compare:
        case Compare.exact:
            return line.rstrip(b"\r\n")
        case Compare.ignore_case:
            text = line.rstrip(b"\r\n").decode(errors="surrogateescape")
            return text.casefold().encode(errors="surrogateescape")
        case Compare.ignore_space:
            return b" ".join(line.split())


def copy_until(lines: BinaryIO, out: BinaryIO, end: int) -> int:
    """Copy lines until the reader stands at byte *end* or after it; return how many."""
    count = 0
    while lines.tell() < end and (line := lines.readline()):
        out.write(line)
        count += 1
    return count


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes *target*'s place when the block ends, and vanishes if it fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise typer.BadParameter(str(error)) from error
    finally:
        with suppress(OSError):
            part.unlink()


if __name__ == "__main__":
    app()
