"""
``mcli verify``: does a command behave in the daemon as it does here?

It is run twice with pipes and, unless told otherwise, twice at a terminal of its own; what
an onlooker could see of the runs is compared. The answer is the exit code, and the
differences stand on stdout.
"""

import json
import os
import sys
from dataclasses import dataclass

import click

from mcli import is_background_available
from mcli.cli import complain
from mcli.errors import DaemonNotRunning
from mcli.home import Home
from mcli.stage import Program, Run, perform
from mcli.twin import Difference, differences, local, routed

DIFFERS = 1
UNKNOWN = 125
NOT_STARTED = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comparing one pair of runs has shown."""

    stage: str
    routed: bool
    ending: str
    differences: list[Difference]

    @property
    def equal(self) -> bool:
        return self.routed and not self.differences

    @property
    def exit_code(self) -> int:
        """A run that never was a job proves nothing, and is worse than a difference."""
        return 0 if self.equal else DIFFERS if self.routed else UNKNOWN


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--tty/--no-tty", default=True, help="Compare at a terminal too.  [default: tty]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--timeout",
    "timeout_s",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Kill a run that takes longer.",
)
@click.argument("argv", metavar="PROGRAM [ARGS]...", nargs=-1, type=click.UNPROCESSED)
def verify(tty: bool, as_json: bool, timeout_s: float, argv: tuple[str, ...]) -> None:
    """Run PROGRAM here and in the daemon, and show what differs.

    The command really runs: twice with pipes and twice at a terminal, one after the other, in
    this directory and not in a copy of it. Do not verify what must not be done four times.
    Its standard input is empty. Files that it leaves behind are not compared.

    Exits 0 when nothing differs, 1 when something does, 125 when that cannot be known: no
    daemon can be reached, or PROGRAM did not use it.
    """
    if not argv:
        raise click.UsageError("name the program to verify: mcli verify -- python app.py …")
    if not is_background_available():
        raise DaemonNotRunning
    program = Program(argv=argv, cwd=os.getcwd(), env=os.environ, deadline_s=timeout_s)
    try:
        verdicts = [compare(program, terminal=terminal) for terminal in (False, True)[: 1 + tty]]
    except OSError as error:
        complain(f"cannot start {argv[0]}: {error.strerror}")
        sys.exit(NOT_STARTED)
    click.echo(_document(verdicts) if as_json else "\n".join(map(describe, verdicts)))
    sys.exit(max(verdict.exit_code for verdict in verdicts))


def compare(program: Program, *, terminal: bool) -> Verdict:
    """Run *program* here, then in the daemon, and compare."""
    here = perform(local(program), terminal=terminal)
    before = _jobs()
    there = perform(routed(program), terminal=terminal)
    return Verdict(
        stage="terminal" if terminal else "pipes",
        routed=was_routed(before),
        ending=_pair(here, there),
        differences=differences(here, there, terminal=terminal),
    )


def was_routed(before: set[str]) -> bool:
    """Whether a job has come since *before* (another caller's job would count too)."""
    return bool(_jobs() - before)


def describe(verdict: Verdict) -> str:
    """The verdict as lines to be read."""
    if verdict.equal:
        return f"{verdict.stage}: equal ({verdict.ending})"
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
