"""A request's parameters: the words that stand for them, or what is wrong with each."""

from pathlib import Path
from typing import Any

import pytest

from mcli.description import describe, find
from mcli.endpoint import Checked
from mcli.parameters import check
from tests.programs import kinds

FOUND = find(vars(kinds), "kinds.py")
NEEDED = {"number": 1, "password": "hush"}


def checked(values: dict[str, Any] | None = None, command: str = "kinds", **texts: Any) -> Checked:
    return check(FOUND[command], describe(command, FOUND[command]), values or {}, texts)


def wrong(values: dict[str, Any], **texts: Any) -> dict[str, str]:
    found = checked(NEEDED | values, **texts)
    return {each["parameter"]: each["message"] for each in found.errors}


def test_words() -> None:
    """Values become the words that one would type, the command's path first."""
    found = checked(
        NEEDED
        | {"deep": False, "volume": 2, "case": "lower", "colour": "red", "letters": ["a", "b"]}
        | {"pair": [1, "-x"], "points": [[1, 2.5]], "words": ["--number=3"]}
    )
    assert found.words == [
        *("kinds", "--number=1", "--shallow", "--volume", "--volume", "--lower"),
        *("--letter=a", "--letter=b", "--colour=red", "--pair", "1", "-x"),
        *("--point", "1", "2.5", "--password=hush", "--", "--number=3"),
    ]
    assert not found.errors


def test_words_of_paths_files_and_what_is_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several files are repeated, an argument of two has both, a choice may come in any case; a
    variable is left to the job.
    """
    monkeypatch.setenv("KINDS_REGION", "there")
    file = tmp_path / "a"
    file.touch()
    values = {"sources": [str(file)] * 2, "path": str(file), "corner": [1, -2.5], "size": "large"}
    found = checked(values, "more")
    assert not found.errors
    assert found.words[0] == "more"
    assert found.words.count(f"--source={file}") == 2
    assert found.words[-3:] == ["--", "1", "-2.5"]
    assert {f"--path={file}", "--size=large"} < set(found.words)
    assert not any("region" in word for word in found.words)
    missing = checked({"corner": [1], "path": f"{file}x", "sources": [f"{file}x"]}, "more")
    assert {each["parameter"] for each in missing.errors} == {"corner", "path", "sources"}


def test_secrets_are_told() -> None:
    """The values of secret parameters are told apart."""
    assert checked(NEEDED).secrets == ["hush"]


def test_null_leaves_out() -> None:
    """A parameter that is null is not given; a required one then is missing."""
    assert checked(NEEDED | {"ratio": None}).words == checked(NEEDED).words
    assert wrong({"number": None}) == {"number": "Missing option '--number'."}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("number", "x", "Invalid value for '--number': 'x' is not a valid integer."),
        ("number", "1", "Invalid value for '--number': '1' is not a valid integer."),
        ("number", True, "Invalid value for '--number': true is not a valid integer."),
        ("number", 1.5, "Invalid value for '--number': 1.5 is not a valid integer."),
        ("ranged", 5, "Invalid value for '--ranged': 5 is not in the range 0<=x<5."),
        ("volume", 999, "Invalid value for '-v' / '--volume': 999 is not in the range 0<=x<=100."),
        ("ratio", "1", "Invalid value for '--ratio': '1' is not a valid float."),
        ("ratio", float("inf"), "Invalid value for '--ratio': Infinity is not a valid float."),
        ("deep", 1, "Invalid value for '--deep': 1 is not a valid boolean."),
        ("text", 1, "Invalid value for '--text': 1 is not a valid string."),
        ("letters", "a", "Invalid value for '--letter': 'a' is not a valid list."),
        ("letters", ["c"], "Invalid value for '--letter': 'c' is not one of 'a', 'b'."),
        ("pair", [1], "Invalid value for '--pair': Takes 2 values but 1 was given."),
        ("points", [[1, "x"]], "Invalid value for '--point': 'x' is not a valid float."),
        ("day", "never", "Invalid value for '--day': 'never' does not match the formats "
         "'%Y-%m-%d', '%Y-%m-%dT%H:%M:%S', '%Y-%m-%d %H:%M:%S'."),
        ("key_id", "x", "Invalid value for '--key-id': 'x' is not a valid UUID."),
        ("text", "a\0b", "Invalid value for '--text': 'a\\x00b' has a character that no command "
         "line can hold"),
        ("text", "\ud800", "Invalid value for '--text': '\\ud800' has a character that no command "
         "line can hold"),
    ],
)  # fmt: skip
def test_wrong_values(name: str, value: Any, message: str) -> None:
    """A value of another type or out of range is told of in Click's own words."""
    assert wrong({name: value}) == {name: message}


def test_all_that_is_wrong_is_told() -> None:
    """One entry for each parameter that is wrong, unknown or missing."""
    found = checked({"ratio": "x", "nope": 1})
    assert [each["parameter"] for each in found.errors] == ["ratio", "nope", "number", "password"]
    assert "it has: number, ranged" in found.errors[1]["message"]
    assert found.words == []


def test_whole_floats_are_integers() -> None:
    """JSON does not tell 1.0 from 1."""
    assert checked(NEEDED | {"number": 1.0}).words == checked(NEEDED).words


def test_texts_are_read_by_type() -> None:
    """What stands in a path or query is read as its parameter's type; a repeated one is a list."""
    texts: Any = {"number": ["2"], "item": ["7"], "deep": ["false"], "letters": ["a", "b"]}
    found = checked(command="look", **texts)
    assert found.words == [
        *("look", "--number=2", "--shallow", "--letter=a", "--letter=b", "--", "7"),
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"number": ["1", "2"]}, "Invalid value for '--number': is given 2 times; it takes one "
         "value"),
        ({"number": ["1.0"]}, "Invalid value for '--number': '1.0' is not a valid integer."),
        ({"number": ["1"], "deep": ["1"]}, "Invalid value for '--deep': '1' is not a "
         "valid boolean."),
    ],
)  # fmt: skip
def test_wrong_texts(texts: Any, message: str) -> None:
    """A text that is no value of its parameter's type is told of."""
    found = checked(command="look", item=["1"], **texts)
    assert [each["message"] for each in found.errors] == [message]


def test_value_never_becomes_an_option() -> None:
    """A value that looks like an option stays a value."""
    found = checked(NEEDED | {"text": "--number=9", "words": ["--help", "--"]})
    assert found.words[-3:] == ["--", "--help", "--"]
    assert "--text=--number=9" in found.words
