"""
What a library would load when it is used first, loaded soon after the start.

The environment that the daemon was started from may be replaced or deleted while it runs. What
it has loaded by then stays as it was; what it had not would be missing, or of another version.
"""

import importlib
import logging
from contextlib import suppress
from threading import Thread
from typing import Final

log = logging.getLogger("mcli.daemon")

MODULES: Final = (
    "anyio.streams.memory",
    "anyio.streams.stapled",
    "anyio.streams.tls",
    "anyio._core._sockets",
    "anyio._core._streams",
    "concurrent.futures.thread",
    "encodings.idna",
    "pydantic._internal._dataclasses",
    "requests",
    "standardwebhooks",
)
"""Those that a test has found to be loaded late. A version may have others: they may be missing."""


def load() -> None:
    """Load them in a thread, in nobody's way."""
    with suppress(RuntimeError):  # no more threads may be started
        Thread(target=_load, name="mcli-early", daemon=True).start()


def _load() -> None:
    for name in MODULES:
        with suppress(ImportError, OSError):  # too many files are open, say: then later, as ever
            importlib.import_module(name)
    log.info("daemon.loaded")
