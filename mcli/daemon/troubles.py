"""
What the daemon cannot do as it should, for as long as that lasts; and what it has met once.

It goes on where it can. But whoever asks how it is (``mcli daemon status``, ``mcli doctor``) is
told, and its log has the beginning and the end.
"""

import logging
import time
from typing import Any

from mcli.job import timestamp

log = logging.getLogger("mcli.daemon")


class Troubles:
    """The present ones, by name; and notes of what is over, and one should know."""

    def __init__(self) -> None:
        self._present: dict[str, tuple[float, str]] = {}
        self._notes: dict[str, tuple[float, str]] = {}

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

    def note(self, name: str, text: str) -> None:
        """Something has happened: told for as long as this daemon lives, the newest of its name."""
        self._notes[name] = (time.time(), text)
        log.warning("note %s: %s", name, text)

    def shown(self) -> list[dict[str, Any]]:
        """Each with ``name``, ``since`` and ``text``, the oldest first."""
        return _listed(self._present, "since")

    def notes(self) -> list[dict[str, Any]]:
        """Each with ``name``, ``at`` and ``text``, the oldest first."""
        return _listed(self._notes, "at")


def _listed(told: dict[str, tuple[float, str]], when: str) -> list[dict[str, Any]]:
    each = sorted(told.items(), key=lambda item: item[1][0])
    return [{"name": name, when: timestamp(at), "text": text} for name, (at, text) in each]
