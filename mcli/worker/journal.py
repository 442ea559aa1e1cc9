"""
Lines of a worker in the daemon's log, which is its stderr, as the daemon writes its own.
"""

import os
import time


def warn(text: str) -> None:
    """Note something that somebody should look at."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    os.write(2, f"{stamp},{int(now % 1 * 1000):03d} WARNING {text}\n".encode())
