"""Commands in a chain: each result goes to the callback of the group."""

import click

import mcli


@click.group(chain=True)
@click.option("--sep", default="-")
@click.pass_context
def cli(ctx, sep):
    click.echo("chain begins")
    ctx.obj = {"sep": sep}


@cli.command()
@click.option("--times", default=1)
@mcli.background
def one(times):
    click.echo("one " * times)
    return "one"


@cli.command()
def local():
    click.echo("local")
    return "local"


@cli.command()
@click.pass_obj
@mcli.background
def two(obj):
    click.echo(f"two {obj}")
    return {"two": 2}


@cli.command()
@mcli.background
def bad():
    click.echo("bad")
    raise click.ClickException("the chain breaks")


@cli.result_callback()
@click.pass_obj
def collect(obj, results, sep):
    click.echo(sep.join(map(str, results)))


if __name__ == "__main__":
    cli()
