"""Which endpoints can stand where, and which cannot."""

from typing import Any

import pytest

from mcli.endpoint import Command, Endpoint, Param
from mcli.endpoints.mount import Mount, depth, refusal, without_null

TEXT = {"type": "string"}
LISTS = {"type": "array", "items": {"type": "array", "prefixItems": [TEXT, TEXT]}}


def mount(
    path: str, method: str = "GET", *, app: str = "shop", command: str = "buy", **schemas: Any
) -> Mount:
    params = tuple(
        Param(name=name, kind="option", schema=schema) for name, schema in schemas.items()
    )
    endpoint = Endpoint(path=path, method=method)
    return Mount(app, Command(name=command, target="shop.py:cli", params=params), endpoint)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobs", "/docs", "/docs/x", "/openapi.json", "/healthz", "/metrics"]
)
def test_paths_of_the_daemon_are_refused(path: str) -> None:
    """What the daemon answers itself cannot be an endpoint."""
    assert refusal(mount(path), []) == (
        f"buy of app shop: the path {path} is the daemon's own; choose another"
    )


@pytest.mark.parametrize("path", ["/v10", "/doc", "/a/v1", "/openapi.json2", "/%41", "/a.b/c-d"])
def test_paths_beside_them_are_not(path: str) -> None:
    """A path that only begins alike is free."""
    assert refusal(mount(path), []) is None


@pytest.mark.parametrize(
    "path", ["/a b", "/a?b", "/a#b", "/{a", "/a}", "/{}", "/{a-b}", "/{a:path}"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """What no request could ask for, or is no placeholder, is told so."""
    assert "is no path" in (refusal(mount(path, a=TEXT), []) or "")


def test_placeholder_needs_its_parameter() -> None:
    """A placeholder without a parameter, twice, or for several values is refused."""
    assert refusal(mount("/{id}", id=TEXT), []) is None
    assert "has {id}, which is no parameter" in (refusal(mount("/{id}"), []) or "")
    assert "stand there once" in (refusal(mount("/{id}/{id}", id=TEXT), []) or "")
    several = {"type": "array", "items": TEXT}
    assert "must be one value" in (refusal(mount("/{id}", id=several), []) or "")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/a"), ("DELETE", "/a"), ("GET", "/{api_key}"), ("POST", "/{api_key}")],
)
def test_secret_has_no_place_in_a_url(method: str, path: str) -> None:
    """URLs get into logs and histories: a secret is taken in a body only."""
    secret = Param(name="api_key", kind="option", schema=TEXT, secret=True)
    of = Mount("shop", Command(name="buy", target="shop.py:cli", params=(secret,)),
               Endpoint(path=path, method=method))  # fmt: skip
    assert refusal(of, []) == (
        f"buy of app shop: a secret has no place in a URL: api_key of {method} {path}; "
        "use POST, with it in the body"
    )
    assert refusal(of._replace(endpoint=Endpoint(path="/a", method="POST")), []) is None


def test_key_may_be_looked_up() -> None:
    """What goes by the name of key alone may be one of a dictionary as well."""
    key = Param(name="key", kind="argument", schema=TEXT, secret=True, required=True)
    of = Mount("shop", Command(name="look", target="shop.py:cli", params=(key,)),
               Endpoint(path="/settings/{key}", method="GET"))  # fmt: skip
    assert refusal(of, []) is None


def test_query_holds_lists_and_no_lists_of_lists() -> None:
    """A list may stand in a query, a list of lists only in a body."""
    assert refusal(mount("/a", tag={"type": "array", "items": TEXT}), []) is None
    assert "use POST" in (refusal(mount("/a", "DELETE", pair=LISTS), []) or "")
    assert refusal(mount("/a", "POST", pair=LISTS), []) is None


@pytest.mark.parametrize(
    ("first", "second"), [("/a", "/a"), ("/a/{x}", "/a/{y}"), ("/{x}/b", "/{y}/b")]
)
def test_two_commands_on_one_path_are_refused(first: str, second: str) -> None:
    """Also with other names of placeholders; the message names both commands."""
    standing = mount(first, app="bank", command="pay", x=TEXT)
    assert refusal(mount(second, y=TEXT), [standing]) == (
        f"buy of app shop and pay of app bank both want GET {second}; "
        "give one of them another path or method"
    )
    assert refusal(mount(second, "POST", y=TEXT), [standing]) is None


def test_words_come_before_placeholders() -> None:
    """Sorted by rank, the more special path of two is asked first."""
    paths = ["/{a}/{b}", "/{a}/x", "/x/{b}", "/x/y", "/{a}"]
    ranked = sorted((mount(path) for path in paths), key=Mount.rank)
    order = [each.endpoint.path for each in ranked]
    assert order.index("/x/y") < order.index("/x/{b}") < order.index("/{a}/{b}")
    assert order.index("/{a}/x") < order.index("/{a}/{b}")


def test_null_is_for_bodies_only() -> None:
    """Where a value is given, null is no value; the default stays."""
    schema = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 3}
    assert without_null(schema) == {"type": "integer", "default": 3}
    assert without_null(TEXT) == TEXT


def test_depth() -> None:
    """How many lists are around a value."""
    optional = {"anyOf": [LISTS, {"type": "null"}]}
    pair = {"type": "array", "prefixItems": [TEXT, TEXT]}
    assert [depth(each) for each in (TEXT, pair, LISTS, optional)] == [0, 1, 2, 2]
