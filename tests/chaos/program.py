"""
The program of a storm's jobs: says on a ledger outside the store when it begins and ends, and
in between how many lines the kernel has taken.
"""

import os
import sys
import time
from typing import Final

import click

import mcli

RETRIES = 3
AGAIN_CODE = 3
"""With which an attempt ends that is to be tried again, when it has printed all."""

STEP: Final = 100
"""Lines after which it notes how many there are."""


LINE_BYTES: Final = 128
"""Of each line that is noted; a page is a multiple of it."""


def note(kind: str, tag: str, lines: int) -> None:
    """One line at the end of the ledger, whole whatever happens."""
    job, attempt = os.environ.get("MCLI_JOB_ID", "here"), os.environ.get("MCLI_ATTEMPT", "0")
    add("LEDGER", f"{kind} {tag} {job} {attempt} {os.getpid()} {time.time()} {lines}")


def add(variable: str, line: str) -> None:
    """To the file that the variable names. No line crosses a page: at the border of one, SIGKILL
    ends a write half-way.
    """
    fd = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.ljust(LINE_BYTES - 1).encode() + b"\n")
    os.close(fd)


@click.group()
def cli() -> None:
    """What jobs do in a storm."""


@cli.command()
@click.argument("tag")
@click.argument("lines", type=int)
@click.argument("pause", type=float)
@mcli.background
def work(tag: str, lines: int, pause: float) -> str:
    """Print numbered lines, pausing in the middle."""
    toil(tag, lines, pause)
    return tag


@cli.command()
@click.argument("tag")
@click.argument("lines", type=int)
@click.argument("pause", type=float)
@mcli.background(retries=RETRIES, retry_delay=0.05, on_lost="retry")
def again(tag: str, lines: int, pause: float) -> str:
    """The same, but the first attempt fails at its end; and what is lost is tried again."""
    toil(tag, lines, pause)
    if os.environ.get("MCLI_ATTEMPT") == "1":
        sys.exit(AGAIN_CODE)
    return tag


def toil(tag: str, lines: int, pause: float) -> None:
    note("S", tag, 0)
    for number in range(lines):
        print(f"{tag} {number:06}", flush=number % 7 == 0)
        if number % STEP == 0 or number == lines // 2:
            sys.stdout.flush()
            note("P", tag, number + 1)
        if number == lines // 2:
            time.sleep(pause)  # what this job is about
    sys.stdout.flush()
    note("E", tag, lines)


def expected(tag: str, lines: int) -> bytes:
    """All that one attempt prints."""
    return b"".join(f"{tag} {number:06}\n".encode() for number in range(lines))


if __name__ == "__main__":
    cli()
