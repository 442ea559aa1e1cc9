"""One daemon for the tests that leave it as it was; the others have one of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.daemon import PROGRAMS, Daemon

from .wire import Wire


def wire_to(daemon: Daemon) -> Wire:
    token = Path(daemon.home.token).read_text(encoding="ascii").strip()
    with daemon.client() as client:
        return Wire(client.url, token)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon of the module's own."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"))
    daemon.executed = True  # what the kernel shows of it is looked at
    yield daemon.start("--app", str(PROGRAMS / "kinds.py"))
    daemon.close()


@pytest.fixture(scope="module")
def wire(shared: Daemon) -> Wire:
    """The HTTP side of that daemon."""
    return wire_to(shared)
