"""A FastAPI application with endpoints of its own, and those of its commands."""

import os
import socket
import time

import click
import uvicorn
from fastapi import FastAPI
from puppet import serve

import mcli


@click.group()
def cli() -> None:
    """The commands."""


@cli.command()
@click.option("--left", type=int, required=True)
@click.option("--right", type=click.IntRange(0, 9), default=1)
@click.option("--password", default="none")
@mcli.api("/sum", "POST")
def add(left: int, right: int, password: str) -> dict[str, object]:
    """Add two numbers."""
    return {"sum": left + right, "pid": os.getpid(), "length": len(password)}


@cli.command()
@click.argument("item", type=int)
@mcli.api("/items/{item}", "GET")
def item(item: int) -> int:
    """Give an item back."""
    return item


@cli.command()
@mcli.api("/fail", "POST")
def fail() -> None:
    """Fail, and say why."""
    raise click.ClickException("out of order")


@cli.command()
@click.option("--source", type=click.File("rb"), required=True)
@mcli.api("/size", "POST", enable_background=True)
@mcli.background
def size(source: object) -> int:
    """Count the bytes of a file."""
    content: bytes = source.read()  # type: ignore[attr-defined]
    click.echo(f"{len(content)} bytes")
    return len(content)


@cli.command()
@mcli.api("/forever", "POST", enable_background=True)
def forever() -> None:
    """Sleep until somebody ends it."""
    click.echo("asleep")
    while True:
        time.sleep(60)


@cli.command()
@click.option("--gate", required=True)
@mcli.api("/obey", "POST", enable_background=True)
def obey(gate: str) -> object:
    """Do what the test says."""
    return serve(gate)


@click.command()
@mcli.api("/other", "GET")
def other() -> str:
    """A command beside the group."""
    return "other"


app = FastAPI()


@app.get("/own")
async def own() -> str:
    """A route of the application's own."""
    return "mine"


if __name__ == "__main__":
    some = {"group": [cli], "all": []}[os.environ.get("OWN_APPS", "all")]
    app.include_router(mcli.api_router(*some), prefix=os.environ.get("OWN_PREFIX", ""))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        server.run(sockets=[listening])
