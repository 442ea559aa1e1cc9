#!/usr/bin/env python
"""The smallest program: no guard, no group."""

import click

import mcli


@mcli.background
@click.command()
@click.option("--word", default="hello")
def bare(word):
    click.echo(word)


bare()
