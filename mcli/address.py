"""
Where the daemon is, and what it asks for: on this machine, or on the one that is named.

On this machine the kernel is asked who holds the lock, because what a file says may have been
left by a daemon that is gone. Another machine is spoken to over TLS only.
"""

import json
import os
import re
import socket
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from mcli.errors import BadSetting, DaemonError, DaemonNotRunning, ProtocolMismatch, RequestError
from mcli.home import Home
from mcli.listener import owner_uid
from mcli.settings import Settings
from mcli.ticket import lock_holder
from mcli.version import PROTOCOL

VARIABLE: Final = "MCLI_BACKGROUND_TOKEN"
"""The variable with the token of a daemon elsewhere. No setting: it must not get into a file
that others may read."""

_NO_TOKEN: Final = re.compile("[^!-~]")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Address(NamedTuple):
    """A daemon, and the right to speak to it."""

    url: str
    token: str
    ca: str | None = None
    """File of the authorities that may vouch for it; None: the system's."""

    source: str = "the token"
    """Where the token was found, for messages."""

    fingerprint: str | None = None
    """Of its certificate, if that is known: then nobody has to vouch for it."""

    def __repr__(self) -> str:
        return f"<Address {self.url}>"


def find() -> Address:
    """The daemon that the settings name.

    Raises:
        DaemonNotRunning: It is that of this machine, and does not run.
        BadSetting: It is on another one, and a setting for that is missing.
    """
    settings = Settings.load()
    return local(Home.find()) if is_here(settings.host) else _remote(settings)


def local(home: Home) -> Address:
    """The daemon of *home*.

    Raises:
        DaemonNotRunning: None lives there, or it does not listen yet.
        ProtocolMismatch: It is of a version that we do not speak.
        DaemonError: Its token cannot be read, or somebody else listens in its place.
    """
    pid = lock_holder(home.lock)
    if pid is None:
        raise DaemonNotRunning
    told = _told(home.address)
    if told.get("pid") != pid:
        raise DaemonNotRunning(f"the daemon (pid {pid}) is still starting; try again")
    if told.get("protocol") != PROTOCOL:
        raise ProtocolMismatch(
            f"the daemon (pid {pid}) is mcli {told.get('version')}, which speaks another "
            "protocol; restart it with: mcli daemon restart"
        )
    url = str(told["url"])
    _check_owner(url, before=", where our daemon did", advice="run: mcli daemon restart --port 0")
    pin = told.get("fingerprint")
    return Address(url, read_token(home), source=home.token, fingerprint=pin)


def read_token(home: Home) -> str:
    """The token of the daemon of *home*, without what no header can hold.

    Raises:
        DaemonError: It cannot be read.
    """
    return _read("token", home.token)


def read_webhook_secret(home: Home) -> str:
    """What the daemon of *home* signs webhooks with.

    Raises:
        DaemonError: It cannot be read.
    """
    return _read("webhook secret", home.webhook_secret)


def _read(what: str, path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return _NO_TOKEN.sub("?", file.read().strip())
    except OSError as error:
        raise DaemonError(
            f"cannot read the {what} {path}: {error.strerror}; mcli daemon start makes it"
        ) from error


def _check_owner(url: str, *, before: str = "", advice: str) -> None:
    """Whether it is our own process that listens there: nobody else is sent our token.

    Args:
        before: Who listened there, if that is known.
        advice: What would be right.
    """
    stranger = _stranger(url)
    if stranger is not None:
        raise DaemonError(
            f"a process of uid {stranger} listens at {url}{before}: the token was not sent; "
            f"{advice}"
        )


def _stranger(url: str) -> int | None:
    """The uid of another user who listens there; None if it is ours, or nobody's."""
    place = urlsplit(url)
    both = ("127.0.0.1", "::1")  # a name of both: whichever is tried first
    hosts = both if place.hostname == "localhost" else (place.hostname or "",)
    uids = {owner_uid(host, place.port or 80) for host in hosts}
    return next(iter(uids - {None, os.geteuid()}), None)


def _told(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
    except (FileNotFoundError, ValueError):  # not written yet, or half
        return {}
    return told if isinstance(told, dict) else {}


def _remote(settings: Settings) -> Address:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"https://{host}:{settings.port}"
    return given(url, os.environ.get(VARIABLE), settings.ca, source=VARIABLE)


def given(
    url: str,
    token: str | None,
    ca: str | None = None,
    *,
    source: str = "the token",
    fingerprint: str | None = None,
) -> Address:
    """The daemon at *url*.

    Raises:
        BadSetting: There is no token for it, or it is none, or there is no file *ca*.
        RequestError: The URL would show the token to whoever listens on the way.
        DaemonError: It is of this machine, and another user listens there.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise RequestError(f"{url}: http:// would show the token to others; use https://")
    if not token:
        raise BadSetting(f"no token for {url}; set {VARIABLE} to what mcli token prints there")
    if _NO_TOKEN.search(token):
        raise BadSetting(f"{source} holds what no token can; it is one word of printable ASCII")
    if ca is not None and not os.path.isfile(ca):
        raise BadSetting(f"MCLI_BACKGROUND_CA is {ca!r}; it must be a file of CA certificates")
    if parts.scheme == "http":  # elsewhere, and over TLS, a certificate tells who it is
        _check_owner(url, advice="name a daemon of your own, or use https://")
    return Address(url.rstrip("/"), token, ca, source, fingerprint)


def is_here(host: str) -> bool:
    """Whether *host* is this machine: an address that one could listen at."""
    if host in _LOOPBACK:
        return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_ours(family, address) for family, _, _, _, address in found)


def _is_ours(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def must_be_here(verb: str) -> None:
    """Refuse a verb that passes a terminal or descriptors on, which HTTP cannot.

    Raises:
        RequestError: The settings name a daemon elsewhere.
    """
    host = Settings.load().host
    if not is_here(host):
        raise RequestError(
            f"mcli {verb} needs the daemon of this machine, and MCLI_BACKGROUND_HOST is {host}; "
            "run it there"
        )
