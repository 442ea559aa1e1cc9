"""
The API described: ``/openapi.json``, and a page that shows it.

The page and its scripts are files, of ours and of an installed package; they hold no data and
load nothing from elsewhere. What the page shows it has to ask for, with a token.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, Response

from mcli.daemon.auth import LOGIN
from mcli.daemon.endpoints import Endpoints
from mcli.daemon.reply import Document
from mcli.endpoints.operation import BEARER, PROBLEM, WRONG
from mcli.problem import MEDIA_TYPE

PAGES: Final = Path(__file__).parent / "pages"
SWAGGER: Final = "fastapi_offline"
"""The package that brings Swagger UI."""

FILES: Final = {
    "/docs": (PAGES / "docs.html", "text/html; charset=utf-8"),
    "/docs/docs.js": (PAGES / "docs.js", "text/javascript; charset=utf-8"),
    "/docs/docs.css": (PAGES / "docs.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": (None, "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": (None, "text/css; charset=utf-8"),
}
"""What is open to everybody, and where it is; None: in that package."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
"""Swagger UI writes styles into its page, and has its icons in data."""

METHODS: Final = ("GET", "HEAD")


def is_open(method: str, path: str) -> bool:
    """Whether it is one of those files."""
    return method in METHODS and path in FILES


routes = APIRouter()


def _file(path: str) -> FileResponse:
    found, media_type = FILES[path]
    if found is None:
        spec = find_spec(SWAGGER)
        assert spec is not None
        assert spec.origin is not None
        found = Path(spec.origin).parent / "static" / path.rpartition("/")[2]
    headers = {"Content-Security-Policy": POLICY, "Content-Disposition": "inline"}
    return FileResponse(found, headers=headers, media_type=media_type)


async def _page(request: Request) -> Response:
    return _file(request.url.path)


for _path in FILES:
    routes.add_api_route(_path, _page, methods=list(METHODS), include_in_schema=False)


@routes.get("/openapi.json", include_in_schema=False)
async def schema(request: Request) -> Document:
    """All routes: the daemon's own, and the endpoints of its apps."""
    endpoints: Endpoints = request.app.state.endpoints
    await endpoints.fresh()
    return described(request.app, endpoints)


def described(app: FastAPI, endpoints: Endpoints) -> Document:
    """The OpenAPI document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="Commands as endpoints, and the jobs that they run as.",
        routes=[*endpoints.routes, *app.routes],
    )
    document["security"] = [{BEARER: []}]
    components = document.setdefault("components", {})
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    schemas = components.get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "default" not in operation["responses"]:
                _complete(operation, method.upper(), path)
    return document


def _complete(operation: dict[str, Any], method: str, path: str) -> None:
    """The daemon's own routes refuse as the endpoints do, not as their framework would."""
    operation["responses"]["422"] = _problem("Parameters are missing or wrong.", WRONG)
    operation["responses"]["default"] = _problem("Anything else that is wrong.", PROBLEM)
    group = path.split("/")[2] if path.startswith(("/v1/jobs", "/v1/apps")) else "daemon"
    operation["tags"] = [f"mcli: {group}"]
    if (method, path) == LOGIN:
        operation["security"] = []


def _problem(text: str, told: Document) -> Document:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": told}}}
