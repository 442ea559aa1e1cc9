"""
What is there: the routes of the daemon's own and those of its apps, as one table.

Asked by what must not repeat a path as it was sent, and by the answer to a wrong method.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match

from mcli.daemon.endpoints import Endpoints

UNKNOWN: Final = "-"


class Paths:
    """All routes, as they are when it is asked."""

    def __init__(self, own: Iterable[APIRouter], endpoints: Endpoints | None) -> None:
        found = chain.from_iterable(router.routes for router in own)
        self._own = [route for route in found if isinstance(route, APIRoute)]
        self._endpoints = endpoints

    def template(self, method: str, path: str) -> str:
        """The path as its route has it, as in ``/items/{id}``; ``-`` if there is none."""
        found = max(self._at(method, path), key=lambda each: each[0].value, default=None)
        return found[1].path if found else UNKNOWN

    def methods(self, path: str) -> list[str]:
        """What may be asked for at *path*."""
        return sorted({name for _, route in self._at("", path) for name in route.methods or ()})

    def _at(self, method: str, path: str) -> Iterator[tuple[Match, APIRoute]]:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        apps = self._endpoints.routes if self._endpoints is not None else []
        for route in (*self._own, *apps):
            match, _ = route.matches(scope)
            if match is not Match.NONE:
                yield match, route
