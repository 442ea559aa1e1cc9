"""
Reports on files: a group whose options all its commands share.

    python examples/report.py sales examples/data/sales.csv
    python examples/report.py --format json sales --by product examples/data/sales.csv
    python examples/report.py --format markdown --verbose words --top 5 README.md

The group's callback puts the options into ``ctx.obj``; ``@pass_options`` hands them to a
command. What a command returns is JSON, so it is the job's ``result``.
"""

import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TextIO

import click

import mcli

Table = list[dict[str, str | int | float]]
"""Rows with the same keys in the same order."""


@dataclass(frozen=True)
class Options:
    """The options of the group."""

    format: str
    verbose: bool

    def show(self, table: Table) -> None:
        """Print *table* in the format that was asked for."""
        if not table:
            raise click.ClickException("there is nothing to report: the file holds no data")
        click.echo(FORMATS[self.format](table))

    def talk(self, text: str) -> None:
        """Say *text* on stderr if that was asked for."""
        if self.verbose:
            click.echo(text, err=True)


pass_options = click.make_pass_decorator(Options)


def as_text(table: Table) -> str:
    """Columns side by side: text to the left, numbers to the right."""
    lines = [list(table[0]), *([shown(cell) for cell in row.values()] for row in table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [not isinstance(cell, str) for cell in table[0].values()]
    aligned = (
        [f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(line, widths, right, strict=True)]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def as_json(table: Table) -> str:
    return json.dumps(table, indent=2, ensure_ascii=False)


def as_markdown(table: Table) -> str:
    marks = ["---" if isinstance(cell, str) else "---:" for cell in table[0].values()]
    lines = [list(table[0]), marks, *([shown(cell) for cell in row.values()] for row in table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(cell: str | int | float) -> str:
    """*cell* for people: numbers with thousands apart, amounts with two decimals."""
    match cell:
        case str():
            return cell
        case int():
            return f"{cell:,}"
        case _:
            return f"{cell:,.2f}"


FORMATS = {"text": as_text, "json": as_json, "markdown": as_markdown}


@click.group()
@click.option("--format", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option("--verbose", is_flag=True, help="Say on stderr what was read.")
@click.pass_context
def report(ctx: click.Context, format: str, verbose: bool) -> None:  # noqa: A002
    """Summarise files."""
    ctx.obj = Options(format, verbose)


@report.command()
@mcli.background
@click.argument("source", type=click.File(encoding="utf-8-sig"))
@click.option("--by", type=click.Choice(["month", "product"]), default="month", show_default=True)
@pass_options
def sales(options: Options, source: TextIO, by: str) -> Table:
    """Total units and revenue of SOURCE, a CSV of date, product, units, unit_price (- is stdin)."""
    units: Counter[str] = Counter()
    revenue: defaultdict[str, Decimal] = defaultdict(Decimal)
    lines = csv.DictReader(source)
    try:
        for line in lines:
            key = line["date"][:7] if by == "month" else line["product"]
            sold = int(line["units"])
            units[key] += sold
            revenue[key] += sold * Decimal(line["unit_price"])
    except KeyError as error:
        raise click.ClickException(f"{source.name} has no column {error}") from error
    except (TypeError, ValueError, InvalidOperation, csv.Error) as error:
        raise click.ClickException(
            f"{source.name}, line {lines.line_num}: not a date, a product, units and a price"
        ) from error
    options.talk(f"{source.name}: {lines.line_num} lines")
    table: Table = [
        {by: key, "units": units[key], "revenue": float(revenue[key])} for key in sorted(units)
    ]
    options.show(table)
    return table


@report.command()
@mcli.background
@click.argument("source", type=click.File(encoding="utf-8", errors="replace"))
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True)
@pass_options
def words(options: Options, source: TextIO, top: int) -> Table:
    """Count the most frequent words of SOURCE (- is stdin)."""
    counts = Counter(word for line in source for word in re.findall(r"[^\W\d_]+", line.casefold()))
    options.talk(f"{source.name}: {counts.total()} words, {len(counts)} different ones")
    # By count, then by name: the order must not depend on where a word came first.
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]
    table: Table = [{"word": word, "count": count} for word, count in best]
    options.show(table)
    return table


if __name__ == "__main__":
    report()
