"""Room that is held on the disk: when it is made, and when it is given away."""

import os
from pathlib import Path

import pytest

from mcli.daemon.ballast import NEEDED_BYTES, SIZE_BYTES, Act, Ballast, decide


@pytest.mark.parametrize(
    ("held", "free_bytes", "act"),
    [
        (True, NEEDED_BYTES, "leave"),
        (True, NEEDED_BYTES - 1, "give"),
        (True, 0, "give"),
        (False, 0, "leave"),
        (False, SIZE_BYTES, "leave"),
        (False, 2 * SIZE_BYTES - 1, "leave"),
        (False, 2 * SIZE_BYTES, "make"),
    ],
)
def test_decide(held: bool, free_bytes: int, act: Act) -> None:
    """S4: it is given on a full disk, and not made of the last room that there is."""
    assert decide(held=held, free_bytes=free_bytes) == act


def test_it_holds_room(tmp_path: Path) -> None:
    """S4: its blocks are its own, only the owner can read it, and it is given once."""
    path = tmp_path / "ballast"
    ballast = Ballast(str(path))
    ballast.check()
    found = path.stat()
    assert found.st_blocks * 512 >= found.st_size == SIZE_BYTES
    assert found.st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["ballast"]
    assert Ballast(str(path)).held
    assert ballast.give()
    assert not ballast.give()
    assert os.listdir(tmp_path) == []
