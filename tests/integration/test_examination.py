"""A look at a database that changes nothing."""

import sqlite3
from pathlib import Path

import pytest

from mcli.store.database import prepare
from mcli.store.examination import examine, has_reset_bug


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "mcli.db")
    prepare(path)
    return path


def names(path: str) -> set[str]:
    return {each.name for each in Path(path).parent.iterdir()}


def test_sound(path: str) -> None:
    """A sound one is told so, and nothing is made beside it."""
    before = names(path)
    found = examine(path, served=False)
    assert found is not None
    assert (found.wrong, found.unchecked, found.log_size) == (None, None, 0)
    assert found.size == Path(path).stat().st_size
    assert names(path) == before


def test_none(tmp_path: Path) -> None:
    """Where there is none, none is made."""
    assert examine(str(tmp_path / "mcli.db"), served=False) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["no database" * 100, ""])
def test_no_database_of_ours(path: str, content: str) -> None:
    """What is none, or has no tables, is wrong."""
    Path(path).write_text(content)
    found = examine(path, served=False)
    assert found is not None
    assert found.wrong


def test_log_without_its_index(path: str) -> None:
    """As after a power cut: the index would have to be made, so it is not looked at."""
    Path(f"{path}-wal").write_bytes(b"x" * 100)
    found = examine(path, served=False)
    assert found is not None
    assert found.wrong is None
    assert "the next start" in (found.unchecked or "")


def test_served(path: str) -> None:
    """While somebody writes, what was committed is seen."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("UPDATE counters SET jobs = jobs + 1")
    found = examine(path, served=True)
    writer.close()
    assert found is not None
    assert (found.wrong, found.unchecked) == (None, None)
    assert found.log_size > 0


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 51, 2), True), ((3, 51, 3), False)],
)
def test_reset_bug(version: tuple[int, ...], expected: bool) -> None:
    """The range has both its ends."""
    assert has_reset_bug(version) is expected
