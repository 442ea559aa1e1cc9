"""``mcli run``: any program as a job, with this terminal as its face."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from mcli import attach, stdio
from mcli.address import must_be_here
from mcli.cli.programs import recognise
from mcli.errors import DaemonError, NotExecutable, NotFound
from mcli.policy import Policy
from mcli.surroundings import surroundings


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-d",
    "--detach",
    is_flag=True,
    envvar="MCLI_DETACH",
    show_envvar=True,
    help="Print the job's id and exit.",
)
@click.option("--name", metavar="N", help="Name shown in lists. Unless given: the program's.")
@click.option(
    "--leave-children", is_flag=True, help="What it has started may live on after its end."
)
@click.argument(
    "words", metavar="PROGRAM [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED
)
def run(detach: bool, name: str | None, leave_children: bool, words: Sequence[str]) -> None:
    """Run any program in the background.

    Output, input, signals and the exit code pass through as in a local run. A Python
    program that uses mcli runs in a warm worker; anything else is executed.
    """
    must_be_here("run")
    program, *arguments = words
    _check(program)
    invocation = _invocation(program, arguments, name, detach)
    if leave_children:
        invocation["policy"] = Policy(leave_children=True).document()
    end = attach.run(invocation, detach=detach)
    if not end.reached:
        raise DaemonError(f"job {end.job_id} could not be started; see: mcli inspect {end.job_id}")
    end.leave()


def _check(program: str) -> None:
    """Refuse here what a shell would refuse, with its exit codes."""
    if shutil.which(program) is not None:
        return
    if os.path.sep in program and os.path.exists(program):
        raise NotExecutable(
            f"{program} is not an executable program; try: chmod +x, or its interpreter"
        )
    raise NotFound(f"there is no program {program!r}; check the name, or give its path")


def _invocation(
    program: str, arguments: list[str], name: str | None, detach: bool
) -> dict[str, Any]:
    found = recognise(program, arguments)
    executed = {
        "kind": "exec",
        "target": program,
        "python": sys.executable,
        "flags": [],
        "mcli_root": "",
        "cwd": "",
    }
    app, argv0, argv = found or (executed, program, arguments)
    plugs, terminal = stdio.survey()
    return {
        **surroundings(),
        "name": name or os.path.basename(argv0),
        "app": app,
        "argv": argv,
        "argv0": argv0,
        "stdio": plugs,
        "terminal": terminal,
        "replay": None,
        "by_line": detach,
        "timeout_s": None,
    }
