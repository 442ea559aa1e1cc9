"""``mcli daemon install`` and ``uninstall``: the daemon begins with the login, and comes back."""

import getpass
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import click

from mcli.cli import complain
from mcli.cli.launch import end
from mcli.cli.unit import LABEL, NAME, Service, launchd, service, systemd
from mcli.errors import DaemonError
from mcli.home import Home

LINGER: Final = "/var/lib/systemd/linger"
"""Has a file for each user whose services go on when nobody is logged in."""


class Kind(NamedTuple):
    """A program that looks after services."""

    text: Callable[[Service], str]
    path: Callable[[], str]
    usable: Sequence[str]
    """Asks it whether it runs for this user."""

    begin: Sequence[Sequence[str]]
    """Commands after the file was written; {path} is the file, {uid} the user."""

    leave: Sequence[str]
    after: Sequence[Sequence[str]]
    """After the file was removed."""


def _unit() -> str:
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.expanduser("~/.config")
    return os.path.join(folder, "systemd", "user", NAME)


SYSTEMCTL: Final = ("systemctl", "--user")
KINDS: Final = {
    "systemd": Kind(
        systemd,
        _unit,
        (*SYSTEMCTL, "show-environment"),
        ((*SYSTEMCTL, "daemon-reload"), (*SYSTEMCTL, "enable", "--now", NAME)),
        (*SYSTEMCTL, "disable", "--now", NAME),
        ((*SYSTEMCTL, "daemon-reload"),),
    ),
    "launchd": Kind(
        launchd,
        lambda: os.path.expanduser(f"~/Library/LaunchAgents/{LABEL}.plist"),
        ("launchctl", "print", "gui/{uid}"),
        (("launchctl", "bootstrap", "gui/{uid}", "{path}"),),
        ("launchctl", "bootout", f"gui/{{uid}}/{LABEL}"),
        (),
    ),
}


def here() -> str:
    """The one of this system."""
    return "launchd" if sys.platform == "darwin" else "systemd"


def print_unit(kind: str, options: Sequence[str]) -> None:
    """Write the file to stdout, and change nothing."""
    what = service(Home.find(), sys.executable, options, os.environ)
    click.echo(KINDS[kind].text(what), nl=False)


def install(kind: str, options: Sequence[str]) -> None:
    """Write the file, and have the daemon started by it, now and at each login.

    Raises:
        DaemonError: It is not there for this user, or refuses.
    """
    chosen, home = KINDS[kind], Home.find()
    _ask(chosen.usable, kind)
    home.create()
    path = chosen.path()
    _write(path, chosen.text(service(home, sys.executable, options, os.environ)))
    if end(home, kill_jobs=False) is not None:
        complain("the daemon that ran was stopped; the new one takes over its jobs")
    for words in chosen.begin:
        _run(words, path)
    click.echo(f"mcli daemon installed: {path}")
    if kind == "systemd" and not os.path.exists(os.path.join(LINGER, getpass.getuser())):
        complain("it ends with your last login; to keep it, run: loginctl enable-linger")


def uninstall(kind: str) -> None:
    """Stop the daemon, without its jobs, and remove the file.

    Raises:
        DaemonError: It refuses.
    """
    chosen = KINDS[kind]
    path = chosen.path()
    if not os.path.exists(path):
        complain(f"there is no {path}: nothing to uninstall")
        return
    _ask(chosen.usable, kind)
    _run(chosen.leave, path)
    with suppress(FileNotFoundError):
        os.unlink(path)
    for words in chosen.after:
        _run(words, path)
    click.echo(f"mcli daemon uninstalled: {path}; running jobs run on")


def _write(path: str, text: str) -> None:
    """For its owner's eyes: an environment may be nobody else's business."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonError(f"cannot write {path}: {error.strerror}; see --print") from error
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


def _ask(words: Sequence[str], kind: str) -> None:
    try:
        _run(words, "")
    except DaemonError as error:
        raise DaemonError(
            f"{kind} does not look after your services here ({error}); start the daemon with "
            "mcli daemon start, or see mcli daemon install --print"
        ) from error


def _run(words: Sequence[str], path: str) -> None:
    told = [word.format(uid=os.getuid(), path=path) for word in words]
    try:
        done = subprocess.run(
            told, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise DaemonError(f"{told[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DaemonError(f"{' '.join(told)}: {said[-1] if said else f'exit {done.returncode}'}")
