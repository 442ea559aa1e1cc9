"""
What the tests of several folders have in common: a daemon of one test's own.

And mcli is compiled once, before the first test.

The processes of the tests write no bytecode, or each to a place of its own, so that they leave
nothing behind; without this, each of the many would compile what it imports.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.daemon import Daemon, Gate, close_nursery
from acceptance.ledger import at_rest

PROJECT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Where a checkout cannot be written, the tests are slower, and nothing else."""
    if not hasattr(config, "workerinput"):  # those of xdist find it done
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
        subprocess.run([sys.executable, "-m", "compileall", "-qq", PROJECT / "mcli"], env=env)


def pytest_unconfigure() -> None:
    close_nursery()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Where the jobs of this test arrive, and wait for what it says."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def stopped(tmp_path: Path, gate: Gate) -> Iterator[Daemon]:  # the gate lets go after the end
    """A daemon of this test's own, not started yet. Afterwards no process of it is left."""
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()
    at_rest(daemon)


@pytest.fixture
def daemon(stopped: Daemon) -> Daemon:
    """A running daemon of this test's own."""
    return stopped.start()
