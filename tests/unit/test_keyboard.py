"""
Keys at a terminal, and what they make there.
"""

import subprocess
import sys

CODE = """
import os, pty
from mcli.keyboard import Keyboard

master, slave = os.openpty()
os.set_blocking(master, False)
print(Keyboard(master).type(os.getpid(), b"\\x1a"))
"""


def test_ctrl_z_at_a_terminal_that_nobody_has() -> None:
    """It stops nobody: least of all the process that types it."""
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, start_new_session=True
    )
    assert (done.returncode, done.stdout) == (0, "[20]\n")
