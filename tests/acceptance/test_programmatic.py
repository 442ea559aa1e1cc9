"""
Commands that a program calls by itself: only what its own command line asked for may be routed,
because everything that the program did before would be done again by the replay.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon

PROGRAM = Path(__file__).parents[1] / "programs" / "inner.py"

CALLS = [
    ("call", (), "1 job\n"),
    ("call", ("--number=2",), "2 job\n"),
    ("words", (), "3 here\n"),
    ("words", ("--number=2",), "3 here\n"),
    ("no-words", (), "1 here\n"),
    ("main", (), "1 here\n"),
    ("main", ("--number=2",), "2 job\n"),
    ("main-words", ("--number=2",), "3 here\n"),
    ("main-words", ("--number=3",), "3 job\n"),
    ("group", ("solo", "--number=2"), "2 job\n"),
    ("group", ("outer",), "4 here\n"),
    ("group-words", (), "1 here\n"),
    ("group-words", ("outer",), "1 here\n"),
    ("group-main", ("solo",), "1 job\n"),
    ("group-main-words", (), "1 here\n"),
    ("group-main-words", ("outer",), "1 here\n"),
    ("runner", (), "1 here\n"),
    ("thread", (), "1 here\n"),
    ("twice", (), "1 here\n2 here\n"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all calls: none of them changes it."""
    daemon = Daemon(tmp_path_factory.mktemp("programmatic")).start()
    yield daemon
    daemon.close()


DYING = """
import os, signal
import click, mcli

@click.command()
@mcli.background
def die():
    os.kill(os.getpid(), signal.SIGSEGV)

die()
"""


def test_module_beside_the_program(shared: Daemon, tmp_path: Path) -> None:
    """
    A module of the program's own is not mistaken for the library's of the same name.
    """
    (tmp_path / "app.py").write_text(DYING)
    (tmp_path / "resource.py").write_text("print('the program's own')")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "app.py")],
        env=shared.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", -11)


@pytest.mark.parametrize(("how", "words", "said"), CALLS)
def test_only_the_command_line_is_routed(
    shared: Daemon, how: str, words: tuple[str, ...], said: str
) -> None:
    """
    A call is routed if it is what was typed; any other runs where it was made.
    """
    before = len(shared.jobs())
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words],
        env=shared.env | {"HOW": how},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)
    assert len(shared.jobs()) - before == said.count("job")
