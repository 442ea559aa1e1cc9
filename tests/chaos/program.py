"""The program of a storm's jobs: says on a ledger outside the store when it begins and ends."""

import os
import sys
import time

import click

import mcli

RETRIES = 3
AGAIN_CODE = 3
"""With which an attempt ends that is to be tried again, when it has printed all."""


def note(kind: str, tag: str) -> None:
    """One line at the end of the ledger, whole whatever happens."""
    job = os.environ.get("MCLI_JOB_ID", "here")
    line = f"{kind} {tag} {job} {os.environ.get('MCLI_ATTEMPT', '0')} {os.getpid()} {time.time()}\n"
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
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
    note("S", tag)
    for number in range(lines):
        print(f"{tag} {number:06}", flush=number % 7 == 0)
        if number == lines // 2:
            time.sleep(pause)  # what this job is about
    sys.stdout.flush()
    note("E", tag)


def expected(tag: str, lines: int) -> bytes:
    """All that one attempt prints."""
    return b"".join(f"{tag} {number:06}\n".encode() for number in range(lines))


if __name__ == "__main__":
    cli()
