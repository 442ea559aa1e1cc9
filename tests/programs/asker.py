"""A program whose import reads the environment."""

import os
import sys

import click

sys.path.insert(0, os.path.dirname(__file__))

import tinted

import mcli


@click.command()
@mcli.background
def main() -> None:
    """Say what the import saw."""
    print(tinted.COLOUR)


if __name__ == "__main__":
    main()
