"""docs/reference says what the code says."""

import dataclasses
from pathlib import Path

import pytest
from reference import FOLDER, PAGES, write

from mcli import errors
from mcli.problem import family
from mcli.settings import Settings
from mcli.states import MOVES, Reason, State


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_makes(name: str) -> None:
    """Each page is as the code makes it; otherwise run: python tests/docs/reference.py"""
    assert page(name) == PAGES[name]()


def test_settings_are_all_there() -> None:
    """Each setting stands on its page by variable, key and option."""
    text = page("settings.md")
    for each in dataclasses.fields(Settings):
        for spelling in (each.metadata["variable"], each.name, each.metadata["option"]):
            assert not spelling or f"`{spelling}`" in text


@pytest.mark.parametrize(
    ("option", "note"),
    [
        ("-d, --detach", "[env: MCLI_DETACH]"),
        ("-s, --signal SIG", "[default: KILL]"),
        ("--tty/--no-tty", "[default: tty]"),
        ("--timeout SECONDS", "[default: 60.0]"),
    ],
)
def test_commands_show_variables_and_defaults(option: str, note: str) -> None:
    """An option that has a variable or a default shows it."""
    (row,) = [line for line in page("commands.md").splitlines() if line.startswith(f"| `{option}`")]
    assert row.endswith(f" {note} |")


def test_errors_are_drawn_as_they_are() -> None:
    """The tree in the docstring of errors.py has each error, below its parent, with its code."""
    lines = (errors.__doc__ or "").splitlines()
    for kind in list(family())[1:]:
        drawn = [line for line in lines if kind.__name__ in line.split()]
        assert len(drawn) == 1, kind
        assert f" {kind.exit_code} " in drawn[0]
        depth = len(kind.__mro__) - len(errors.MCLIError.__mro__)
        assert drawn[0].index(kind.__name__) == 4 + 4 * depth


def test_daemon_that_does_not_run_is_told_in_the_same_words() -> None:
    """Whoever finds no daemon says the same, and how to start one."""
    told = "the daemon is not running; start it with: mcli daemon start"
    assert str(errors.DaemonNotRunning()) == told


def test_error_codes_are_distinct() -> None:
    """No two errors share the code that crosses the wire."""
    codes = [kind.code for kind in family()]
    assert len(set(codes)) == len(codes)
    assert all(f"`{code}`" in page("exit-codes.md") for code in codes if code != "error")


def test_states_moves_and_reasons_have_a_meaning() -> None:
    """Each state, move and reason stands on the page with a sentence of its own."""
    lines = page("states.md").splitlines()
    for name in (*State, *MOVES, *Reason):
        rows = [line for line in lines if line.startswith(f"| `{name}`")]
        assert rows, name
        assert all(len(row.split("|")[-2].strip()) > 5 for row in rows)


def test_pages_are_written(tmp_path: Path) -> None:
    """The program writes every page, into a folder that it makes."""
    write(tmp_path / "reference")
    assert sorted(path.name for path in (tmp_path / "reference").iterdir()) == sorted(PAGES)
