"""
A Click program that does what a test tells it, word for word.

``obey GATE`` connects to the test's socket, says which process it is, and then runs each
line of Python that comes, answering ``.`` when it is done. At the end of the connection the
command returns. If ``LEDGER`` is set, it says there that it has begun, and that it has come to
its end.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

import mcli


@click.group()
def cli() -> None:
    """A puppet."""


def note(text: str) -> None:
    """One line in the ledger, which is no part of what mcli keeps."""
    path = os.environ.get("LEDGER")
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{text}\n".encode())
        os.close(fd)


@contextmanager
def body() -> Iterator[None]:
    """Of a command: its beginning, and its end if it comes to that."""
    this = f"{os.environ.get('MCLI_JOB_ID', 'here')} {os.environ.get('MCLI_ATTEMPT', '0')}"
    note(f"{this} {os.getpid()}")
    try:
        yield
    except SystemExit as end:
        if not end.code:
            note(f"E {this}")
        raise
    note(f"E {this}")


def wait() -> None:
    """Until a signal ends it; one that comes just before ``signal.pause`` would not wake that."""
    while True:
        time.sleep(0.1)


def serve(gate: str) -> object:
    """Do what comes through *gate*."""
    names = {**globals(), "answer": None}
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(gate)
        told = {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "job_id": os.environ.get("MCLI_JOB_ID"),
            "attempt": os.environ.get("MCLI_ATTEMPT"),
        }
        wire.sendall(json.dumps(told).encode() + b"\n")
        for line in wire.makefile(encoding="utf-8"):
            exec(json.loads(line), names)
            sys.stdout.flush()
            wire.sendall(b".\n")
    return names["answer"]


@cli.command()
@click.argument("gate")
@mcli.background
def obey(gate: str) -> object:
    """Do what the test says."""
    with body():
        return serve(gate)


@cli.command()
@click.argument("gate")
@click.option("--linger", type=float)
@mcli.background(timeout=0.2)
def brief(gate: str, linger: float | None) -> object:
    """The same, for 0.2 seconds."""
    return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(fallback_to_local=False)
def strict(gate: str) -> None:
    """The same, and never here."""
    serve(gate)


@cli.command()
@mcli.background(auto_route=False, command_name="by hand")
def manual() -> None:
    """Runs here unless asked otherwise."""
    with body():
        print("in a job" if "MCLI_JOB_ID" in os.environ else "here")


@cli.command()
@click.option("--number", type=click.IntRange(0, 100), default=1)
@click.argument("words", nargs=-1)
@mcli.background
def tell(number: int, words: tuple[str, ...]) -> dict[str, object]:
    """Say which job this is, and return what it was given."""
    with body():
        print("job", os.environ.get("MCLI_JOB_ID"), os.environ.get("MCLI_ATTEMPT"))
        print("aside", file=sys.stderr)
    return {"number": number, "words": words}


@cli.command()
@click.argument("code", type=int)
@mcli.background
def leave(code: int) -> None:
    """Exit with that code."""
    with body():
        pass
    sys.exit(code)


@cli.command()
@mcli.background
def nest() -> None:
    """Call the program again, from within."""
    done = subprocess.run(
        [sys.executable, __file__, "tell"], check=True, capture_output=True, text=True
    )
    print(done.stdout.split()[1] == os.environ["MCLI_JOB_ID"])


@cli.command()
@click.option("--password", prompt=True, hide_input=True)
@click.option("--user", prompt=True)
@mcli.background
def login(password: str, user: str) -> None:
    """Say how long the password is."""
    print(user, len(password))


if __name__ == "__main__":
    cli()

__all__ = ["signal", "time"]  # for what the tests send
