"""Groups, contexts, and all that is between the command line and the body."""

import click

import mcli


class Settings:
    def __init__(self, level):
        self.level = level


pass_settings = click.make_pass_decorator(Settings)


def shout(ctx, param, value):
    click.echo(f"callback of {param.name}: {value}")
    return value and value.upper()


@click.group(invoke_without_command=True)
@click.option("--level", default=1, type=int)
@click.option("--name", callback=shout)
@click.version_option("9.9", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx, level, name):
    click.echo(f"group {level} {name} {ctx.invoked_subcommand}")
    click.echo("group complains", err=True)
    ctx.obj = Settings(level)
    ctx.call_on_close(lambda: click.echo("group closed"))


@cli.group()
@click.pass_context
def inner(ctx):
    click.echo("inner group")
    ctx.meta["from.inner"] = "meta"


@inner.command()
@click.pass_context
@mcli.background
def deep(ctx):
    click.echo(f"{ctx.command_path} {ctx.obj.level} {ctx.meta['from.inner']} {ctx.info_name}")
    click.echo(f"{ctx.parent.params} {ctx.find_root().params}")


@cli.command()
@click.pass_obj
@mcli.background
def with_obj(settings):
    settings.level += 1
    click.echo(f"level {settings.level}")


@cli.command()
@pass_settings
@mcli.background()
def with_settings(settings):
    click.echo(f"level {settings.level}")


@mcli.background
@cli.command()
@click.option("--size", default=3, show_default=True)
def above(size):
    """Decorated above the command."""
    click.echo(f"above {size}")


@mcli.background(command_name="shown-name")
@click.command()
@click.option("--size", default=3)
def finished(size):
    click.echo(f"finished {size}")


cli.add_command(finished)


def eager(ctx, param, value):
    if value:
        click.echo("eager answer")
        ctx.exit(4)


@cli.command()
@click.option("--early", is_flag=True, is_eager=True, expose_value=False, callback=eager)
@click.option("--size", required=True, callback=shout)
@mcli.background
def eagerly(size):
    click.echo(f"body {size}")


class Point(click.ParamType):
    name = "point"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            x, y = value.split(",")
            return int(x), int(y)
        except ValueError:
            self.fail(f"{value!r} is not a point", param, ctx)


@cli.command()
@click.argument("point", type=Point())
@click.option("--when", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--kind", type=click.Choice(["a", "b"], case_sensitive=False))
@mcli.background
def custom(point, when, kind):
    click.echo(f"{point} {when} {kind}")


@cli.command()
@click.pass_context
def calls(ctx):
    """Not decorated itself; calls one that is."""
    ctx.invoke(above, size=7)
    ctx.invoke(finished)
    click.echo("back")


@cli.command()
@click.option("--size", default=1)
@click.pass_context
def forwards(ctx, size):
    ctx.forward(above)


class Resource:
    def __enter__(self):
        click.echo("resource opened")
        return self

    def __exit__(self, *_):
        click.echo("resource closed")


@cli.command()
@click.pass_context
@mcli.background
def closing(ctx):
    ctx.with_resource(Resource())
    ctx.call_on_close(lambda: click.echo("closed"))
    click.echo("body")


@cli.result_callback()
@click.pass_context
def finish(ctx, result, **options):
    click.echo(f"result {result!r} {sorted(options)}")


@cli.command()
@mcli.background
def result():
    return [1, {"two": 2}, None]


@click.group()
def defaults():
    pass


@defaults.command()
@click.option("--port", default=1)
@click.option("--host", default="nowhere")
@mcli.background
def serve(port, host):
    ctx = click.get_current_context()
    click.echo(f"{port} {host} {ctx.get_parameter_source('port').name}")


if __name__ == "__main__":
    import sys

    if sys.argv[1:2] == ["serve"]:
        defaults(default_map={"serve": {"port": 5000, "host": "example"}})
    else:
        cli(obj="replaced", auto_envvar_prefix="GROUPS")
