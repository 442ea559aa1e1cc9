"""A program that imports a module which starts a thread."""

import os
import sys

import click

sys.path.insert(0, os.path.dirname(__file__))

import threaded

import mcli


@click.command()
@mcli.background
def main() -> None:
    """Say whether the thread is here, and holds its lock."""
    print("locked", threaded.lock.locked(), "threads", threaded.threading.active_count())


if __name__ == "__main__":
    main()
