"""The program of a storm's jobs: says on a ledger outside the store when it begins and ends."""

import os
import time

import click

import mcli


def note(kind: str, tag: str) -> None:
    """One line at the end of the ledger, whole whatever happens."""
    job = os.environ.get("MCLI_JOB_ID", "here")
    line = f"{kind} {tag} {job} {os.environ.get('MCLI_ATTEMPT', '0')} {os.getpid()} {time.time()}\n"
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


@click.command()
@click.argument("tag")
@click.argument("lines", type=int)
@click.argument("pause", type=float)
@mcli.background
def work(tag: str, lines: int, pause: float) -> str:
    """Print numbered lines, pausing in the middle."""
    note("S", tag)
    for number in range(lines):
        print(f"{tag} {number:06}", flush=number % 7 == 0)
        if number == lines // 2:
            time.sleep(pause)  # what this job is about
    note("E", tag)
    return tag


def expected(tag: str, lines: int) -> bytes:
    """All that ``work`` prints."""
    return b"".join(f"{tag} {number:06}\n".encode() for number in range(lines))


if __name__ == "__main__":
    work()
