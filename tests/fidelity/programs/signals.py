"""Signals from outside, while the body runs."""

import select
import signal
import socket
import sys

import click

import mcli


@click.group()
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


def wakeup():
    """A socket that can be read when a signal has come, however early it came."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    wakeup.writer = writer
    return reader


def stay():
    """Be there to be interrupted; the test ends it long before the minute is over."""
    signals = wakeup()
    click.echo("ready")
    select.select([signals], [], [], 60)


@command
def wait():
    stay()


@command
def cleanup():
    try:
        stay()
    finally:
        click.echo("cleaned up")


@command
def twice():
    try:
        stay()
    except KeyboardInterrupt:
        click.echo("once")
    try:
        stay()
    except KeyboardInterrupt:
        click.echo("twice")
        raise


@command
def refuse():
    try:
        stay()
    except KeyboardInterrupt:
        click.echo("not yet")
    click.echo("went on to the end")


@cli.command()
@click.argument("name")
@mcli.background
def handle(name):
    seen = []
    signal.signal(getattr(signal, name), lambda *_: seen.append(name))
    stay()
    click.echo(f"handled {seen}")
    sys.exit(9)


@command
def line():
    """Read a line, and say when the program has been continued."""
    continued = []
    signal.signal(signal.SIGCONT, lambda *_: continued.append(True))
    signals = wakeup()
    click.echo("ready")
    while sys.stdin not in select.select([sys.stdin, signals], [], [], 60)[0]:
        signals.recv(100)
        if continued:
            continued.clear()
            click.echo("continued")
    click.echo(f"got {sys.stdin.readline()!r}")


if __name__ == "__main__":
    cli()
