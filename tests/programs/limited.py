"""
The puppet's ``obey`` under names that say what its jobs may do, and what they leave behind.
"""

import os
import signal
import subprocess
import sys

import click
from puppet import body, serve

import mcli


@click.group()
def cli() -> None:
    """Commands with limits."""


@cli.command()
@click.argument("gate")
@mcli.background(leave_children=True)
def leaving(gate: str) -> object:
    """What it has started may live on."""
    with body():
        return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(max_output="1MiB")
def terse(gate: str) -> object:
    """Little of what it prints is kept."""
    return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(memory_limit="150MB")
def lean(gate: str) -> object:
    """It may have little memory."""
    return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(nice=7)
def polite(gate: str) -> object:
    """Others come first."""
    return serve(gate)


@cli.command()
@click.argument("gate")
@mcli.background(timeout=0.8)
def timed(gate: str) -> object:
    """It may run for a short time."""
    return serve(gate)


# What a job may leave behind ----------------------------------------------------------------


def plain() -> int:
    """A child, as of ``sleep 600 &``."""
    return subprocess.Popen(["sleep", "600"]).pid


def apart() -> int:
    """In a session of its own."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid


def nohup() -> int:
    """Of a shell that has ended."""
    words = "nohup setsid sleep 600 > /dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", words], check=True, capture_output=True).stdout)


def stubborn() -> int:
    """Which does not end for SIGTERM."""
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process.pid


def demon() -> int:
    """Forked twice, never executed, in a session of its own, with all closed."""
    return _forked(closed=True)


def forked() -> int:
    """The same, and with a pipe of the job still open."""
    return _forked(closed=False)


def _forked(*, closed: bool) -> int:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(writer, str(os.getpid()).encode())
        os.closerange(0 if closed else 3, 1024)
        while True:
            signal.pause()
    os.waitpid(child, 0)
    return int(os.read(reader, 20))


if __name__ == "__main__":
    cli()
