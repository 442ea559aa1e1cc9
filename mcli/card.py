"""
What a job is, as its own directory tells it: for a daemon that has lost its store.

``job.json`` is written by the worker when an attempt begins. It holds what the job's row held
then, so that secrets are masked, and nothing to run it again with.
"""

import json
import os
from typing import Any, Final

from mcli.job import JobInfo

_TOLD: Final = (
    "id",
    "name",
    "priority",
    "attempt",
    "revoked",
    "timeout_s",
    "created_at",
    "queued_at",
    "started_at",
    "app",
    "command",
    "argv",
    "cwd",
    "source",
    "on_finish",
)


def card_of(info: JobInfo) -> dict[str, Any]:
    """What is to be written of a job whose attempt begins."""
    return {key: getattr(info, key) for key in _TOLD}


def card_path(folder: str) -> str:
    return os.path.join(folder, "job.json")


def write_card(folder: str, card: dict[str, Any]) -> None:
    """Put it into the job's directory. Not made durable: the row is, and this is the spare."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(card_path(folder), flags, 0o600)
    try:
        view = memoryview(json.dumps(card).encode("ascii"))
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def read_card(folder: str) -> dict[str, Any] | None:
    """What it says; None if there is none, or a piece of one."""
    try:
        with open(card_path(folder), "rb") as file:
            card = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    complete = isinstance(card, dict) and card.keys() >= set(_TOLD)
    return {key: card[key] for key in _TOLD} if complete else None
