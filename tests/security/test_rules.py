"""Each rule of docs/explanation/security.md has tests, and each test a rule."""

import ast
import re
from pathlib import Path

from mcli.daemon.auth import never

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "explanation" / "security.md"
RULES = [*(f"R{number}" for number in range(1, 17)), "R9b"]


def of_rules() -> set[str]:
    """The tests of rules in this folder."""
    found = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_r"):
                found.add(node.name)
    return found


def rows() -> dict[str, list[str]]:
    """The tests that the page names for each rule."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ") for line in lines if re.match(r"\| R\d", line)]
    return {each[0].strip("| "): re.findall(r"`(test_\w+)`", each[-1]) for each in cells}


def test_every_rule_is_on_the_page_with_its_tests() -> None:
    """No rule is without a test, and no test is named that is not there."""
    assert sorted(rows()) == sorted(RULES)
    assert {rule for rule, named in rows().items() if not named} == set()
    assert {each for named in rows().values() for each in named} <= of_rules()


def test_every_test_is_of_a_rule() -> None:
    """A test here says by its name which rule it is of."""
    numbers = {re.match(r"test_r(\d\d)(b?)_", name) for name in of_rules() if name[6].isdigit()}
    assert None not in numbers
    known = {f"R{int(each[1])}{each[2]}" for each in numbers if each}
    assert known == set(RULES)


def test_nothing_is_open_by_default() -> None:
    """Without a word from an endpoint's author no route is open."""
    assert not never("GET", "/docs")
