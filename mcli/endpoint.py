"""
What an app offers: its commands, their parameters, and the endpoints they are given.

Told by a process that has loaded the app, as JSON; the daemon knows commands only from here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from mcli.policy import USUAL, Policy

Kind = Literal["option", "argument"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter of a command."""

    name: str
    kind: Kind
    schema: dict[str, Any]
    """JSON Schema of its values. An optional one may be null as well, which leaves it out."""

    required: bool = False
    upload: bool = False
    """A file or a path: its content may be uploaded instead."""

    secret: bool = False
    """Its values are to be shown to nobody."""

    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What ``@mcli.api`` was told."""

    path: str
    method: str
    background: bool = False
    timeout_s: float | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command with ``@mcli.background`` or ``@mcli.api``."""

    name: str
    """What requests call it: its path in the app, as in ``db load``; unique in its app."""

    target: str
    """Where its root is: ``module:attribute`` or ``path.py:attribute``."""

    path: tuple[str, ...] = ()
    """Names from below the root down to it; none if it is the root."""

    shown: str = ""
    """The name in lists: ``command_name=``, or else *name*."""

    help: str = ""
    params: tuple[Param, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    timeout_s: float | None = None
    policy: Policy = USUAL
    on_finish: str | None = None

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of an app at one moment."""

    commands: tuple[Command, ...] = ()
    sources: tuple[tuple[str, int, int], ...] = ()
    """Files that it depends on: path, ``mtime_ns`` and size as they were when it was loaded."""

    error: str | None = None
    """Why it could not be loaded: a traceback, or one line."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of ``document``."""
        return cls(
            commands=tuple(_command(each) for each in document["commands"]),
            sources=tuple((path, mtime, size) for path, mtime, size in document["sources"]),
            error=document["error"],
        )


def _command(fields: dict[str, Any]) -> Command:
    return Command(
        **fields
        | {
            "path": tuple(fields["path"]),
            "policy": Policy.parse(fields["policy"]),
            "params": tuple(Param(**each) for each in fields["params"]),
            "endpoints": tuple(
                Endpoint(**each | {"tags": tuple(each["tags"])}) for each in fields["endpoints"]
            ),
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of a request's parameters: the words that stand for them, or what is wrong."""

    words: list[str] = field(default_factory=list)
    """What follows the program's name: the command's path and its parameters."""

    secrets: list[str] = field(default_factory=list)
    """Values among the words that nobody is to be shown."""

    errors: list[dict[str, str]] = field(default_factory=list)
    """``parameter`` and ``message``, one for each parameter that is wrong."""
