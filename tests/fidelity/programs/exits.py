"""All the ways in which a command can end."""

import atexit
import os
import resource
import signal
import sys
import threading

import click

import mcli


@click.group()
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


@command
@click.argument("code", type=int)
def code(code):
    click.echo("about to exit")
    sys.exit(code)


@command
def none():
    sys.exit(None)


@command
def text():
    sys.exit("the reason, as text ✗")


@command
def odd():
    sys.exit(("a", "tuple"))


@cli.command()
@click.argument("code", type=int)
@click.pass_context
@mcli.background
def ctx_exit(ctx, code):
    click.echo("leaving")
    ctx.exit(code)


@cli.command()
@click.pass_context
@mcli.background
def ctx_fail(ctx):
    ctx.fail("this cannot be")


@command
def usage_error():
    raise click.UsageError("wrong use")


@cli.command()
@click.option("--size")
@mcli.background
def bad_parameter(size):
    raise click.BadParameter("too big", param_hint="--size")


@command
def file_error():
    raise click.FileError("data.csv", hint="it is not there")


@command
def abort():
    click.echo("soon")
    raise click.Abort


@command
def interrupted():
    raise KeyboardInterrupt


@command
def end_of_file():
    raise EOFError


class Stopped(click.ClickException):
    exit_code = 42

    def show(self, _=None):
        click.echo(f"stopped: {self.message}", err=True)


@command
def click_exception():
    raise click.ClickException("a friendly message")


@command
def own_exception():
    raise Stopped("with its own code")


def deep(level):
    if level:
        deep(level - 1)
    raise ValueError("from far below: ünïcödé")


@command
def exception():
    print("before")
    deep(3)


@command
def chained():
    try:
        deep(1)
    except ValueError as error:
        error.add_note("a note")
        raise RuntimeError("because of it") from error


@command
def grouped():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


@command
def recursion():
    def again(number):
        return again(number + 1)

    again(0)


@command
def own_hook():
    def hook(kind, error, _):
        print("hooked", kind.__name__, error)

    sys.excepthook = hook
    raise KeyError("lost")


@command
@click.argument("name")
def die(name):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("flushed", flush=True)
    print("not flushed")
    os.kill(os.getpid(), getattr(signal, name))
    signal.pause()


@command
def at_once():
    atexit.register(print, "never printed")
    print("lost in the buffer")
    os._exit(3)


@command
def in_thread():
    thread = threading.Thread(target=deep, args=(0,), name="T")
    thread.start()
    thread.join()
    print("the main thread goes on")


class Late:
    def __repr__(self):
        return "<late>"

    def __call__(self):
        deep(0)


@command
def while_exiting():
    atexit.register(Late())
    print("done")


class Leaky:
    def __del__(self):
        raise ValueError("in a finalizer")


@command
def finalizer():
    sys.unraisablehook = lambda found: print("unraisable:", found.exc_value, file=sys.stderr)
    leaky = Leaky()
    del leaky
    print("done")


@cli.command()
@click.option("--number", type=click.IntRange(1, 5), required=True)
@mcli.background
def strict(number):
    print(number)


@cli.command()
@click.version_option("1.2.3")
@mcli.background
def versioned():
    print("body")


@command
def returns():
    return {"answer": 42}


@command
def returns_text():
    return "text\n"


if __name__ == "__main__":
    cli()
