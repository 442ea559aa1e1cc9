"""A program that calls its command and goes on, with what the command returned."""

import click

import mcli


@click.command()
@click.argument("what")
@mcli.background
def answer(what):
    click.echo("in the body")
    if what == "fail":
        raise click.UsageError("no answer")
    if what == "abort":
        raise click.Abort
    return {"what": what, "answer": [42, None, 1.5, "ü"]}


try:
    print("returned", answer(standalone_mode=False))
except click.ClickException as error:
    print("caught", type(error).__name__, error.format_message())
except click.Abort:
    print("aborted")
finally:
    print("and after it")
