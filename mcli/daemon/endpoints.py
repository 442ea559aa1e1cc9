"""
The routes of all apps, as they are at the moment: what no route of the daemon's own answers
comes here.
"""

from http import HTTPStatus

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from mcli.daemon.apps import Apps
from mcli.endpoints.mount import OWN, Mount
from mcli.endpoints.ports import Jobs
from mcli.endpoints.router import Handler, router


class Endpoints:
    """An ASGI application that changes with the apps."""

    def __init__(self, apps: Apps, jobs: Jobs) -> None:
        self._apps = apps
        self._jobs = jobs
        self.routes: list[APIRoute] = []
        apps.on_change = self._mount

    def _mount(self, mounts: list[Mount]) -> None:
        made = router(mounts, self._jobs, bearer=True).routes
        self.routes = [route for route in made if isinstance(route, APIRoute)]

    async def prepare(self, method: str, path: str) -> None:
        """Wait until it is known what answers to this; another app is not waited for."""
        if any(path == own or path.startswith(own + "/") for own in OWN):
            return
        mount = self._find(method, path)
        if mount is None or not self._apps.is_fresh(mount.app):
            await self._apps.fresh()

    async def fresh(self) -> None:
        """Wait until all of it is known, as it is now."""
        await self._apps.fresh()

    def is_call(self, method: str, path: str) -> bool:
        """Whether it runs a command."""
        return self._find(method, path) is not None

    def is_public(self, method: str, path: str) -> bool:
        """Whether anybody may call it."""
        mount = self._find(method, path)
        return mount is not None and mount.endpoint.public

    def takes_upload(self, method: str, path: str) -> bool:
        """Whether it takes a form with files."""
        mount = self._find(method, path)
        return (
            mount is not None
            and not mount.in_query
            and any(param.upload for param in mount.others())
        )

    def _find(self, method: str, path: str) -> Mount | None:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        for route in self.routes:
            if route.matches(scope)[0] is Match.FULL:
                assert isinstance(route.endpoint, Handler)
                return route.endpoint.mount
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        partly = False
        for route in self.routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found, route=route)
                await route.handle(scope, receive, send)
                return
            partly = partly or match is Match.PARTIAL
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED if partly else HTTPStatus.NOT_FOUND)
