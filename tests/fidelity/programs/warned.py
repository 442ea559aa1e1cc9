"""A program that warns."""

import warnings

import click

import mcli


@click.command()
@mcli.background
def warn():
    warnings.warn("careful", UserWarning, stacklevel=1)
    click.echo("warned only")


if __name__ == "__main__":
    warn()
