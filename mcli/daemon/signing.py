"""
The secret that webhooks are signed with, and the headers that tell a receiver so.

Both as Standard Webhooks (https://www.standardwebhooks.com) has them, so that a receiver
checks them with any of its libraries.
"""

import base64
import re
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Final

from mcli.daemon.keyfile import kept

SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]{32,}={0,2}")
"""At least 24 bytes."""


def make_secret(path: str) -> str:
    """The secret in the file at *path*, made if there is none.

    Raises:
        UnsafeHome: Others may know it, see ``keyfile``.
    """
    return kept(path, "webhook-secret", SECRET, _new)


def _new() -> str:
    return f"whsec_{base64.b64encode(token_bytes(32)).decode()}"


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
