"""Commands with endpoints of every kind."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import click

import mcli


@click.command()
@click.option("--name", required=True, help="Whom.")
@click.option("--count", type=click.IntRange(1, 5), default=1)
@mcli.api("/greet", "POST", description="Says hello.", tags=["people"])
@mcli.api("/hello/{name}", "GET")
def greet(name: str, count: int) -> dict[str, object]:
    """Say hello."""
    click.echo("hello " * count + name)
    return {"name": name, "count": count}


@click.command()
@click.argument("number", type=int)
@click.option("--tag", multiple=True)
@mcli.api("/items/{number}", "GET", public=True)
@mcli.api("/items/{number}", "DELETE")
def item(number: int, tag: tuple[str, ...]) -> object:
    return {"id": number, "tags": tag, "token": [key for key in os.environ if "TOKEN" in key]}


@click.command()
@mcli.api("/items/count", "GET")
def count() -> int:
    return 0


@click.command()
@click.argument("files", type=click.Path(exists=True), nargs=-1, required=True)
@click.option("--label")
@mcli.api("/sums", "POST", enable_background=True)
@mcli.api("/sums-now", "PUT")
def sums(files: tuple[str, ...], label: str | None) -> dict[str, object]:
    """Sum files up."""
    found = {
        os.path.splitext(f)[1]: hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in files
    }
    return {"label": label, "sums": found, "mode": os.stat(files[0]).st_mode & 0o777}


@click.command()
@click.option("--how", default="well")
@mcli.api("/end", "POST", background_timeout=2)
@mcli.api("/end-openly", "POST", public=True)
@mcli.api("/end-slowly", "POST", enable_background=True, background_timeout=60)
@mcli.api("/end-late", "POST", enable_background=True, background_timeout=2)
def end(how: str) -> object:
    """End in some way."""
    if how == "usage":
        raise click.BadParameter("not that way", param_hint="'--how'")
    if how == "click":
        raise click.ClickException("no more paper")
    if how == "raise":
        raise RuntimeError("boom")
    if how == "exit":
        sys.exit(3)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "late":
        time.sleep(60)
    if how == "object":
        return object()
    return None
