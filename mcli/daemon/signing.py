"""
The secret that webhooks are signed with, and the headers that tell a receiver so.

Both as Standard Webhooks (https://www.standardwebhooks.com) has them, so that a receiver
checks them with any of its libraries.
"""

import base64
import os
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]{32,}={0,2}")
"""At least 24 bytes."""


def make_secret(path: str) -> str:
    """The secret in the file at *path*, which only its owner can read.

    Made if there is none, or if what stands there cannot be one.
    """
    with suppress(FileNotFoundError):
        with open(path, encoding="ascii", errors="replace") as file:
            secret = file.read().strip()
        if SECRET.fullmatch(secret):
            return secret
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        file.write(secret + "\n")
    return secret


def headers(secret: str, message_id: str, body: str, *, now: float) -> dict[str, str]:
    """What goes with *body*, so that its receiver can tell who sent it, and that it is new.

    Args:
        message_id: The same for each attempt at one message.
        now: When it is sent, in Unix seconds.
    """
    from standardwebhooks import Webhook

    sent = datetime.fromtimestamp(int(now), UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": Webhook(secret).sign(message_id, sent, body),
    }
