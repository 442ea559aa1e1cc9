"""
What the daemon cannot do as it should, for as long as that lasts.

It goes on where it can. But whoever asks how it is (``mcli daemon status``, ``mcli doctor``) is
told, and its log has the beginning and the end.
"""

import logging
import time
from typing import Any

from mcli.job import timestamp

log = logging.getLogger("mcli.daemon")


class Troubles:
    """The present ones, by name."""

    def __init__(self) -> None:
        self._present: dict[str, tuple[float, str]] = {}

    def tell(self, name: str, text: str | None) -> None:
        """A trouble is there, *text* says which; or it is over (None). May be told again."""
        known = self._present.get(name)
        if text is not None:
            since = known[0] if known else time.time()
            self._present[name] = (since, text)
            if known is None:
                log.error("trouble.begun %s: %s", name, text)
        elif known is not None:
            del self._present[name]
            log.info("trouble.over %s", name)

    def shown(self) -> list[dict[str, Any]]:
        """Each with ``name``, ``since`` and ``text``, the oldest first."""
        present = sorted(self._present.items(), key=lambda each: each[1][0])
        return [
            {"name": name, "since": timestamp(since), "text": text}
            for name, (since, text) in present
        ]
