"""What a job's directory tells: the whole of it, or what it told before."""

import os
import subprocess
import sys
from pathlib import Path

from mcli.card import Pipes, read_attempt, write_card

WITHOUT_ROOM = """
import resource, signal, sys
from mcli.card import Pipes, write_card
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
try:
    write_card(sys.argv[1], {"attempt": 2}, Pipes({}, ""), now_s=0.0)
except OSError:
    print("no room")
"""


def test_card_that_there_is_no_room_for(tmp_path: Path) -> None:
    """It leaves nothing of itself, and the one of the attempt before as it was."""
    write_card(str(tmp_path), {"attempt": 1}, Pipes({1: 4711}, "begin"), now_s=0.0)
    words = [sys.executable, "-c", WITHOUT_ROOM, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "no room\n"
    assert read_attempt(str(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["job.json"]


def test_card_is_for_its_user_only(tmp_path: Path) -> None:
    """It holds arguments."""
    mask = os.umask(0)
    try:
        write_card(str(tmp_path), {"attempt": 1}, Pipes({}, ""), now_s=0.0)
    finally:
        os.umask(mask)
    assert (tmp_path / "job.json").stat().st_mode & 0o777 == 0o600
