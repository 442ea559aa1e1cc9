"""Text for people: what a cell shows, and that tables fit."""

import time

import pytest

from mcli.cli.jobs import COLUMNS, description, ending, id_length, listing
from mcli.cli.table import Column, coloured, cut, moment, printable, space, span, table, text_width
from mcli.ids import new_id
from mcli.job import JobInfo
from mcli.states import State

NOW = 1_700_000_000.0


def document(**known: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": new_id(),
        "name": "sum",
        "state": State.SUCCEEDED,
        "argv": ["sum", "a b"],
        "cwd": "/",
        "app": "sum.py",
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW + 65,
        "exit_code": 0,
    }
    return JobInfo(**(fields | known)).document()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    """Nothing that moves the cursor, hides or turns text reaches the terminal."""
    assert printable(text) == shown


def test_width_counts_columns_of_the_terminal() -> None:
    """Wide letters take two columns, combining ones none."""
    assert [text_width(text) for text in ("ab", "漢字", "e\u0301")] == [2, 4, 1]


@pytest.mark.parametrize(
    ("width", "shown"), [(9, "12345678"), (8, "12345678"), (7, "123456…"), (1, "…"), (0, "")]
)
def test_cut_ends_with_an_ellipsis(width: int, shown: str) -> None:
    """Text that does not fit is cut, and the cut can be seen."""
    assert cut("12345678", width) == shown


def test_cut_never_splits_a_wide_letter() -> None:
    """A wide letter that does not fit whole is left out."""
    assert cut("漢字漢", 4) == "漢…"


def test_columns_are_aligned() -> None:
    """Cells stand below their title, at equal columns also after wide letters."""
    lines = table([Column("A", 1), Column("B", 1)], [["漢字", "x"], ["abc", "y"]], 80)
    assert lines == ["A     B", "漢字  x", "abc   y"]


def test_the_widest_column_gives_way() -> None:
    """A table that is too wide shortens its widest column, not the others."""
    lines = table([Column("A", 2), Column("B", 2)], [["short", "very long text"]], 16)
    assert lines == ["A      B", "short  very lon…"]


@pytest.mark.parametrize("width", [1, 5, 20, 40, 60, 80, 200])
def test_listing_fits_every_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of the list is wider than the terminal, at any width."""
    monkeypatch.setenv("COLUMNS", str(width))
    jobs = [document(name="n" * 50, argv=["x" * 1000, "\x1b"]), document(state=State.QUEUED)]
    lines = listing(jobs, NOW)
    assert lines
    assert max(text_width(line) for line in lines) <= width


def test_narrow_listing_becomes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 20 columns each job is a block in which its id and state can be read."""
    monkeypatch.setenv("COLUMNS", "20")
    ids = ["018bcfe5-6800-7000-8000-000000000000", "018bcfe5-9999-7000-8000-000000000000"]
    lines = listing([document(id=each) for each in ids], NOW)
    assert lines[0] == "job 018bcfe5-6800"
    assert lines[1] == "state succeeded"
    assert "" in lines


def test_listing_of_nothing_has_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list shows its titles, so that one sees that it is one."""
    monkeypatch.setenv("COLUMNS", "80")
    assert listing([], NOW) == ["  ".join(column.title for column in COLUMNS)]


def test_listing_shows_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Id, state, exit code, time taken, name and the command as one would type it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    line = listing([document()], NOW)[1]
    assert "succeeded  0     sum   1m 05s" in line
    assert line.endswith("sum.py sum 'a b'")


def test_last_columns_are_left_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all columns fit, the first ones stay a table."""
    monkeypatch.setenv("COLUMNS", "40")
    assert listing([document()], NOW)[0].split() == ["JOB", "STATE", "EXIT", "NAME"]


def test_ids_are_shown_until_they_differ() -> None:
    """So much of the ids is shown that no two look the same."""
    ids = ["018bcfe5-6800-7000", "018bcfe5-6800-7001", "018bcfe5-9999-7000"]
    assert id_length(ids) == 18
    assert id_length(ids[1:]) == 13


def test_ending_names_the_signal() -> None:
    """A job that a signal ended shows its name, or its number if it has none."""
    failed = {"state": State.FAILED, "exit_code": None}
    assert ending(document(**failed, signal=9)) == "KILL"
    assert ending(document(**failed, signal=40)) == "40"
    assert ending(document(exit_code=None)) == ""


def test_description_leaves_out_what_is_unknown() -> None:
    """All that is known about a job is shown, an error with its lines, escapes spelled out."""
    lines = description(document(state=State.FAILED, error="one\n\x1btwo", exit_code=3))
    assert "error        one" in lines
    assert "             \\x1btwo" in lines
    assert "argv         sum 'a b'" in lines
    assert not any(line.startswith("pid") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.04, "0.0s"),
        (12.7, "12s"),
        (65, "1m 05s"),
        (7801, "2h 10m"),
        (90001, "1d 01h"),
    ],
)
def test_span_has_two_units_at_most(seconds: float | None, shown: str) -> None:
    """Lengths of time are short, and name their units."""
    assert span(seconds) == shown


def test_moment_is_as_short_as_its_age_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's times are clock times, this year's have a day, older ones are dates; all local."""
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        shown = [
            moment(stamp, NOW)  # 2023-11-14, 22:13:20 UTC: already the 15th here
            for stamp in (
                "2023-11-14T22:00:00.000Z",
                "2023-11-14T12:00:00.000Z",
                "2022-12-31T22:00:00.000Z",
                "2022-12-31T21:59:59.999Z",
                None,
            )
        ]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shown == ["00:00:00", "Nov 14 14:00", "Jan 01 00:00", "2022-12-31", ""]


def test_colours_only_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are coloured at a terminal, and not if NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured("x  failed", "failed") == "x  failed"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert coloured("x  failed", "failed") == "x  \x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("x  failed", "failed") == "x  failed"


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (34e6, "34 MB"), (5e12, "5.0 TB")],
)
def test_space(size: float, shown: str) -> None:
    """Two digits say enough."""
    assert space(size) == shown
