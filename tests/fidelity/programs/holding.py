"""A group that holds something open for its commands."""

from contextlib import contextmanager

import click

import mcli


@contextmanager
def held():
    click.echo("opened")
    try:
        yield 5
    finally:
        click.echo("closed")
        click.echo("complains", err=True)


@click.group()
@click.pass_context
def cli(ctx):
    ctx.obj = ctx.with_resource(held())


@cli.command()
@click.pass_obj
@mcli.background
def use(number):
    click.echo(f"uses {number}")


if __name__ == "__main__":
    cli()
