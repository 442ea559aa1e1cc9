"""
A program whose body says in a ledger when it begins and when it has ended.

Its callers have no patience: what they do when nobody answers is seen soon.
"""

import os
import socket

import click

import mcli
from mcli import attach
from mcli.store import arbiter

PATIENCE_S = 0.5

attach.Wire.__init__.__defaults__ = (PATIENCE_S,)
arbiter.settle.__kwdefaults__["timeout_s"] = PATIENCE_S


def note(kind: str, tag: str) -> None:
    """One line in the ledger, whole whatever happens."""
    told = (kind, tag, os.environ.get("MCLI_JOB_ID", "here"), os.environ.get("MCLI_ATTEMPT", "0"))
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{' '.join(told)} {os.getpid()}\n".encode())
    os.close(fd)


@click.command()
@click.argument("tag")
@click.option("--gate", help="A socket to wait at, in the middle.")
@mcli.background
def work(tag: str, gate: str | None) -> str:
    """Do something once."""
    note("S", tag)
    if gate:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(gate)
            wire.recv(1)
    print(f"did {tag}")
    note("E", tag)
    return tag


if __name__ == "__main__":
    work()
