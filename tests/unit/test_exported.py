"""What ``import mcli`` offers."""

import importlib
import subprocess
import sys

import pytest

import mcli
from mcli.errors import MCLIError
from mcli.problem import family


def test_all_is_sorted_and_there() -> None:
    """Each public name is listed once, in order, and can be had."""
    assert mcli.__all__ == sorted(
        {"JobTimeout", "MCLIError", "__version__", "api", "background", *mcli._LATER}
    )
    assert all(getattr(mcli, name) is not None for name in mcli.__all__)


def test_star_import_gives_what_is_listed() -> None:
    """``from mcli import *`` in a fresh interpreter gives exactly those names."""
    code = "from mcli import *; print(*sorted(name for name in dir() if name[:2] != '__'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [name for name in mcli.__all__ if name != "__version__"]


def test_what_comes_later_is_what_stands_in_its_module() -> None:
    """Names that are loaded on first use are the same objects as those of their modules."""
    for name, module in mcli._LATER.items():
        assert getattr(mcli, name) is getattr(importlib.import_module(module), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="module 'mcli' has no attribute 'backgroud'"):
        _ = mcli.backgroud


@pytest.mark.parametrize("kind", [*family()], ids=lambda kind: kind.__name__)
def test_errors_have_what_crosses_and_what_leaves(kind: type[MCLIError]) -> None:
    """Each error says what it means, has a code to cross the wire and one to leave with."""
    assert kind.__doc__
    assert kind.code.isidentifier()
    assert kind.exit_code in (2, 75, 125, 126, 127)
