"""Questions, and who asks them how often."""

import getpass
import os
import sys
import termios
import threading
import time
import tty

import click

import mcli


def announce(*_):
    """
    Print a mark when the main thread has begun to read from the terminal.

    An interrupt between the prompt and the read is noticed only after the read.
    """
    main = f"/proc/self/task/{threading.get_native_id()}/syscall"

    def watch():
        reading = False
        while not reading:
            time.sleep(0.001)
            with open(main) as file:
                reading = file.read().split()[1:2] == ["0x0"]
        os.write(1, b"[reading]")

    threading.Thread(target=watch, daemon=True).start()


@click.group()
@click.option("--user", prompt="User")
@click.pass_context
def parent(ctx, user):
    click.echo(f"group sees {user}")
    ctx.obj = user


@parent.command()
@click.option("--colour", prompt=True)
@click.pass_obj
@mcli.background
def both(user, colour):
    click.echo(f"{user} likes {colour}")


@click.group()
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


cli.add_command(parent)


@cli.command()
@click.option("--name", prompt="Your name")
@click.option("--age", prompt=True, type=int, default=30)
@mcli.background
def options(name, age):
    click.echo(f"{name} is {age}")


@cli.command()
@click.option("--announced", is_flag=True, is_eager=True, callback=announce)
@click.option("--name", prompt="Your name")
@mcli.background
def option_interrupted(name, announced):
    click.echo("not reached")


@command
def interrupted():
    name = click.prompt("Name")
    announce()
    click.prompt(f"Number of {name}")


@cli.command()
@click.password_option()
@mcli.background
def password(password):
    click.echo(f"{len(password)} characters: {password[::-1]}")


@cli.command()
@click.option("--name", prompt="Your name")
@mcli.background
def option_then_body(name):
    click.echo(f"hello {name}")
    colour = click.prompt("Colour")
    click.echo(f"{colour} it is")
    click.echo(f"rest: {sys.stdin.read()!r}")


@cli.command()
@click.confirmation_option(prompt="Really?")
@mcli.background
def confirmed():
    click.echo("done")


@command
def ask():
    name = click.prompt("Name")
    click.echo(f"hello {name}")
    number = click.prompt("Number", type=int)
    click.echo(f"{number + 1}")
    kind = click.prompt("Kind", type=click.Choice(["big", "small"]), default="big")
    click.echo(kind)


@command
def confirm():
    click.echo(click.confirm("Go on?"))
    click.echo(click.confirm("Sure?", default=True))
    click.confirm("Stop?", abort=True)
    click.echo("not stopped")


@command
def hidden():
    click.echo(click.prompt("Secret", hide_input=True)[::-1])


@command
def get_pass():
    click.echo(getpass.getpass("Password: ")[::-1])


@command
def plain_input():
    print("hello", input("Who? "))
    try:
        input("More? ")
    except EOFError:
        print("\nno more")


@command
def key():
    """One key, without the return key; the terminal is set before it is asked for."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    click.echo("press")
    pressed = os.read(0, 8)
    termios.tcsetattr(0, termios.TCSADRAIN, before)
    click.echo(repr(pressed))
    click.echo(f"and a line: {input('> ')}")


@command
def edit():
    click.echo(click.edit("some text\n"))


@command
def pager():
    click.echo_via_pager("\n".join(f"page line {number}" for number in range(50)))


if __name__ == "__main__":
    cli()
