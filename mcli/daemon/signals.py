"""
What a signal does to the daemon.

    TERM, INT   stop: take no more jobs, answer who waits, write what is to be written
    the same    a second time: stop now
    QUIT        stop now
    HUP         nothing, but where a terminal has gone with the daemon in its foreground: stop
    USR1        write what every thread does to the log, and go on

To stop now loses nothing that was acknowledged, as a crash does not; only what would be in
the next daemon's way is removed. It is not left to the event loop, which may be what hangs.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

log = logging.getLogger("mcli.daemon")

STOPPED: int = 1
"""The exit code of a daemon that was told to stop now."""


def obey(stop: Callable[[], None], clear: Callable[[], None]) -> None:
    """From now on do that; in the main thread, with its event loop.

    Args:
        stop: Begins to stop.
        clear: Removes what a daemon leaves in no case. It may be called at any moment.
    """
    loop = asyncio.get_running_loop()

    def now(_number: int, _frame: FrameType | None) -> None:
        clear()
        os.write(2, b"daemon.stopped at once\n")  # whoever logs may be who hangs
        os._exit(STOPPED)

    def begin() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, now)
        stop()

    def hung_up() -> None:
        if sys.stderr.isatty():
            begin()
        else:
            log.info("daemon.goes_on settings are read at a start: mcli daemon restart")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin)
    loop.add_signal_handler(signal.SIGHUP, hung_up)
    signal.signal(signal.SIGQUIT, now)
    # All threads by a handler of Python's, for which they stand still: while they run, to read
    # their stacks can end the process. The thread that is hit tells its own in any case.
    signal.signal(signal.SIGUSR1, lambda _number, _frame: faulthandler.dump_traceback(sys.stderr))
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False, chain=True)
