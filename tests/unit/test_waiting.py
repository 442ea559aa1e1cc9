"""How the tests wait: for events. Where there is none they look again, in one place."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LOOKS = "acceptance/daemon.py"
"""Has ``until``, for what neither the kernel nor the daemon tells."""

WEATHER = "chaos/storm.py"
"""How long something lasts that is done to a daemon; nothing is waited for."""

PROGRAMS = ("chaos/program.py", "programs/", "fidelity/programs/")
"""Are run by mcli, and take their time."""


def sleeps(source: str) -> list[int]:
    """The lines in which a process sleeps; ``sleep(0)`` lets others run and waits for nothing."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "sleep"
        and ast.unparse(node.args[0]) != "0"
    ]


def sources() -> list[Path]:
    found = (path.relative_to(TESTS) for path in TESTS.rglob("*.py"))
    return sorted(path for path in found if not str(path).startswith(PROGRAMS))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("from time import sleep\nsleep(1)", [2]),
        ("await_ = asyncio.sleep(0.1)", [1]),
        ("asyncio.sleep(0)", []),
        ("code = 'time.sleep(60)'", []),
    ],
)
def test_sleeps_are_seen(source: str, found: list[int]) -> None:
    """Whatever it is called by; not those of a program that is only text here."""
    assert sleeps(source) == found


def test_no_test_sleeps_to_wait() -> None:
    """No test sleeps to wait for what the kernel or the daemon could tell it."""
    found = {str(path): len(sleeps((TESTS / path).read_text())) for path in sources()}
    assert {name: count for name, count in found.items() if count} == {LOOKS: 1, WEATHER: 3}
