"""
Where the end of a job is to be told: what such a URL must look like.
"""

import re
from typing import Final

_URL: Final = re.compile(
    r"https?://([^/?#@\s]*@)?(\[[0-9a-f:.]+\]|[^/?#@:\[\]\s]+)(:\d{1,5})?([/?#]\S*)?",
    re.IGNORECASE | re.ASCII,
)


def check_url(url: object) -> None:
    """Refuse what no request could be sent to.

    Raises:
        ValueError: *url* is not ``http://`` or ``https://`` with a host.
    """
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise ValueError(
            f"{url!r} is no URL to post to: https:// and a host, as in 'https://example.com/done'"
        )
