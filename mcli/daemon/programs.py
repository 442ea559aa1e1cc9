"""Apps over HTTP: which there are, one more, one less."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from mcli.daemon.apps import Apps
from mcli.daemon.reply import Document
from mcli.daemon.sources import added
from mcli.endpoints.prefer import json_response

PATIENCE_S: Final = 5.0
"""Seconds for which the list waits for apps that are being loaded."""


async def _apps(request: Request) -> Apps:
    found: Apps = request.app.state.apps
    return found


Known = Annotated[Apps, Depends(_apps)]

routes = APIRouter()


class NewApp(BaseModel):
    """Where an app is, and what runs it."""

    model_config = ConfigDict(extra="forbid")

    target: str
    """A script, a module, or either with ``:attribute``."""

    python: str
    """Path of the interpreter."""

    cwd: str
    """Directory in which its commands run."""

    mcli_root: str = ""
    """Directory of the mcli that it is to import; empty: the interpreter's own."""


@routes.get("/v1/apps")
async def listed(apps: Known) -> list[Document]:
    """The apps, each with its commands and their endpoints, or with what is wrong with it."""
    return await apps.documents(PATIENCE_S)


@routes.post("/v1/apps", status_code=201)
async def add(apps: Known, body: NewApp) -> Response:
    """Load one more app, and keep it."""
    hosted = await apps.add(added(body.model_dump()))
    return json_response(hosted.document(), 201)


@routes.delete("/v1/apps/{name}", status_code=204)
async def remove(apps: Known, name: str) -> Response:
    """Take away an app that was added."""
    await apps.remove(name)
    return Response(status_code=204)
