"""
Whose process listens at a TCP address of this machine, as the kernel tells.

Asked before the token is sent: a port that a daemon has left may be another user's by now.
"""

import os
import socket
import sys
from collections.abc import Iterator
from typing import Final

LISTENING: Final = "0A"
TABLES: Final = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


def owner_uid(host: str, port: int) -> int | None:
    """The uid of the process that a connection to *host* and *port* would reach.

    Args:
        host: ``localhost``, or an address of this machine.

    Returns:
        None if nobody listens there, or if that cannot be told, as of a name. Where listeners of
        several users share the address, one that is not us.
    """
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        exact = socket.inet_pton(family, address)
    except OSError:  # a name: who knows where it leads
        return None
    both = list(_listeners(port))
    wildcard = bytes(len(exact))
    # The kernel prefers the exact address; ``::`` takes what comes by IPv4 as well.
    for wanted in ({exact}, {wildcard}, {bytes(16)}):
        uids = {uid for local, uid in both if local in wanted}
        if uids:
            return next(iter(uids - {os.geteuid()}), os.geteuid())
    return None


def _listeners(port: int) -> Iterator[tuple[bytes, int]]:
    """Address and uid of every socket that listens at *port*."""
    for path in TABLES.values():
        try:
            with open(path, encoding="ascii") as table:
                rows = [line.split() for line in table][1:]
        except OSError:
            continue
        for row in rows:
            address, _, number = row[1].partition(":")
            if row[3] == LISTENING and int(number, 16) == port:
                yield _packed(address), int(row[7])


def _packed(text: str) -> bytes:
    """An address as these tables have it: words of four bytes, each in the machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)
