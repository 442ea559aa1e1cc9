"""How apps are named: on a command line, in a project's settings, by packages and requests."""

import sys
from pathlib import Path

import pytest

from mcli.daemon import sources
from mcli.errors import BadApp


def test_script_is_known_by_its_whole_path(tmp_path: Path) -> None:
    """A script's path is made absolute; its name is the app's."""
    (tmp_path / "shop.py").touch()
    (found,) = sources.started(["./shop.py"], str(tmp_path))
    assert (found.name, found.target, found.cwd) == (
        "shop",
        str(tmp_path / "shop.py"),
        str(tmp_path),
    )
    (found,) = sources.started([f"{tmp_path}/shop.py:cli"], "/")
    assert (found.name, found.target, found.place) == (
        "shop",
        f"{tmp_path}/shop.py:cli",
        f"{tmp_path}/shop.py",
    )


def test_module_is_known_by_its_name() -> None:
    """A module, with or without an attribute."""
    found = sources.started(["json.tool", "json.tool:main"], "/")
    assert [(each.name, each.target) for each in found] == [
        ("json.tool", "json.tool"),
        ("json.tool", "json.tool:main"),
    ]


@pytest.mark.parametrize("target", ["nowhere.py", "./nowhere", "no_such_module", "no_such:cli"])
def test_what_is_not_there_is_refused_at_the_start(tmp_path: Path, target: str) -> None:
    """daemon start --app says at once that there is no such file or module."""
    with pytest.raises(BadApp, match="there is no"):
        sources.started([target], str(tmp_path))


def test_project_is_found_from_below(tmp_path: Path) -> None:
    """The nearest pyproject.toml counts; paths are as seen from there."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert sources.project(str(below)) == []
    (tmp_path / "pyproject.toml").write_text('[tool.mcli]\napps = ["a/shop.py", "bank:cli"]\n')
    found = sources.project(str(below))
    assert [(each.target, each.cwd, each.origin) for each in found] == [
        (f"{tmp_path}/a/shop.py", str(tmp_path), "project"),
        ("bank:cli", str(tmp_path), "project"),
    ]
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert sources.project(str(below)) == []


@pytest.mark.parametrize(
    "text",
    ["[tool.mcli]\napps = 'shop.py'", "[tool.mcli]\napps = [1]", "[tool]\nmcli = 'shop.py'", "["],
)
def test_project_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """What is no list of apps is told, with the file's path; the daemon starts without them."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(BadApp, match=r"pyproject\.toml"):
        sources.project(str(tmp_path))
    assert sources.found([], str(tmp_path)) == list(sources.packages(str(tmp_path)))


def test_package_brings_its_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group mcli.apps names an app, which is not loaded for that."""
    (tmp_path / "bank-1.dist-info").mkdir()
    (tmp_path / "bank-1.dist-info" / "entry_points.txt").write_text(
        "[mcli.apps]\nmoney = bank.cli:main\n"
    )
    (tmp_path / "bank-1.dist-info" / "METADATA").write_text("Name: bank\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = sources.packages("/")
    assert (found.name, found.target, found.origin) == ("money", "bank.cli:main", "package")
    assert "bank" not in sys.modules


def test_request_names_a_real_interpreter(tmp_path: Path) -> None:
    """python and cwd of a request must be a program and a directory, by whole paths."""
    (tmp_path / "shop.py").touch()
    right = {"target": "shop.py", "python": sys.executable, "cwd": str(tmp_path), "mcli_root": ""}
    assert sources.added(right).target == f"{tmp_path}/shop.py"
    for name, wrong in (
        ("python", "python3"),
        ("python", str(tmp_path)),
        ("python", str(tmp_path / "shop.py")),
        ("cwd", "."),
        ("cwd", "/nowhere"),
        ("mcli_root", str(tmp_path)),
        ("target", "nowhere.py"),
    ):
        with pytest.raises(BadApp):
            sources.added(right | {name: wrong})
