"""Where a command runs: environment, directory, umask, files."""

import locale
import os
import random
import tempfile
import time

import click
import neighbour

import mcli

COLOUR = os.environ.get("COLOUR", "none")
random.seed(os.environ.get("SEED", "0"))


@click.group(context_settings={"auto_envvar_prefix": "APP"})
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


@command
def environment():
    for name, value in sorted(os.environb.items()):
        if not name.startswith(b"MCLI_"):
            print(name, value)


@cli.command()
@click.option("--colour", envvar="COLOUR", show_envvar=True)
@click.option("--size", type=int, default=1)
@click.option("--path", "paths", envvar="PATHS", multiple=True, type=click.Path())
@mcli.background
def options(colour, size, paths):
    print(colour, size, paths)


@command
def imported():
    neighbour.VISITS.append(1)
    print(COLOUR, neighbour.COLOUR, neighbour.FOLDER, neighbour.ARGUMENTS, neighbour.VISITS)


@command
def chance():
    print(random.random(), random.sample(range(1000), 5))


@command
def hashes():
    print(hash("mcli"), sorted({"a", "b", "c"}, key=hash))


@command
def clock():
    print(time.tzname, time.strftime("%H:%M", time.localtime(0)), locale.getlocale())


@command
def where():
    print(os.getcwd(), os.environ.get("PWD"), os.path.abspath("here"), sorted(os.listdir()))
    print(tempfile.gettempdir())


@command
@click.argument("output", type=click.File("w"))
@click.argument("source", type=click.File("r"))
def copy(output, source):
    output.write(source.read().upper())
    print(output.name, source.name)


@command
@click.argument("path", type=click.Path(exists=True, resolve_path=True))
@click.argument("raw", type=click.Path())
def paths(path, raw):
    print(path, raw, click.format_filename(raw))


@command
def leave():
    mask = os.umask(0)
    os.umask(mask)
    print(oct(mask))
    os.makedirs("a/b")
    with open("a/b/file", "w") as file:
        file.write("left behind\n")
    with open("private", "x", opener=lambda path, flags: os.open(path, flags, 0o600)):
        pass
    os.symlink("a/b/file", "link")
    os.chmod("a", 0o750)


if __name__ == "__main__":
    cli()
