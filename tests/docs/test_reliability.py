"""The table of faults in the docs: each has a test, or the reason why there is none."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "explanation" / "reliability.md"
NOT_COVERED = re.compile(r"not covered: \w.*")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")

FAULTS = {
    "D": 19,
    "W": 15,
    "Z": 10,
    "C": 9,
    "S": 11,
    "O": 8,
    "A": 3,
    "R": 2,
    "T": 5,
    "U": 4,
    "N": 5,
}
"""How many of each kind there are."""


def rows() -> Iterator[tuple[str, list[str]]]:
    """Name of each fault, and the rest of its row."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"[A-Z]\d+", cells[0]):
            yield cells[0], cells[1:]


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests that a file has, which is named as it stands below ``tests``."""
    path = PROJECT / "tests" / file
    if not path.is_file():
        return frozenset()
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = [node.name for node in found if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return frozenset([*names, *re.findall(r"^(Test\w+)\b", path.read_text(), re.MULTILINE)])


def test_every_fault_has_a_row() -> None:
    """Each fault of the model stands in the table, once."""
    wanted = [f"{kind}{number + 1}" for kind, count in FAULTS.items() for number in range(count)]
    assert sorted(name for name, _ in rows()) == sorted(wanted)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: str(row[0]))
def test_row(row: tuple[str, list[str]]) -> None:
    """It says what happens and which tests show it, all of them there, or why there is none."""
    fault, happens, tests = row[1]
    assert fault
    assert happens
    named = TEST.findall(tests)
    assert named or NOT_COVERED.fullmatch(tests), tests
    assert [f"{file}::{test}" for file, test in named if test not in names_in(file)] == []


def test_storm_has_its_place() -> None:
    """There is a section that the storm can write its table into."""
    assert re.search(r"^<!-- storm -->\n(.*\n)*<!-- /storm -->$", PAGE.read_text(), re.MULTILINE)
