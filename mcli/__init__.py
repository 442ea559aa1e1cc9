"""
Run Click commands in a local daemon, as if they ran here.

    import click, mcli

    @click.command()
    @mcli.background
    def train(): ...

Importing this loads nothing but the decorator; the rest comes when it is used.
"""

from typing import TYPE_CHECKING, Any

from mcli.decorators import api, background
from mcli.errors import JobTimeout, MCLIError
from mcli.version import __version__

if TYPE_CHECKING:
    from mcli.client import Client
    from mcli.handle import Job
    from mcli.router import api_router
    from mcli.status import health_check, is_background_available, status_check
    from mcli.submission import submit

__all__ = [
    "Client",
    "Job",
    "JobTimeout",
    "MCLIError",
    "__version__",
    "api",
    "api_router",
    "background",
    "health_check",
    "is_background_available",
    "status_check",
    "submit",
]

_LATER = {
    "Client": "mcli.client",
    "Job": "mcli.handle",
    "api_router": "mcli.router",
    "submit": "mcli.submission",
    "health_check": "mcli.status",
    "is_background_available": "mcli.status",
    "status_check": "mcli.status",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)
