"""
An error as it crosses HTTP: a problem document (RFC 9457), and back.

The member ``code`` is the error's ``code``, so that the same class comes out at the other
end and leaves the process with the same exit code.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcli.errors import BadParameters, DaemonError, MCLIError

MEDIA_TYPE: Final = "application/problem+json"


def family(root: type[MCLIError] = MCLIError) -> Iterator[type[MCLIError]]:
    """*root* and every error below it, parents first."""
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    instance: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The document for an error of that code.

    Args:
        instance: Path of the request that it answers.
        errors: ``parameter`` and ``message``, where parameters are what is wrong.
    """
    more: dict[str, Any] = {"instance": instance} if instance is not None else {}
    if errors:
        more["errors"] = list(errors)
    return {
        "type": f"urn:mcli:error:{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


def error_in(document: Mapping[str, Any], status: int) -> MCLIError:
    """The error that a problem document tells; a ``DaemonError`` if it tells none."""
    detail = str(document.get("detail") or f"the daemon answered with HTTP status {status}")
    named = {each.code: each for each in family()}
    error = named.get(str(document.get("code")), DaemonError)(detail)
    if isinstance(error, BadParameters) and isinstance(document.get("errors"), list):
        error.errors = document["errors"]
    return error
