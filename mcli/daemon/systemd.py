"""
Telling systemd how far the daemon is, if it is systemd that has started it.

The protocol is one datagram to the socket that ``$NOTIFY_SOCKET`` names (sd_notify(3)).
"""

import os
import socket
from contextlib import suppress
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"


class Notices:
    """What is told goes nowhere if nobody has asked for it."""

    def __init__(self) -> None:
        """Takes the variable out of the environment: it is not for workers and jobs."""
        name = os.environ.pop(VARIABLE, "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def tell(self, state: str) -> None:
        """Tell *state*: ``READY=1``, ``STOPPING=1``."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
                asked.sendto(state.encode(), self._address)
