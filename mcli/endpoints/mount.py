"""
An endpoint in its place: which command answers to which method and path, and which cannot.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from mcli.endpoint import Command, Endpoint, Param
from mcli.secret import may_be_looked_up

OWN: Final = ("/v1", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics")
"""Paths of the daemon's own, with all that is below them; and ``/`` itself."""

QUERY: Final = frozenset({"GET", "DELETE"})
"""Methods whose parameters stand in the query; the others' are in the body."""

_PATH: Final = re.compile(r"(?:/(?:[^\s/?#{}]|\{[A-Za-z_]\w*\})*)+")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Mount(NamedTuple):
    """An endpoint of a command of an app."""

    app: str
    command: Command
    endpoint: Endpoint

    @property
    def route(self) -> str:
        """As in ``POST /process-file``."""
        return f"{self.endpoint.method} {self.endpoint.path}"

    @property
    def shown(self) -> str:
        """Whose it is, for people."""
        return f"{self.command.name} of app {self.app}"

    @property
    def in_query(self) -> bool:
        return self.endpoint.method in QUERY

    def placeholders(self) -> list[str]:
        """Names of the parameters that stand in the path."""
        return _PLACEHOLDER.findall(self.endpoint.path)

    def others(self) -> Iterator[Param]:
        """Parameters that do not stand in the path."""
        inside = self.placeholders()
        return (param for param in self.command.params if param.name not in inside)

    def prefix(self, path: str) -> str:
        """What stands before its path in *path*, that of a request to it: its own has as many
        parts, whatever is in them."""
        return path.rsplit("/", self.endpoint.path.count("/"))[0]

    def key(self) -> tuple[str, str]:
        """Equal for two that would answer to the same requests."""
        return self.endpoint.method, _PLACEHOLDER.sub("{}", self.endpoint.path)

    def rank(self) -> list[bool]:
        """Sorts paths so that words come before placeholders in the same place."""
        return ["{" in part for part in self.endpoint.path.split("/")]


def refusal(mount: Mount, standing: Iterable[Mount]) -> str | None:
    """Why *mount* cannot be added to those that are there, in one line; None if it can."""
    path = mount.endpoint.path
    if not _PATH.fullmatch(path):
        return f"{mount.shown}: {path!a} is no path; it must be like /items or /items/{{id}}"
    if path == "/" or any(path == own or path.startswith(own + "/") for own in OWN):
        return f"{mount.shown}: the path {path} is the daemon's own; choose another"
    return _unfit(mount) or _taken(mount, standing)


def _unfit(mount: Mount) -> str | None:
    names = mount.placeholders()
    for name in names:
        param = mount.command.param(name)
        if param is None:
            return f"{mount.shown}: {mount.endpoint.path} has {{{name}}}, which is no parameter"
        if names.count(name) > 1 or depth(param.schema) > 0:
            return f"{mount.shown}: {{{name}}} in a path must be one value, and stand there once"
    for param in mount.command.params:
        in_url = mount.in_query or param.name in names
        if param.secret and in_url and not may_be_looked_up(param.name):
            return (
                f"{mount.shown}: a secret has no place in a URL: {param.name} of {mount.route}; "
                "use POST, with it in the body"
            )
    for param in mount.others():
        if mount.in_query and depth(param.schema) > 1:
            return f"{mount.shown}: a query cannot hold lists of lists as {param.name}; use POST"
    return None


def _taken(mount: Mount, standing: Iterable[Mount]) -> str | None:
    for other in standing:
        if other.key() == mount.key():
            return (
                f"{mount.shown} and {other.shown} both want {mount.route}; "
                "give one of them another path or method"
            )
    return None


def without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value that is given: an optional one may be null, to leave it out."""
    inner = dict(schema)
    for choice in inner.pop("anyOf", ()):
        if choice != {"type": "null"}:
            inner = choice | inner
    return inner


def depth(schema: Mapping[str, Any]) -> int:
    """How deep its values are: 0 for one value, 1 for a list, 2 for a list of lists."""
    schema = without_null(schema)
    if schema.get("type") != "array":
        return 0
    items = schema.get("prefixItems") or [schema.get("items", {})]
    return 1 + max(depth(item) for item in items)
