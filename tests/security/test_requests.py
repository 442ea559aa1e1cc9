"""R1, R2, R3, R5, R10, R11: what a request must be like to be answered."""

import itertools
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from acceptance.daemon import Daemon
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mcli.daemon import docs
from mcli.daemon.api import create_app
from mcli.daemon.auth import Guard
from mcli.daemon.endpoints import Endpoints
from mcli.daemon.headers import ALWAYS
from mcli.daemon.limits import Limits
from mcli.daemon.login import Logins
from mcli.daemon.origin import is_from_our_page
from mcli.output import Log, read_records
from mcli.stream import Stream

from .wire import Wire, serving, together

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PAGE = {(method, path) for method in ("GET", "HEAD") for path in docs.FILES}
OPEN = PAGE | {("POST", "/v1/login"), ("PATCH", "/kinds/slow")}
"""What is answered without a token: no data of anybody, and what its author has opened."""

UPGRADE: dict[str, Any] = {
    "connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def paths(routes: Any, before: str = "") -> Iterator[str]:
    """Every path of an application, with something in the place of each parameter."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, before + route.path)
        elif isinstance(route, Route) or hasattr(route, "path"):
            words = (before + route.path).split("/")
            yield "/".join("x" if word.startswith("{") else word for word in words)
        else:  # FastAPI's own holder of a router's routes
            yield from paths(route.original_router.routes, before)


def every_path(wire: Wire) -> list[str]:
    """Those of the application itself, those of the apps that it serves now, and others."""
    endpoints = Endpoints(SimpleNamespace(), None)  # type: ignore[arg-type]
    daemon: Any = SimpleNamespace(ended=[])  # nothing is asked of it: only routes are looked at
    app = create_app(daemon, token="t" * 32, allowed_hosts=(), endpoints=endpoints)
    mounted = json.loads(wire.ask("GET", "/openapi.json").body)["paths"]
    found = {*paths(app.routes), *(re.sub("{[^}]*}", "x", path) for path in mounted)}
    return sorted({*found, "/", "/nowhere", "/v1/jobs/x/nowhere"})


def test_r01_every_route_is_known(wire: Wire) -> None:
    """The routes that the next test goes through are the application's, and those of its apps."""
    known = {"/v1/status", "/v1/jobs/x/cancel", "/v1/login/code", "/v1/apps/x", "/docs", "/kinds/x"}
    assert known <= set(every_path(wire))


def test_r01_nothing_without_the_token(wire: Wire) -> None:
    """Each route refuses each method without the token, and as a websocket."""
    every = itertools.product(METHODS, every_path(wire))
    asked = [each for each in every if each not in OPEN]
    answers = together(partial(wire.ask, *each, token=None) for each in asked)
    open_to_all = [each for each, got in zip(asked, answers, strict=True) if got.status != 401]
    assert open_to_all == []
    sockets = together(
        partial(wire.ask, "GET", path, token=None, **UPGRADE)
        for path in every_path(wire)
        if path not in docs.FILES
    )
    assert {answer.status for answer in sockets} == {401}


@pytest.mark.parametrize(
    "given",
    [
        *("Bearer", "Bearer ", "Bearer x", "bearer \xe9", "Basic dDp0", "", "Bearer  {token}"),
        *("Bearer {token}x", "Bearer {token} ", "Token {token}", "{token}", "Bearer \xff\xfe"),
    ],
)
def test_r01_what_is_not_the_token(wire: Wire, given: str) -> None:
    """Anything that is not exactly the token is a 401 that tells how, and never a 500."""
    text = given.format(token=wire.token)
    answer = wire.ask("GET", "/v1/status", token=None, Authorization=text)
    if text.strip() == f"Bearer {wire.token}":
        assert answer.status == 200  # blanks around a header are no part of it
        return
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "mcli token" in answer.json()["detail"]


def test_r01_two_tokens_are_none(wire: Wire) -> None:
    """Of two Authorization headers, neither counts."""
    twice = f"Bearer {wire.token}\r\nAuthorization: Bearer {wire.token}"
    assert wire.ask("GET", "/v1/status", token=None, Authorization=twice).status == 401


@pytest.mark.parametrize(
    "host",
    [
        *("evil.test", "evil.test:{port}", "localhost.evil.test:{port}", "localhost.:{port}"),
        *("127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", "localhost", "[::]:{port}"),
        *("x@127.0.0.1:{port}", "127.0.0.1:{port}@evil.test", "127.1:{port}", "2130706433:{port}"),
        *("127.0.0.1:{port}/", "127.0.0.1:0{port}", " ", "[::ffff:127.0.0.1]:{port}"),
    ],
)
def test_r02_foreign_hosts(wire: Wire, host: str) -> None:
    """A Host that is not exactly one of ours is misdirected, token or not."""
    answer = wire.ask("POST", "/v1/shutdown", host=host.format(port=wire.port))
    assert answer.status in (400, 421)
    assert answer.headers["content-type"] == "application/problem+json"
    assert wire.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_r02_our_hosts(wire: Wire, host: str) -> None:
    """The ways to write this machine's own address, with our port."""
    assert wire.ask("GET", "/healthz", host=f"{host}:{wire.port}").status == 200


@pytest.mark.parametrize(
    ("line", "hosts"),
    [
        ("GET /healthz HTTP/1.1", 0),
        ("GET /healthz HTTP/1.1", 2),
        ("GET /healthz HTTP/1.0", 1),
        ("GET /healthz HTTP/1.0", 0),
        ("GET http://{host}/healthz HTTP/1.1", 1),
        ("GET http://evil.test/healthz HTTP/1.1", 1),
        ("GET //evil.test/healthz HTTP/1.1", 1),
        ("OPTIONS * HTTP/1.1", 1),
        ("CONNECT {host} HTTP/1.1", 1),
    ],
)
def test_r02_other_targets(wire: Wire, line: str, hosts: int) -> None:
    """No Host, two of them, HTTP/1.0, and a target that is not a path are refused."""
    head = [line.format(host=wire.authority), *[f"Host: {wire.authority}"] * hosts]
    head += [f"Authorization: Bearer {wire.token}", "Connection: close"]
    answer = wire.send("\r\n".join([*head, "", ""]).encode())
    assert answer.status in (400, 421)
    assert answer.json()["code"] in ("bad_request", "forbidden_host")


SITES = (None, "same-origin", "same-site", "cross-site", "none")
ORIGINS = (None, "{ours}", "null", "http://localhost:3000", "http://evil.test")


@pytest.mark.parametrize("token", ["", None], ids=["token", "none"])
def test_r03_provenance(wire: Wire, token: str | None) -> None:
    """What a browser says of the page must be our own origin, for each method; token or not."""
    matrix = list(itertools.product(METHODS, SITES, ORIGINS))
    answers = together(
        partial(wire.ask, method, "/v1/status", token=token, **said(wire, site, origin))
        for method, site, origin in matrix
    )
    for (method, site, origin), answer in zip(matrix, answers, strict=True):
        fine = site in (None, "same-origin") and origin in (None, "{ours}")
        assert (answer.status != 403) == fine, (method, site, origin)


def said(wire: Wire, site: str | None, origin: str | None) -> dict[str, Any]:
    """The headers of a browser."""
    given = {"Sec_Fetch_Site": site, "Origin": origin and origin.format(ours=wire.url)}
    return {name: value for name, value in given.items() if value is not None}


def test_r03_address_typed_by_hand() -> None:
    """``none`` is for opening a page without data, and for nothing else."""
    headers = [(b"host", b"h:1"), (b"sec-fetch-site", b"none")]
    assert is_from_our_page(headers, "http", opens_page=True)
    assert not is_from_our_page(headers, "http", opens_page=False)
    assert not is_from_our_page([*headers, headers[1]], "http", opens_page=True)


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (401, {"token": None}),
        (403, {"Origin": "null"}),
        (413, {"Content_Length": "99999999"}),
        (415, {"body": b"x"}),
        (421, {"host": "evil.test"}),
    ],
)
def test_r01_refusals_name_the_path(wire: Wire, status: int, options: dict[str, Any]) -> None:
    """A request that is not let in is told which one it was, as every other is."""
    answer = wire.ask("POST", "/v1/n%C3%B6?x=1", **options)
    assert (answer.status, answer.json()["instance"]) == (status, "/v1/nö")


def test_r05_preflight_is_not_answered(wire: Wire) -> None:
    """No answer allows another origin anything."""
    asked: dict[str, Any] = {"Origin": "http://evil.test", "Access_Control_Request_Method": "POST"}
    for token in ("", None):
        answer = wire.ask("OPTIONS", "/v1/jobs", token=token, **asked)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("", "application/jsonp", "text/plain; application/json", "application/octet-stream"),
        *("application/x-python-pickle", "application/yaml"),
    ],
)
def test_r05_only_json(wire: Wire, kind: str) -> None:
    """A body of any other kind, above all those that a form may send, is not looked at."""
    body = b'{"kill_jobs": true}'
    answer = wire.ask("POST", "/v1/shutdown", body=body, Content_Type=kind)
    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
    assert wire.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/jobs/x", "/v1/login"])
def test_r10_headers_on_every_answer(wire: Wire, path: str) -> None:
    """Good, wrong and refused: each answer tells browsers to keep and guess nothing."""
    refused = wire.send(b"nonsense\r\n\r\n")
    for answer in (wire.ask("GET", path), wire.ask("GET", path, token=None), refused):
        told = {name: answer.headers.get(name.decode(), "").encode() for name in ALWAYS}
        assert told == ALWAYS
        assert "server" not in answer.headers


def test_r10_output_is_a_download(shared: Daemon, wire: Wire) -> None:
    """What a job printed comes as bytes to be saved, whatever it looks like."""
    job = shared.submit("tell", "<script>alert(1)</script>")
    shared.final(job)
    answer = wire.ask("GET", f"/v1/jobs/{job}/output")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "name",
    [
        *("..%2f..%2ftoken", "%2e%2e", "..", "%00", "%2Fetc%2Fpasswd", "..%5c..%5ctoken", "."),
        *("x" * 10_000, "0%00", "%0a", "~root", "C:%5c", "0%2f..", "%ff%fe", "-%00"),
    ],
)
@pytest.mark.parametrize("rest", ["", "/output", "/cancel"])
def test_r11_what_is_no_job(wire: Wire, name: str, rest: str) -> None:
    """A name that is no job's id never becomes a path."""
    method = "POST" if rest == "/cancel" else "GET"
    answer = wire.ask(method, f"/v1/jobs/{name}{rest}")
    assert answer.status in (404, 405)
    assert wire.token.encode() not in answer.body


def test_r11_planted_link(tmp_path: Path) -> None:
    """A link that a job has put in the place of its log is not followed."""
    log = Log(str(tmp_path / "other"))
    log.append(Stream.STDOUT, b"somebody else's")
    log.close()
    (tmp_path / "output.log").symlink_to("other")
    assert read_records(str(tmp_path / "output.log")) == []
    assert len(read_records(str(tmp_path / "other"))) == 1


@contextmanager
def asking(
    limited: Limits | None = None, **rules: Any
) -> Iterator[Callable[..., requests.Response]]:
    """An application with one route of each method at ``/x``, behind a guard with *rules*."""

    async def echo(request: Request) -> PlainTextResponse:
        data = (await request.body()).decode()
        return PlainTextResponse(f"{request.state.client} {data}")

    app = Starlette(routes=[Route("/x", echo, methods=["GET", "POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        limits = limited or Limits(failure_wait_s=0, body_max=200)
        guard = Guard(
            app, token="t" * 32, allowed_hosts={host}, logins=Logins(), limits=limits, **rules
        )
        with serving(guard, limits, listening):
            yield lambda method, **options: requests.request(
                method, f"http://{host}/x", timeout=10, **options
            )


TOKEN = {"Authorization": "Bearer " + "t" * 32}
FILE = {"file": ("name", b"data")}


def test_r01_open_routes() -> None:
    """An open route needs no token; other pages and hosts are refused there as everywhere."""
    with asking(is_open=lambda method, path: (method, path) == ("GET", "/x")) as ask:
        assert ask("GET").text == "open "
        assert ask("POST").status_code == 401
        assert ask("GET", headers={"Sec-Fetch-Site": "none"}).status_code == 200
        for given in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert ask("GET", headers=given).status_code == 403
        assert ask("GET", headers={"Host": "evil.test"}).status_code == 421


def test_r05_files_where_they_are_taken() -> None:
    """A form with files is let through where the route takes one, within the limit."""
    with asking(takes_upload=lambda *at: at == ("POST", "/x")) as ask:
        assert "data" in ask("POST", headers=TOKEN, files=FILE).text
    with asking() as ask:
        assert ask("POST", headers=TOKEN, files=FILE).status_code == 415
        assert ask("POST", headers=TOKEN, json=[]).text == "token []"
        assert ask("POST", headers=TOKEN, json=[0] * 100).status_code == 413


def test_r13_a_route_does_not_see_what_is_too_long() -> None:
    """Whatever a route makes of a body that was cut off, the answer is that it was too long."""
    pieces = (b" " * 120 for _ in range(2))
    with asking() as ask:
        answer = ask("POST", headers=TOKEN | {"Content-Type": "application/json"}, data=pieces)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_long")


def test_r13_a_call_by_get_is_a_submission() -> None:
    """What runs a command counts, whatever its method; what only reads does not."""
    slow = Limits(submissions_per_s=0.001, submissions_burst=1)
    with asking(slow, is_call=lambda *at: at == ("GET", "/x")) as ask:
        assert ask("GET", headers=TOKEN).status_code == 200
        refused = ask("GET", headers=TOKEN)
        assert (refused.status_code, refused.json()["instance"]) == (429, "/x")
    with asking(slow) as ask:
        assert [ask("GET", headers=TOKEN).status_code for _ in range(2)] == [200, 200]
