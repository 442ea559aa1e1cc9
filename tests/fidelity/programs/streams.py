"""What goes in and out: standard streams, terminals, bytes."""

import hashlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import termios
import warnings

import click

import mcli


@click.group()
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


@command
def text():
    click.echo("to stdout")
    click.echo("to stderr", err=True)
    print("ünïcödé ✓ 漢字")
    print("and stderr ✗", file=sys.stderr)


@command
def no_newline():
    click.echo("begin,", nl=False)
    click.echo(" end", nl=False)
    click.echo("complaint", err=True, nl=False)


@command
def binary():
    click.echo(b"\x00\x01\xfe\xff raw", nl=False)
    sys.stdout.flush()
    sys.stdout.buffer.write(bytes(range(256)))


@command
def invalid_utf8():
    sys.stdout.buffer.write(b"good \xc3\xa4, bad \xc3\x28 \xff\xfe, cut \xe2\x82\n")
    sys.stderr.buffer.write(b"also here \x80\n")


@command
def nothing():
    pass


@command
@click.argument("megabytes", type=int)
def flood(megabytes):
    block = random.Random(1).randbytes(1 << 20).hex().encode()[: (1 << 20) - 1] + b"\n"
    for number in range(megabytes):
        sys.stdout.buffer.write(b"%8d" % number + block[8:])


@command
@click.argument("lines", type=int)
def count(lines):
    for number in range(lines):
        click.echo(f"line {number}")


@command
def interleave():
    for number in range(200):
        click.echo(f"out {number}")
        click.echo(f"err {number}", err=True)


@command
def buffered():
    """print() waits in a buffer unless it goes to a terminal; os.write() does not."""
    print("printed first")
    os.write(1, b"written second\n")
    print("printed third")
    os.write(2, b"written fourth, to stderr\n")


@command
def child():
    print("before the child", flush=True)
    subprocess.run(["sh", "-c", "echo child out; echo child err >&2; cat"], check=True)
    print("after the child")


@command
def log_and_warn():
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("app").warning("something logged")
    warnings.warn("something deprecated", DeprecationWarning, stacklevel=1)
    warnings.warn("something odd", stacklevel=1)


def describe(name):
    stream = getattr(sys, name)
    if stream is None:
        return f"{name}: none"
    return (
        f"{name}: fd={stream.fileno()} tty={stream.isatty()} encoding={stream.encoding} "
        f"errors={stream.errors} lines={stream.line_buffering} through={stream.write_through}"
    )


@command
def isatty():
    report = [describe(name) for name in ("stdin", "stdout", "stderr")]
    for fd in range(3):
        try:
            report.append(f"{fd}: {os.isatty(fd)} {os.get_terminal_size(fd)}")
        except OSError as error:
            report.append(f"{fd}: {error.strerror}")
    print("\n".join(report))


@command
def controlling():
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
        print("has a controlling terminal")
    except OSError as error:
        print(f"/dev/tty: {error.strerror}")


@command
def terminal_modes():
    try:
        modes = termios.tcgetattr(0)
        print(modes[:6], [bytes([c]) if isinstance(c, int) else c for c in modes[6]])
        print("foreground", os.tcgetpgrp(0) == os.getpgrp())
    except OSError as error:
        print(error.strerror)
    except termios.error as error:
        print(error.args)


@command
def colours():
    click.secho("red", fg="red", bold=True)
    click.echo(click.style("green", fg="green") + " and \x1b[35mmagenta\x1b[0m")
    click.secho("kept", fg="blue", color=True)
    click.secho("dropped", fg="blue", color=False)
    click.secho("to stderr", fg="yellow", err=True)
    plain = "NO_COLOR" in os.environ or not sys.stdout.isatty()
    print("plain" if plain else "\x1b[1mcoloured\x1b[0m")


@command
def width():
    print(shutil.get_terminal_size())
    click.echo(click.wrap_text("word " * 60, width=shutil.get_terminal_size().columns))
    click.echo(click.get_current_context().get_help())


@command
def progress():
    with click.progressbar(range(20), label="Working", show_eta=False) as bar:
        for _ in bar:
            pass
    items = ["one", "two", "three"]
    with click.progressbar(
        items, width=0, show_pos=True, show_eta=False, item_show_func=lambda item: item or ""
    ) as bar:
        for _ in bar:
            pass
    click.echo("done")


@command
def spinner():
    for frame in "|/-\\" * 3:
        click.echo(f"\r{frame} working", nl=False)
    click.echo("\r\x1b[Kfinished")


@command
def resize():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
    click.echo(f"at first {tuple(os.get_terminal_size())}")
    for _ in range(2):
        signal.sigwait({signal.SIGWINCH})
        click.echo(f"then {tuple(os.get_terminal_size())}")


@command
def digest():
    """Everything that can be read, summed up."""
    total, digest = 0, hashlib.sha256()
    while block := sys.stdin.buffer.read(1 << 20):
        total += len(block)
        digest.update(block)
    print(total, digest.hexdigest())


@command
def lines():
    for number, line in enumerate(sys.stdin):
        print(number, repr(line))


@command
@click.argument("size", type=int)
def take(size):
    """Read so many bytes and no more."""
    print("took", os.read(0, size), flush=True)


@command
def seek():
    if sys.stdin.seekable():
        size = sys.stdin.seek(0, os.SEEK_END)
        sys.stdin.seek(0)
        print("seekable", size, repr(sys.stdin.readline()))
    else:
        print("not seekable", repr(sys.stdin.readline()))


@command
@click.argument("word")
def say(word):
    click.echo(f"said {word}")


if __name__ == "__main__":
    cli()
