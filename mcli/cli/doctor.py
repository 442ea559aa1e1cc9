"""``mcli doctor``: whether all is well here, and what to do where it is not."""

import json
import sys
from typing import Final

import click

from mcli.checkup import Finding, Verdict, checkup
from mcli.cli.table import colourful, printable

COLOURS: Final = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.WRONG: "red"}

NAMES: Final = max(len(name) for name in ("state directory", "file system"))
WORDS: Final = max(len(verdict) for verdict in Verdict)


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How to print it: table or json.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as -o json: one JSON object.")
def doctor(output: str, as_json: bool) -> None:
    """Look at everything that can be wrong with mcli here, and say what to do.

    Nothing is changed. A small job is run, and forgotten. Exit code 1 if something is wrong.
    """
    findings = []
    for finding in checkup():
        findings.append(finding)
        if not as_json and output == "table":
            click.echo(_line(finding))
    well = all(finding.verdict is not Verdict.WRONG for finding in findings)
    if as_json or output == "json":
        told = {"well": well, "findings": [finding._asdict() for finding in findings]}
        click.echo(json.dumps(told, indent=2))
    sys.exit(0 if well else 1)


def _line(finding: Finding) -> str:
    """All of it in one line, however long: what is cut off could be what to do."""
    word = finding.verdict.ljust(WORDS)
    if colourful():
        word = click.style(word, fg=COLOURS[finding.verdict])
    text = finding.text + (f"; {finding.advice}" if finding.advice else "")
    return f"{word}  {finding.check.ljust(NAMES)}  {printable(text)}"
