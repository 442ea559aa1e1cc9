"""
What a job is, as its own directory tells it: for a daemon that has lost its store.

``job.json`` is written by the worker when an attempt begins. It holds what the job's row held
then, so that secrets are masked, and nothing to run it again with; when that was, by the clock
that nobody sets; and by what its streams are known, should nobody be left who holds them.
"""

import contextlib
import json
import os
from functools import cache
from typing import Any, Final, NamedTuple

from mcli.job import JobInfo
from mcli.ticket import REVOKED_CODE, holder, now_ticks, started_ticks

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


_ticks_of: Final = cache(started_ticks)
"""A worker asks for its own only, once and not for each attempt."""


def card_of(info: JobInfo) -> dict[str, Any]:
    """What is to be written of a job whose attempt begins."""
    return {key: getattr(info, key) for key in _TOLD}


def card_path(folder: str) -> str:
    return os.path.join(folder, "job.json")


class Pipes(NamedTuple):
    """The streams of an attempt, for whoever has to open them again."""

    inodes: dict[int, int]
    """Number of the pipe, by stream."""

    unmute: str
    """What the job writes to each when its body is reached; empty: nothing is withheld."""


def write_card(folder: str, card: dict[str, Any], pipes: Pipes, *, now_s: float) -> None:
    """Put it into the job's directory, as its worker, which is the process that calls this.

    Not made durable: the row is, and this is the spare.

    Args:
        now_s: Of ``time.monotonic``.

    Raises:
        OSError: The disk is full, say; the card of an earlier attempt is as it was.
    """
    ours = {"worker_pid": os.getpid(), "worker_ticks": _ticks_of(os.getpid())}
    began = {"began_s": now_s, "began_ticks": now_ticks()}
    told = {**card, **ours, **began, "pipes": pipes}
    draft = f"{card_path(folder)}.{os.getpid()}"
    try:
        with open(draft, "w", encoding="ascii", opener=_private) as file:
            file.write(json.dumps(told))
        os.rename(draft, card_path(folder))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_card(folder: str) -> dict[str, Any] | None:
    """What it says; None if there is none, or a piece of one."""
    card = _read(folder)
    complete = card.keys() >= set(_TOLD)
    return {key: card[key] for key in _TOLD} if complete else None


def read_attempt(folder: str) -> int | None:
    """The attempt that was begun last; None: nothing tells that there was one."""
    attempt = _read(folder).get("attempt")
    return attempt if isinstance(attempt, int) else None


def has_begun(folder: str, attempt: int, code: int | None) -> bool:
    """Whether an attempt whose process has ended with exit code *code* had begun.

    A ticket that is not there says no only if the directory is the one in which it was begun:
    somebody may have removed that.
    """
    try:
        return holder(folder, attempt) is not None
    except FileNotFoundError:
        return code != REVOKED_CODE and read_attempt(folder) != attempt


def read_began(folder: str) -> float | None:
    """When the newest attempt began, of ``time.monotonic``: to be asked while it lives."""
    began_s = _read(folder).get("began_s")
    return began_s if isinstance(began_s, float) else None


def read_began_ticks(folder: str) -> int | None:
    """The same in clock ticks after boot, as processes have them; None: that is not known."""
    ticks = _read(folder).get("began_ticks")
    return ticks if isinstance(ticks, int) else None


def read_worker(folder: str) -> int | None:
    """The process that has begun the newest attempt: to be asked while that one lives."""
    worker_pid = _read(folder).get("worker_pid")
    return worker_pid if isinstance(worker_pid, int) else None


def read_worker_ticks(folder: str) -> int | None:
    """When that process started, as ``ticket.started_ticks`` has it; None: that is not known."""
    ticks = _read(folder).get("worker_ticks")
    return ticks if isinstance(ticks, int) else None


def read_pipes(folder: str) -> Pipes:
    """The streams of the newest attempt: to be asked while its process lives."""
    told = _read(folder).get("pipes")
    if told is None:
        return Pipes({}, "")
    inodes, unmute, *_ = told
    return Pipes({int(stream): inode for stream, inode in inodes.items()}, unmute)


def _read(folder: str) -> dict[str, Any]:
    try:
        with open(card_path(folder), "rb") as file:
            card = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
