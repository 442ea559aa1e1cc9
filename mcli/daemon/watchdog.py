"""
Ends a daemon whose event loop hangs: nothing else would ever tell its callers.

A thread asks the loop for a sign of life, again and again, and counts how often it has looked
for the answer in vain. It does not measure time: a machine that was suspended, or a daemon
that was stopped and continued, has stopped the thread as well, which then has looked once.

A loop may also hang in C code that never lets another thread run. Then the kernel ends the
daemon, by SIGPROF, when it has used that much processor time since the last sign of life.
"""

import asyncio
import faulthandler
import os
import signal
import sys
from threading import Event, Thread
from typing import Final

from mcli.daemon.crash import CRASHED

LOOKS: Final = 10
"""Looks in vain that make a hang."""

LAST_WORDS_S: Final = 5
"""Seconds for writing the stacks: the log may be what the loop hangs on."""


class Watchdog:
    """Watches a loop, from ``start`` to ``close``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patience_s: float) -> None:
        self._loop = loop
        self._patience_s = patience_s
        self._closed = Event()
        self._answered = True
        self._thread = Thread(target=self._run, name="mcli-watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        faulthandler.register(signal.SIGPROF, sys.stderr, all_threads=True, chain=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer. May be called without ``start``, and again."""
        self._closed.set()
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _run(self) -> None:
        vain = 0
        while not self._closed.wait(self._patience_s / LOOKS):
            if self._answered:
                vain, self._answered = 0, False
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # the loop has ended
                    return
            else:
                vain += 1
            if vain == LOOKS:
                self._end()

    def _answer(self) -> None:
        if not self._closed.is_set():
            signal.setitimer(signal.ITIMER_PROF, self._patience_s)
        self._answered = True

    def _end(self) -> None:
        """Not by way of ``logging``, whose lock the hung thread may hold."""
        signal.alarm(LAST_WORDS_S)  # nobody handles it: the kernel ends us
        words = (
            f"daemon.hung the event loop has not moved for {self._patience_s:g} s; its stacks:\n"
        )
        os.write(sys.stderr.fileno(), words.encode())
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        os._exit(CRASHED)
