"""The command of the package."""

import sys

import click

import mcli

from . import parts


@click.group()
@click.pass_context
def main(ctx):
    click.echo("package group")
    ctx.obj = {"name": ctx.info_name}


@main.command()
@click.option("--fail", is_flag=True)
@click.pass_obj
@mcli.background
def run(obj, fail):
    module = sys.modules["__main__"]
    click.echo(f"{obj} {__name__} {parts.NAME} {getattr(module.__spec__, 'name', None)}")
    click.echo(f"{sys.argv} {sys.path[0]}")
    if fail:
        parts.fail()
