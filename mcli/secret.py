"""
What is to be shown to nobody, and how it is known: by the name that it goes by.
"""

import re
from functools import lru_cache
from typing import Final

MASK: Final = "***"
"""Stands for a secret wherever one would be shown."""

_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SECRET: Final = re.compile(
    "passw.*|pass|passphrase|passcode|pwd|pin|token|secrets?|key|apikey|auth|authorization"
    "|bearer|credentials?|cookies?|dsn"
)
_ENDINGS: Final = (
    *("password", "passwd", "passphrase", "pwd"),
    *("token", "secret", "apikey", "accesskey"),
)
"""Of words that were written together: ``PGPASSWORD``, ``authtoken``. Not ``monkey``."""

_PLACES: Final = ("PWD", "OLDPWD")
"""The working directory, as shells tell it."""


_AMBIGUOUS: Final = frozenset({"key", "pin", "cookie", "cookies", "auth"})
"""What may be a secret as well as something to look up: masked, and allowed in a URL."""


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a parameter or variable of that name holds a secret: ``db_password``, ``API_KEY``."""
    if name in _PLACES:
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(_SECRET.fullmatch(word) or word.endswith(_ENDINGS) for word in words)


def may_be_looked_up(name: str) -> bool:
    """Whether a name of a secret is as well one of something else: ``key``, and not ``api_key``."""
    return name.lower() in _AMBIGUOUS
