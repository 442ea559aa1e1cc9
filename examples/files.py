"""
Long work on files: checksum a directory tree, compress a large file.

    python examples/files.py checksum mcli --exclude __pycache__
    python examples/files.py compress access.log

The lines that put these commands in the background are the two ``@mcli.background``.
"""

import fnmatch
import gzip
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

import mcli

CHUNK = 1 << 20
"""Bytes read at a time: memory stays small however large the file is."""


@click.group()
def files() -> None:
    """Checksum and compress files."""


@files.command()
@mcli.background
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Skip names like this one.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here.")
def checksum(directory: Path, exclude: tuple[str, ...], output: Path | None) -> None:
    """Print the SHA-256 of every file in DIRECTORY, as sha256sum does."""
    try:
        paths = [path for path in tree(directory, exclude) if path != output]
        length = sum(path.stat().st_size for path in paths)
        with click.progressbar(length=length, label="Hashing", file=sys.stderr) as bar:
            lines = [sum_line(sha256(path, bar.update), path) for path in paths]
    except OSError as error:
        raise click.ClickException(str(error)) from error
    if output is None:
        click.echo(b"".join(lines), nl=False)
    else:
        with replacing(output) as file:
            file.writelines(lines)


@files.command()
@mcli.background
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--level", type=click.IntRange(1, 9), default=6, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[SOURCE.gz]")
@click.option("--force", is_flag=True, help="Replace the output if it is there.")
def compress(source: Path, level: int, output: Path | None, force: bool) -> None:
    """Compress SOURCE with gzip, leaving it in place."""
    target = output or source.with_name(f"{source.name}.gz")
    if target.exists() and not force:
        raise click.ClickException(f"{target} is there already; --force replaces it")
    with source.open("rb") as plain, replacing(target) as packed:
        gzip_into(packed, plain, level)
    before, after = source.stat().st_size, target.stat().st_size
    click.echo(f"{source}: {before:,} bytes")
    click.echo(f"{target}: {after:,} bytes ({after / max(before, 1):.1%})")


def tree(directory: Path, exclude: tuple[str, ...]) -> list[Path]:
    """The regular files below *directory*, sorted, without the names that *exclude* matches.

    Raises:
        OSError: A folder cannot be read: an incomplete list would look like a complete one.
    """

    def fail(error: OSError) -> None:
        raise error

    def wanted(name: str) -> bool:
        return not any(fnmatch.fnmatch(name, pattern) for pattern in exclude)

    found: list[Path] = []
    for folder, folders, names in os.walk(directory, onerror=fail):
        folders[:] = filter(wanted, folders)
        found += (Path(folder, name) for name in filter(wanted, names))
    return sorted(path for path in found if path.is_file())


def sha256(path: Path, advance: Callable[[int], object]) -> str:
    """The digest of *path* in hex; *advance* is told of every chunk's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def sum_line(digest: str, path: Path) -> bytes:
    """One line of ``sha256sum``: a name that would break the line is escaped and marked so."""
    name = str(path).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if name == str(path) else "\\"
    return os.fsencode(f"{mark}{digest}  {name}\n")


def gzip_into(packed: BinaryIO, plain: BinaryIO, level: int) -> None:
    """Compress *plain* into *packed* chunk by chunk, with a line for about every tenth."""
    found = os.fstat(plain.fileno())
    name, mtime = os.path.basename(plain.name), int(found.st_mtime)
    # The source's name and time, as gzip(1) stores them: the same input makes the same bytes.
    with gzip.GzipFile(name, "wb", level, packed, mtime) as file:
        done = tenths = 0
        while chunk := plain.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if done * 10 // max(found.st_size, 1) > tenths:
                tenths = done * 10 // found.st_size
                click.echo(f"{done:,} of {found.st_size:,} bytes", err=True)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes *target*'s place when the block ends, and vanishes if it fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    finally:
        with suppress(OSError):
            part.unlink()


if __name__ == "__main__":
    files()
