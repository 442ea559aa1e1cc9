"""The interpreter's own command line, taken apart."""

import pytest

from mcli import program

Parts = tuple[list[str], str, str, list[str]]
OTHER = "other"

CASES: list[tuple[list[str], Parts]] = [
    (["app.py"], ([], "script", "app.py", [])),
    (["app.py", "-m", "x", "-c"], ([], "script", "app.py", ["-m", "x", "-c"])),
    (["-u", "-O", "app.py", "a"], (["-u", "-O"], "script", "app.py", ["a"])),
    (["-X", "dev", "app.py", "a"], (["-X", "dev"], "script", "app.py", ["a"])),
    (["-Xdev", "-W", "error", "app.py"], (["-Xdev", "-W", "error"], "script", "app.py", [])),
    (
        ["--check-hash-based-pycs", "never", "app.py"],
        (["--check-hash-based-pycs", "never"], "script", "app.py", []),
    ),
    (["-m", "pkg", "--", "-x"], ([], "module", "pkg", ["--", "-x"])),
    (["-I", "-m", "pkg.sub", "a"], (["-I"], "module", "pkg.sub", ["a"])),
    (["-c", "pass", "app.py"], ([], OTHER, "", [])),
    (["-cpass"], ([], OTHER, "", [])),
    (["-mpkg"], ([], OTHER, "", [])),
    (["-"], ([], OTHER, "", [])),
    (["-i", "app.py"], ([], OTHER, "", [])),
    (["-m"], ([], OTHER, "", [])),
    (["-W"], (["-W"], OTHER, "", [])),
    ([], ([], OTHER, "", [])),
]


@pytest.mark.parametrize(("words", "parts"), CASES, ids=str)
def test_split(words: list[str], parts: Parts) -> None:
    """Flags, what runs and its arguments are told apart; what cannot be run again is ``other``."""
    assert program.split(words) == parts


def test_a_test_runner_is_not_a_program_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What something else runs in this process is not what its command line names."""
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "another"])
    assert program.current() is None
    monkeypatch.setattr("sys.orig_argv", ["python", "another.py"])
    assert program.current() is None
