"""A group that imports its commands when they are asked for."""

import importlib

import click


class LazyGroup(click.Group):
    def list_commands(self, _):
        return ["argv", "say"]

    def get_command(self, _, name):
        if name == "say":
            return importlib.import_module("streams").cli.commands["say"]
        if name == "argv":
            return importlib.import_module("argv").show
        return None


@click.group(cls=LazyGroup)
def cli():
    click.echo("lazy group")


if __name__ == "__main__":
    cli()
