"""One daemon for the tests that leave it as it was, and one of a test's own for the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.daemon import PROGRAMS, Daemon, Gate

from .wire import Wire


def wire_to(daemon: Daemon) -> Wire:
    token = Path(daemon.home.token).read_text(encoding="ascii").strip()
    with daemon.client() as client:
        return Wire(client.url, token)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon of the module's own."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"))
    yield daemon.start("--app", str(PROGRAMS / "kinds.py"))
    daemon.close()


@pytest.fixture(scope="module")
def wire(shared: Daemon) -> Wire:
    """The HTTP side of that daemon."""
    return wire_to(shared)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Where the jobs of this test arrive, and wait for what it says."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def stopped(tmp_path: Path, gate: Gate) -> Iterator[Daemon]:  # the gate lets go after the end
    """A daemon of this test's own, not started yet."""
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(stopped: Daemon) -> Daemon:
    """A running daemon of this test's own."""
    return stopped.start()
