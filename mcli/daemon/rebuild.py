"""
Rows for jobs that the store does not know of, although they have begun.

So it is after a damaged store was moved aside, after its file was lost, or an old copy put in
its place. What a job was stands in ``jobs/<id>/job.json``, how it ended in its outcome; of
those that have not ended, ``recover`` finds out what has become of them.
"""

import json
import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mcli import queue
from mcli.card import read_card
from mcli.daemon.verdict import ending_of
from mcli.home import Home
from mcli.ids import is_id
from mcli.outcome import Outcome, outcome_path, read_outcome
from mcli.store.store import Store
from mcli.ticket import newest

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("mcli.recovery")

PAGE: Final = 200


def rebuild(store: Store, home: Home) -> str | None:
    """Insert what is missing. To be done before ``recover``, and may be done twice.

    Returns:
        What was found, for people; None if nothing was missing.

    Ids grow with time, so that only what is newer than the newest row can be missing: in a
    sound store that is nothing, and costs a look at the names.
    """
    last = store.read(queue.last) or ""
    missing = sorted(name for name in os.listdir(home.jobs) if name > last and is_id(name))
    told = 0
    for start in range(0, len(missing), PAGE):
        page = missing[start : start + PAGE]
        told += store.write(_restore, home, page).result()
    if not missing:
        return None
    unknown = len(missing) - told
    log.warning("store.rebuilt jobs=%d unknown=%d", told, unknown)
    return (
        f"the store did not know of {_jobs(told)} that {home.jobs} tells of, and has them again"
        + (f"; of {_jobs(unknown)} only the output is left there" if unknown else "")
        + "; what had not begun is not known any more"
    )


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _restore(conn: "Connection", home: Home, names: Iterable[str]) -> int:
    """How many of these directories tell what they belong to."""
    told = 0
    for name in names:
        card = read_card(home.job(name))
        if card is not None and card["id"] == name and card["source"] != "daemon":
            _restore_one(conn, home.job(name), card)
            told += 1
    return told


def _restore_one(conn: "Connection", folder: str, card: dict[str, Any]) -> None:
    attempt = max(card["attempt"], newest(folder))
    outcome = _outcome(folder, attempt)
    if outcome is None:
        queue.restore(conn, attempt=attempt, known=card)
        return
    # Whoever was to be told of its end was told by the daemon that saw it, as far as is known.
    queue.restore(conn, attempt=attempt, known=card | {"on_finish": None})
    ended_at = os.stat(outcome_path(folder, attempt)).st_mtime
    job = {"job_id": card["id"], "attempt": attempt}
    ending = ending_of(queue.get(conn, card["id"]), outcome)  # of what it ran nothing is kept
    queue.finish(conn, now=ended_at, **job, **ending.columns())


def _outcome(folder: str, attempt: int) -> Outcome | None:
    try:
        return read_outcome(folder, attempt)
    except (json.JSONDecodeError, TypeError):
        return None
