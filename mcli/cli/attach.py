"""``mcli attach``: this terminal as the face of a job that runs already."""

import sys

import click

from mcli.address import must_be_here
from mcli.attach import Session, attach_wire
from mcli.home import Home


@click.command()
@click.argument("job", metavar="JOB")
def attach(job: str) -> None:
    """Take part in a running job, as if it ran here.

    Shows what it has printed so far, then goes on with it: output, keys, Ctrl-C, and in the
    end its exit code. Of a job that has ended: all its output, and its exit code.
    """
    must_be_here("attach")
    home = Home.find()
    wire, told = attach_wire(home, job, 0)
    end = Session(home, wire, told["id"], keyboard=told["interactive"]).follow()
    if not end.reached:
        sys.exit(125)
    end.leave()
