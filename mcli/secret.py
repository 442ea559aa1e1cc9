"""
What is to be shown to nobody, and how it is known: by the name that it goes by.
"""

import re
from typing import Final

MASK: Final = "***"
"""Stands for a secret wherever one would be shown."""

_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SECRET: Final = re.compile(
    "passw.*|pass|passphrase|passcode|pwd|pin|tokens?|secrets?|keys?|apikey|auth|authorization"
    "|bearer|credentials?|cookies?|dsn"
)


def is_secret(name: str) -> bool:
    """Whether a parameter or variable of that name holds a secret: ``db_password``, ``API_KEY``."""
    return any(_SECRET.fullmatch(word.lower()) for word in _WORDS.findall(name))
