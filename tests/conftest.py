"""
mcli is compiled once, before the first test.

The processes of the tests write no bytecode, or each to a place of its own, so that they leave
nothing behind; without this, each of the many would compile what it imports.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Where a checkout cannot be written, the tests are slower, and nothing else."""
    if not hasattr(config, "workerinput"):  # those of xdist find it done
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
        subprocess.run([sys.executable, "-m", "compileall", "-qq", PROJECT / "mcli"], env=env)
