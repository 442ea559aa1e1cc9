"""
The daemon's beginning: its options, and the lock that makes it the only one.

Nothing that takes long to load is loaded before it has the lock: of many that start at once, all
but one have nothing to do.
"""

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields

from mcli.daemon import report
from mcli.daemon.crash import CRASHED
from mcli.errors import MCLIError
from mcli.filesystem import check_local
from mcli.home import Home
from mcli.settings import Settings

log = logging.getLogger("mcli.daemon")


class AlreadyRunning(Exception):
    """Another daemon holds the lock."""


def main(words: Sequence[str]) -> int:
    """Run the daemon with the options of ``mcli daemon start``; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mcli.daemon")
    for setting in fields(Settings):
        if setting.metadata["option"]:
            parser.add_argument(setting.metadata["option"], dest=setting.name)
    parser.add_argument("--app", action="append", dest="apps", default=[])
    parser.add_argument("--apps-from", default=_here())
    parser.add_argument("--i-know", action="store_true")
    options = vars(parser.parse_args(words))
    apps, i_know, apps_from = (options.pop(name) for name in ("apps", "i_know", "apps_from"))
    try:
        settings, home = Settings.load(options), Home.find()
    except MCLIError as error:
        report.tell_failure(error)
        return error.exit_code
    return serve(settings, home, apps, options, i_know=i_know, apps_from=apps_from)


def serve(
    settings: Settings,
    home: Home,
    apps: list[str],
    options: Mapping[str, str | None],
    *,
    i_know: bool = False,
    apps_from: str | None = None,
) -> int:
    """Be the daemon of *home* until told to stop; the exit code.

    Args:
        apps: Those that the command line names.
        options: By the names of their settings, what it says of those; None is nothing.
        apps_from: The directory that they are named from, and run in; the current one if None.
        i_know: Others than this machine may be served, see ``bind``.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        check_local(home.root)
        home.create()
        lock = _lock(home)
    except AlreadyRunning:
        report.tell_other(home)
        return 0
    except MCLIError as error:
        report.tell_failure(error)
        return error.exit_code
    try:
        from mcli.daemon.server import run
        from mcli.daemon.sources import found

        entries = found(apps, _here(), apps_from)
        given = {name: str(getattr(settings, name)) for name, text in options.items() if text}
        run(settings, home, entries, given, i_know=i_know)
    except MCLIError as error:
        report.tell_failure(error)
        return error.exit_code
    except Exception:
        log.critical("daemon.crashed", exc_info=True)
        return CRASHED
    finally:
        os.close(lock)


def _here() -> str:
    """The current directory; the root if it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _lock(home: Home) -> int:
    """Hold the lock for as long as this process lives. A file's mere presence means nothing."""
    fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AlreadyRunning from None
    return fd
