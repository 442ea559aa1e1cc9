"""
Where the daemon serves HTTP, and by which names.

On this machine alone, unless its user has said on the command line, and in so many words,
that others may come; then only with TLS. Neither a variable nor a file can bring that about.
"""

import hashlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mcli.daemon.headroom import is_beyond
from mcli.errors import BadSetting, DaemonError
from mcli.settings import Settings

WAITING_MAX: Final = 2048
"""Connections that may wait to be taken."""

SEND_MS: Final = 30_000
"""Milliseconds after which the kernel drops a connection whose other end does not read."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket, and how callers reach it."""

    socket: socket.socket
    url: str
    """Of this daemon, for callers on this machine."""

    hosts: frozenset[str]
    """``host:port`` as callers may write it."""

    tls: tuple[str, str] | None = None
    """Files of the certificate and its key."""

    fingerprint: str | None = None
    """SHA-256 of the certificate, in hexadecimal."""


def bind(settings: Settings, *, i_know: bool) -> Bound:
    """Listen as the settings say.

    Args:
        i_know: Others than this machine may be served.

    Raises:
        BadSetting: They may not, or there is no usable certificate.
        DaemonError: The address is taken, or not ours.
    """
    address = settings.bind_host
    tls = check(settings, i_know=i_know)
    listening = _listen(settings, address, sparing=tls is not None)
    port = listening.getsockname()[1]
    names = {_authority(name, port) for name in ("127.0.0.1", "localhost", "::1")}
    if not _is_wildcard(address):
        names.add(_authority(settings.host, port))
    names |= set(_allowed(settings.allowed_hosts, port))
    near = "127.0.0.1" if address == "0.0.0.0" else "::1" if address == "::" else settings.host  # noqa: S104
    url = f"{'https' if tls else 'http'}://{_authority(near, port)}"
    return Bound(listening, url, frozenset(names), tls, tls and _fingerprint(tls[0]))


def check(settings: Settings, *, i_know: bool) -> tuple[str, str] | None:
    """Whether it may listen as the settings say; the files of its certificate and key, if any.

    Raises:
        BadSetting: See ``bind``.
    """
    if not is_loopback(settings.bind_host):
        _check_open(settings, i_know)
    return _tls(settings)


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can come to *address*."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a name, which may mean anything tomorrow
        return False


def _is_wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _check_open(settings: Settings, i_know: bool) -> None:
    if not i_know or not (settings.tls_cert and settings.tls_key):
        raise BadSetting(
            f"{settings.host} is not this machine alone: to serve others, start the daemon with "
            "--host, --tls-cert, --tls-key and --i-know; else give --host localhost"
        )


def _tls(settings: Settings) -> tuple[str, str] | None:
    """Both files, if they fit each other."""
    certificate, key = settings.tls_cert, settings.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise BadSetting("tls_cert and tls_key go together: set both, or none")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: "")
    except OSError as error:  # ssl.SSLError is one
        raise BadSetting(
            f"tls_cert {certificate} and tls_key {key} cannot be used: "
            f"{error.strerror or error}; both must be PEM, the key without a password"
        ) from error
    return certificate, key


def _fingerprint(certificate: str) -> str:
    with open(certificate, encoding="ascii", errors="replace") as file:
        text = file.read()
    end = "-----END CERTIFICATE-----"
    first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


class _Sparing(socket.socket):
    """Takes no connection that would have one of the last descriptors.

    For those that are to be encrypted: nobody sees them before they have shaken hands.
    """

    def accept(self) -> tuple[socket.socket, Any]:
        connection, place = super().accept()
        if is_beyond(connection.fileno()):
            connection.close()
            raise ConnectionAbortedError
        return connection, place


def _listen(settings: Settings, address: str, *, sparing: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Named, as asyncio switches Nagle's algorithm off only where it is told that this is TCP: with
    # it a body, which follows its headers, waits 40 ms for the client to acknowledge those.
    kind = _Sparing if sparing else socket.socket
    listening = kind(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_MS)
    try:
        listening.bind((address, settings.port))
    except OSError as error:
        listening.close()
        raise DaemonError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another with --port N (0 takes a free one) or MCLI_BACKGROUND_PORT"
        ) from error
    listening.listen(WAITING_MAX)  # before anybody is told the address
    return listening


def _authority(host: str, port: int) -> str:
    """``host:port`` as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allowed(hosts: tuple[str, ...], port: int) -> Iterator[str]:
    for host in hosts:
        name, colon, own = host.rpartition(":")
        yield host if colon and own.isdigit() and name else f"{host}:{port}"
