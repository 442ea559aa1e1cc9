"""Requests that nobody would think of, made from the daemon's own schema, valid and not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from .daemon import PROGRAMS, Daemon

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

EXAMPLES: Final = 25
"""For each operation, of valid requests and of invalid ones."""

PLACES: Final = (
    ("POST", "/kinds"),
    ("GET", "/kinds/{item}"),
    ("DELETE", "/kinds/{item}"),
    ("PUT", "/kinds/file"),
    ("POST", "/kinds/more"),
    ("PATCH", "/kinds/slow"),
)


class Served:
    """A daemon with an app that has every type of parameter."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        token = Path(daemon.home.token).read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}"}
        with daemon.client() as client:
            self.url = client.url


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    daemon = Daemon(tmp_path_factory.mktemp("kinds"))
    daemon.start("--app", str(PROGRAMS / "kinds.py"))
    yield Served(daemon)
    daemon.close()


@pytest.fixture(scope="module")
def described(served: Served) -> Any:
    """The schema of the app's endpoints, as the daemon tells it."""
    url = f"{served.url}/openapi.json"
    return schemathesis.openapi.from_url(url, headers=served.headers)


def can_be_sent(case: "schemathesis.Case[Any]") -> bool:
    """A form holds texts only: anything else in it would be sent as some text, which is valid."""
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict):
        return True
    return all(isinstance(value, (str, bytes)) for value in case.body.values())


def test_every_endpoint_is_asked(described: Any) -> None:
    """No operation of the app is left out below."""
    found = {
        (method.upper(), path)
        for path, operations in described.raw_schema["paths"].items()
        for method in operations
        if path.startswith("/kinds")
    }
    assert found == set(PLACES)


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize(("method", "path"), PLACES)
def test_answers_are_as_the_schema_says(
    described: Any, served: Served, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    """No 500, no answer outside of the schema, and nothing accepted that the schema forbids."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def ask(case: "schemathesis.Case[Any]") -> None:
        assume(can_be_sent(case))
        case.call_and_validate(headers=served.headers, checks=CHECKS)

    ask()
