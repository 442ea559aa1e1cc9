"""What the command line says, to the last byte."""

import hashlib
import os
import sys

import click

import mcli


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", default="nobody")
@click.option("-v", "--verbose", count=True)
@click.option("--pair", type=(str, int), multiple=True)
@click.option("--flag/--no-flag", default=None)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@mcli.background
def show(name, verbose, pair, flag, words):
    print(ascii(name), verbose, pair, flag)
    for word in words:
        print("word", os.fsencode(word).hex() if len(word) < 100 else summary(word))
    for word in sys.argv[1:]:
        print("argv", ascii(word) if len(word) < 100 else summary(word))


def summary(word):
    return len(word), hashlib.sha256(os.fsencode(word)).hexdigest()


if __name__ == "__main__":
    show()
