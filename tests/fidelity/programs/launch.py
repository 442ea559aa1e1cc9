"""How a program was started, as it sees it itself."""

import os
import sys

import click
import neighbour

import mcli


def report():
    import __main__

    yield f"name {__name__}, package {__package__!r}, main {__main__.__name__}"
    yield f"file {__file__}, argv0 {sys.argv[0]}, path0 {sys.path[0]}"
    yield f"spec {getattr(__main__.__spec__, 'name', None)}"
    yield f"main file {getattr(__main__, '__file__', None)}"
    yield f"python {sys.executable} {sys.prefix}"
    yield f"orig {sys.orig_argv[1:]}" if "orig" in sys.argv else "no orig"
    yield f"flags {sys.flags} {sorted(sys._xoptions.items())} {sys.warnoptions}"
    yield f"neighbour {os.path.relpath(neighbour.__file__, sys.path[0])}"


@click.command()
@click.argument("words", nargs=-1)
@mcli.background
def show(words):
    for line in report():
        click.echo(line)
    assert not words, "assertions are on"


if __name__ == "__main__":
    show()
