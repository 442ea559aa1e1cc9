"""A process that loads an app and says what it offers, asked over a socket."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
KINDS = str(PROJECT / "tests" / "programs" / "kinds.py")

Ask = Callable[..., Any]


@pytest.fixture
def describer(tmp_path: Path) -> Iterator[Callable[[str], Ask]]:
    """Start one for a target; what is returned asks it."""
    running: list[tuple[subprocess.Popen[bytes], socket.socket]] = []

    def start(target: str) -> Ask:
        ours, its = socket.socketpair()
        config = json.dumps({"target": target, "cwd": str(tmp_path), "log": str(tmp_path / "log")})
        command = [sys.executable, "-m", "mcli.worker.describer", config]
        process = subprocess.Popen(command, stdin=its.fileno(), cwd=PROJECT)
        running.append((process, ours))
        its.close()
        answers = ours.makefile("r")

        def ask(**question: Any) -> Any:
            ours.sendall(json.dumps(question).encode() + b"\n")
            return json.loads(answers.readline())

        return ask

    yield start
    for process, connection in running:
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        process.wait(timeout=30)


def names(description: dict[str, Any]) -> list[str]:
    return [command["name"] for command in description["commands"]]


def test_script(describer: Callable[[str], Ask]) -> None:
    """A script's commands are told, with the files that they depend on."""
    told = describer(KINDS)(ask="describe")
    assert names(told) == ["kinds", "look", "more", "size", "slow"]
    assert told["error"] is None
    assert KINDS in [path for path, _, _ in told["sources"]]


def test_check(describer: Callable[[str], Ask]) -> None:
    """Parameters are made into words, or what is wrong with them is told."""
    ask = describer(KINDS)
    texts = {"number": ["1"], "item": ["2"]}
    good = ask(ask="check", command="look", values={}, texts=texts)
    assert good == {"words": ["look", "--number=1", "--", "2"], "secrets": [], "errors": []}
    bad = ask(ask="check", command="look", values={}, texts={"number": ["1"]})
    assert bad["errors"] == [{"parameter": "item", "message": "Missing argument 'ITEM'."}]
    none = ask(ask="check", command="nope", values={}, texts={})
    assert none["errors"][0]["message"] == "the app has no command 'nope'"


def test_what_ends_it_stands_in_the_log(describer: Callable[[str], Ask], tmp_path: Path) -> None:
    """A type of the app's own whose error cannot even be told ends it; the log says how."""
    app = tmp_path / "app.py"
    app.write_text(
        "import click, mcli\n"
        "class Mute(Exception):\n"
        "    def __str__(self): raise RuntimeError('no words for it')\n"
        "def strict(text): raise Mute\n"
        "@click.command()\n"
        "@click.option('--x', type=strict)\n"
        "@mcli.api('/x')\n"
        "def x(x): ...\n"
    )
    with pytest.raises(ValueError, match="Expecting value"):
        describer(str(app))(ask="check", command="x", values={"x": "1"}, texts={})
    assert "no words for it" in (tmp_path / "log").read_text()


def test_relative_paths_are_those_of_the_app(
    describer: Callable[[str], Ask], tmp_path: Path
) -> None:
    """A path that must exist is looked for from the app's directory."""
    (tmp_path / "here.txt").write_text("x")
    ask = describer(KINDS)
    texts: dict[str, Any] = {}
    good = ask(ask="check", command="size", values={"source": "here.txt"}, texts=texts)
    assert good["words"] == ["size", "--source=here.txt"]
    bad = ask(ask="check", command="size", values={"source": "nowhere"}, texts=texts)
    assert "'nowhere': No such file or directory" in bad["errors"][0]["message"]


def test_program_that_calls_its_command(describer: Callable[[str], Ask], tmp_path: Path) -> None:
    """A script without ``if __name__`` is described, and its command is not run."""
    script = tmp_path / "calls.py"
    script.write_text(
        "import click, mcli, pathlib\n"
        "@click.command()\n@mcli.api('/run')\n"
        "def run(): pathlib.Path('ran').touch()\n"
        "run()\n"
    )
    told = describer(str(script))(ask="describe")
    assert (names(told), told["error"]) == (["run"], None)
    assert not (tmp_path / "ran").exists()


def test_typer_program_that_calls_its_app(describer: Callable[[str], Ask], tmp_path: Path) -> None:
    """The same with Typer."""
    script = tmp_path / "typed.py"
    script.write_text(
        "import typer, mcli, pathlib\napp = typer.Typer()\n"
        "@app.command()\n@mcli.api('/run')\n"
        "def run(): pathlib.Path('ran').touch()\n"
        "app()\n"
    )
    told = describer(str(script))(ask="describe")
    assert (names(told), told["error"]) == (["run"], None)
    assert not (tmp_path / "ran").exists()


def test_module(describer: Callable[[str], Ask], tmp_path: Path) -> None:
    """A package is described by its own names, or by those of what ``python -m`` would run."""
    package = tmp_path / "parcel"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(
        "import click, mcli\n@click.group()\ndef cli(): ...\n"
        "@cli.command()\n@mcli.background\ndef post(): ...\n"
    )
    (package / "__main__.py").write_text("from parcel.cli import cli\ncli()\n")
    told = describer("parcel")(ask="describe")
    assert [command["target"] for command in told["commands"]] == ["parcel.__main__:cli"]
    told = describer("parcel.cli:cli")(ask="describe")
    assert [command["target"] for command in told["commands"]] == ["parcel.cli:cli"]
    assert str(package / "cli.py") in [path for path, _, _ in told["sources"]]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def (:\n", "SyntaxError: invalid syntax"),
        ("raise SystemExit('no')\n", "SystemExit: no"),
    ],
)
def test_broken_app(describer: Callable[[str], Ask], tmp_path: Path, text: str, last: str) -> None:
    """An app that cannot be loaded is told with its traceback and the file to mend."""
    script = tmp_path / "broken.py"
    script.write_text(text)
    told = describer(str(script))(ask="describe")
    assert told["commands"] == []
    assert told["error"].strip().splitlines()[-1] == last
    assert [path for path, _, _ in told["sources"]] == [str(script)]


def test_missing_attribute(describer: Callable[[str], Ask]) -> None:
    """An attribute that is not there is an error."""
    told = describer(f"{KINDS}:nope")(ask="describe")
    assert told["error"].strip().endswith("has no 'nope'")
