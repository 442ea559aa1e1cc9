"""
Where a request comes from, as far as its headers tell. Pure.

A browser can be made to send requests here by any page that its user looks at. Two things
give it away: the name by which that page calls us (``Host``), when the page has rebound a
name of its own to 127.0.0.1; and what the browser says of the page (``Sec-Fetch-Site``,
``Origin``). Another port on localhost counts as the same site, but not as the same origin.
"""

from collections.abc import Collection, Sequence

Headers = Sequence[tuple[bytes, bytes]]


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Every value of the header *name*, which is in lower case."""
    return [value for key, value in headers if key == name]


def is_for_us(headers: Headers, raw_path: bytes, version: str, hosts: Collection[bytes]) -> bool:
    """Whether it asks for one of *hosts*, in the one way that leaves no doubt.

    Exactly one ``Host``, compared with its port; HTTP/1.1 or later, where ``Host`` is a
    must; and a path as the target, because a whole URL would name a host of its own.
    """
    named = values(headers, b"host")
    whole = raw_path.startswith(b"/") and not raw_path.startswith(b"//")
    return whole and version != "1.0" and len(named) == 1 and named[0].lower() in hosts


def is_from_our_page(headers: Headers, scheme: str, *, opens_page: bool) -> bool:
    """Whether no page but our own has sent it; what is no browser says nothing, and may.

    Args:
        scheme: ``http`` or ``https``.
        opens_page: It gets a page without data: people may have typed its address.
    """
    sites = values(headers, b"sec-fetch-site")
    allowed = {b"same-origin", b"none"} if opens_page else {b"same-origin"}
    if len(sites) > 1 or not allowed.issuperset(sites):
        return False
    origins = values(headers, b"origin")
    host = values(headers, b"host")[0].lower()
    ours = scheme.encode() + b"://" + host
    return not origins or origins == [ours]
