"""
``mcli verify``: does a command behave in the daemon as it does here?

It is run twice with pipes and, unless told otherwise, twice at a terminal of its own; what
an onlooker could see of the runs is compared. The answer is the exit code, and the
differences stand on stdout.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import click

from mcli import status_check
from mcli.cli import complain
from mcli.errors import DaemonNotRunning, InvalidTransition, MCLIError
from mcli.home import Home
from mcli.settings import Settings
from mcli.stage import Program, Run, perform
from mcli.twin import Difference, differences, files_below, local, routed

DIFFERS = 1
UNKNOWN = 125
NOT_STARTED = 127

LONGEST_S: Final = 86_400
"""Seconds that one run may be given: a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comparing one pair of runs has shown."""

    stage: str
    routed: bool
    ending: str
    differences: list[Difference]
    stuck: str | None = None
    """The run that had not ended at the deadline, ``local`` or ``routed``."""

    @property
    def equal(self) -> bool:
        return self.known and not self.differences

    @property
    def known(self) -> bool:
        """Whether there are two whole runs to compare."""
        return self.routed and self.stuck is None

    @property
    def exit_code(self) -> int:
        """Runs that cannot be compared prove nothing, and are worse than a difference."""
        return 0 if self.equal else DIFFERS if self.known else UNKNOWN


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--tty/--no-tty", default=True, show_default=True, help="Compare at a terminal too.")
@click.option("--files", is_flag=True, help="Compare the files below this directory too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True, max=LONGEST_S),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Kill a run that takes longer.",
)
@click.argument("argv", metavar="PROGRAM [ARGS]...", nargs=-1, type=click.UNPROCESSED)
def verify(tty: bool, files: bool, as_json: bool, timeout_s: float, argv: tuple[str, ...]) -> None:
    """Run PROGRAM here and in the daemon, and show what differs.

    The command really runs: twice with pipes and twice at a terminal, one after the other, in
    this directory and not in a copy of it. Do not verify what must not be done four times.
    Its standard input is empty.

    With --files, the files below this directory are looked at after each run. The run here
    comes first, and the one in the daemon finds what that has left behind: a file that is
    appended to differs, and one that only the first run writes does not.

    Exits 0 when nothing differs, 1 when something does, 125 when that cannot be known: no
    daemon can be reached, PROGRAM did not use it, or a run did not end in time. The job of a
    routed run that did not is cancelled.
    """
    if not argv:
        raise click.UsageError("name the program to verify: mcli verify -- python app.py …")
    if not (Settings.load().enabled and status_check()["running"]):
        raise DaemonNotRunning
    program = Program(argv=argv, cwd=os.getcwd(), env=os.environ, deadline_s=timeout_s)
    try:
        verdicts = list(_verdicts(program, tty=tty, files=files))
    except OSError as error:
        complain(f"cannot start {argv[0]}: {error.strerror}")
        sys.exit(NOT_STARTED)
    click.echo(_document(verdicts) if as_json else "\n".join(map(describe, verdicts)))
    sys.exit(max(verdict.exit_code for verdict in verdicts))


def _verdicts(program: Program, *, tty: bool, files: bool) -> Iterator[Verdict]:
    """With pipes, then at a terminal; a program that gets stuck is not run once more."""
    for terminal in (False, True)[: 1 + tty]:
        verdict = compare(program, terminal=terminal, files=files)
        yield verdict
        if verdict.stuck:
            return


def compare(program: Program, *, terminal: bool, files: bool) -> Verdict:
    """Run *program* here, then in the daemon, and compare. What gets stuck is ended."""
    stage = "terminal" if terminal else "pipes"
    here = _once(local(program), terminal=terminal, files=files)
    if here.returncode is None:
        return Verdict(stage=stage, routed=False, ending=here.ending, differences=[], stuck="local")
    before = _jobs()
    there = _once(routed(program), terminal=terminal, files=files)
    new = _jobs() - before  # another caller's job would count too
    if there.returncode is None:
        _cancel(new, program.cwd)
    return Verdict(
        stage=stage,
        routed=bool(new),
        ending=_pair(here, there),
        differences=differences(here, there, terminal=terminal),
        stuck="routed" if there.returncode is None else None,
    )


def _once(program: Program, *, terminal: bool, files: bool) -> Run:
    run = perform(program, terminal=terminal)
    if not files or run.returncode is None:
        return run
    try:
        return replace(run, files=files_below(program.cwd))
    except OSError as error:
        raise MCLIError(
            f"cannot read the files to compare: {error}; make them readable, or omit --files"
        ) from error


def _cancel(jobs: set[str], cwd: str) -> None:
    """End those of *jobs* that run in *cwd*: others are not ours."""
    from mcli.client import Client

    with Client.connect(Home.find()) as client:
        for job_id in jobs:
            if client.job(job_id)["cwd"] == cwd:
                with suppress(InvalidTransition):  # it has ended after all
                    client.cancel(job_id)


def describe(verdict: Verdict) -> str:
    """The verdict as lines to be read."""
    if verdict.equal:
        return f"{verdict.stage}: equal ({verdict.ending})"
    if verdict.stuck:
        return (
            f"{verdict.stage}: the {verdict.stuck} run did not end in time; "
            "give it longer with --timeout"
        )
    lines = [] if verdict.routed else [f"{verdict.stage}: the daemon was not asked to run it"]
    if verdict.differences:
        lines += [f"{verdict.stage}: differs", *map(str, verdict.differences)]
    return "\n".join(lines)


def _document(verdicts: list[Verdict]) -> str:
    return json.dumps(
        {
            "equal": all(verdict.equal for verdict in verdicts),
            "runs": [
                {
                    "stage": verdict.stage,
                    "equal": verdict.equal,
                    "routed": verdict.routed,
                    "stuck": verdict.stuck,
                    "ending": verdict.ending,
                    "differences": [
                        {"aspect": found.aspect, "diff": str(found)}
                        for found in verdict.differences
                    ],
                }
                for verdict in verdicts
            ],
        },
        indent=2,
    )


def _pair(here: Run, there: Run) -> str:
    return here.ending if here.ending == there.ending else f"{here.ending}; {there.ending}"


def _jobs() -> set[str]:
    try:
        return set(os.listdir(Home.find().jobs))
    except FileNotFoundError:
        return set()
