"""``mcli run``: any program as a job, with this terminal as its face."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from mcli import attach, stdio
from mcli.address import must_be_here
from mcli.amount import duration
from mcli.cli.programs import recognise
from mcli.errors import NotExecutable, NotFound
from mcli.policy import NICE_MAX, RETRIES_MAX, Policy, policy_of
from mcli.surroundings import surroundings


def _time(_ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """An option's length of time as seconds."""
    try:
        seconds = None if value is None else duration(value)
    except ValueError as wanted:
        raise click.BadParameter(f"{value!r} must be {wanted}") from None
    if seconds == 0 and param.name == "timeout":
        raise click.BadParameter(f"{value!r} must be more than no time at all")
    return seconds


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
    "--timeout", metavar="TIME", callback=_time, help="End it after so long (90s, 12h), with 124."
)
@click.option(
    "--retries",
    type=click.IntRange(0, RETRIES_MAX),
    default=0,
    metavar="N",
    help="Try again when it fails.",
)
@click.option(
    "--retry-delay",
    metavar="TIME",
    default="1s",
    show_default=True,
    callback=_time,
    help="Until then, about; it doubles each time, up to an hour.",
)
@click.option(
    "--retry-on",
    metavar="CODE",
    type=click.IntRange(1, 255),
    multiple=True,
    help="Only after this exit code; may be given again.",
)
@click.option(
    "--on-lost",
    type=click.Choice(["retry"]),
    help="Try again too if it vanishes: it may run twice.",
)
@click.option("--memory-limit", metavar="SIZE", help="End it when it has more (500MB, 2GiB).")
@click.option(
    "--nice", type=click.IntRange(0, NICE_MAX), default=0, help="Stand back behind others, 0 to 19."
)
@click.option("--max-output", metavar="SIZE", help="Keep the first and last of so much output.")
@click.option(
    "--leave-children", is_flag=True, help="What it has started may live on after its end."
)
@click.argument(
    "words", metavar="PROGRAM [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED
)
def run(
    detach: bool,
    name: str | None,
    timeout: float | None,
    words: Sequence[str],
    **limits: Any,
) -> None:
    """Run any program in the background.

    Output, input, signals and the exit code pass through as in a local run. A Python
    program that uses mcli runs in a warm worker; anything else is executed.
    """
    must_be_here("run")
    policy = _policy(limits)
    program, *arguments = words
    _check(program)
    invocation = _invocation(program, arguments, name, detach)
    invocation |= {"timeout_s": timeout, "policy": policy.document()}
    attach.run(invocation, detach=detach, here=False).leave()


def _policy(limits: dict[str, Any]) -> Policy:
    """As ``@mcli.background`` takes it; what that refuses is wrong usage here."""
    try:
        return policy_of(**limits)
    except ValueError as error:
        option, _, wanted = str(error).partition("=")
        raise click.UsageError(f"--{option.replace('_', '-')} {wanted}") from None


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
    }
