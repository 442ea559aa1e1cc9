"""A program that cannot be imported."""

import click
import no_such_module_anywhere  # noqa: F401

import mcli


@click.command()
@mcli.background
def never():
    click.echo("never")


if __name__ == "__main__":
    never()
