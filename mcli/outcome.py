"""
What one attempt produced, and the file that says so.

The job process writes ``<attempt>.outcome`` as its last act; its worker completes it with
what ``waitpid`` says (which wins about signals and exit codes). The file is the truth, the
row in the store follows it.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any, Final


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The end of one attempt."""

    exit_code: int | None = None
    signal: int | None = None
    returned: bool = False
    """The body returned; ``result`` is its value."""

    reached: bool = True
    """False: the replayed program ended before it came to the command's body."""

    complete: bool = False
    """The process came to its regular end, and wrote this itself."""

    result: Any = None
    has_result: bool = False
    """False with ``returned``: the value is not JSON; ``result`` is then its description."""

    error: str | None = None
    """Traceback or message of what ended it."""

    reason: str | None = None
    """Set by whoever ended it on purpose: ``timeout``, ``user``, ``spawn_error``."""

    named: bool = False
    """An exception ended it that its command wants to be tried again after."""

    unstored: bool = False
    """There was no room yet for what it had printed last, which is in its pipes."""

    policy: dict[str, Any] = field(default_factory=dict)
    """``policy.Policy`` as a document, where the command itself was the first to tell it."""

    worker_pid: int | None = None
    pid: int | None = None

    @property
    def withheld(self) -> str | None:
        """Why the value that was returned was not kept; None if it was, or there is none."""
        if not self.returned or self.has_result:
            return None
        return "is larger than 1 MiB" if self.result["truncated"] else "is not JSON"

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Outcome":
        """What ``document`` has made, also of a later version: what that says more is left out."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})

    def document(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def outcome_path(folder: str, attempt: int) -> str:
    return os.path.join(folder, f"{attempt}.outcome")


RESERVED_BYTES: Final = 8192


def reserve_outcome(folder: str, attempt: int) -> None:
    """See to it that there will be room for an outcome, however full the disk is by then.

    Raises:
        OSError: There is none now.
    """
    path = outcome_path(folder, attempt) + ".tmp"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, RESERVED_BYTES)
    finally:
        os.close(fd)


def give_back_reserved(folder: str, attempt: int) -> None:
    """There will be no outcome: the attempt has been taken away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(outcome_path(folder, attempt) + ".tmp")


def write_outcome(folder: str, attempt: int, outcome: Outcome) -> None:
    """Put the file in its place, whole and durable, or not at all."""
    path = outcome_path(folder, attempt)
    text = json.dumps(outcome.document()).encode("ascii")
    write_durably(path, text)


def read_outcome(folder: str, attempt: int) -> Outcome | None:
    """The outcome; None while there is none, or if nobody can read it: then nothing tells."""
    try:
        with open(outcome_path(folder, attempt), "rb") as file:
            return Outcome.parse(json.load(file))
    except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
        return None


DEPTH_MAX: Final = 100
"""Levels of lists and objects in a value that is kept: each reader has to follow them."""

DIGITS_MAX: Final = 4300
"""Of a number: more are refused by Python's own readers."""

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LONG: Final = re.compile(rf"\d{{{DIGITS_MAX + 1}}}")


def read_back(text: str) -> Any:
    """The value of a JSON text that anybody can read.

    Raises:
        ValueError: It is nested too deep, or has a number that is too long.
    """
    bare = _STRING.sub("", text)
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", bare))
    if max(accumulate(steps), default=0) > DEPTH_MAX:
        raise ValueError(f"it is more than {DEPTH_MAX} levels deep")
    if _LONG.search(bare):
        raise ValueError(f"it has a number of more than {DIGITS_MAX} digits")
    return json.loads(text)


def write_durably(path: str, content: bytes) -> None:
    """Write a temporary file, fsync it, rename it. What is reserved in it is made use of."""
    fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(path + ".tmp", path)
