"""The table of rows is true: every row has its cases, every case its row, the page shows both."""

from pathlib import Path

from . import (
    test_bodies,
    test_command_line,
    test_endings,
    test_groups,
    test_launch,
    test_prompts,
    test_streams,
)
from .rows import ROWS, table

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "fidelity.md"
TOPICS = (
    test_bodies,
    test_command_line,
    test_endings,
    test_groups,
    test_launch,
    test_prompts,
    test_streams,
)


def test_every_case_stands_in_one_row() -> None:
    """The ids of all cases are those of the table, each once."""
    cases = sorted(case.id for topic in TOPICS for case in topic.CASES)
    assert cases == sorted(case for ids in ROWS.values() for case in ids)


def test_page_shows_the_table() -> None:
    """``fidelity.md`` holds the table as it is generated."""
    assert table() in PAGE.read_text()
