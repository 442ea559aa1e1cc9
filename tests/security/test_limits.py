"""R13: no client can have all of the daemon."""

import socket
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from acceptance.daemon import DEADLINE_S, Daemon, Gate, until
from starlette.applications import Starlette

from mcli.daemon.limits import Bucket, Buckets, Limits, Open

from .conftest import wire_to
from .wire import Wire, parse, read, serving, together

LIMITS = Limits()


# Pure ---------------------------------------------------------------------------------------


def test_r13_bucket_runs_dry_and_fills() -> None:
    """As many as it holds at once, then as many as flow in; never more than it holds."""
    bucket = Bucket(per_s=2.0, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(0.25) == 0.25
    assert bucket.take(0.5) == 0.0
    assert [bucket.take(1000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(999.0) == 0.5  # a clock that goes back gives nothing


def test_r13_each_client_has_its_own() -> None:
    """One client's flood is no other's."""
    buckets = Buckets(1.0, 1)
    assert (buckets.take("a", 0.0), buckets.take("a", 0.0), buckets.take("b", 0.0)) == (0, 1, 0)
    streams = Open(1)
    assert streams.enter("a")
    assert not streams.enter("a")
    assert streams.enter("b")
    streams.leave("a")
    assert streams.enter("a")


# Bodies -------------------------------------------------------------------------------------


def chunked(wire: Wire, size: int, *, token: str) -> bytes:
    head = (
        f"POST /v1/shutdown HTTP/1.1\r\nHost: {wire.authority}\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
    return head.encode() + piece * (size >> 16) + b"0\r\n\r\n"


def test_r13_body_that_tells_its_length(wire: Wire) -> None:
    """A body that is too long is refused before it is read, even before the token is asked for."""
    body = b" " * (LIMITS.body_max + 1)
    for token in ("", None):
        answer = wire.ask(
            "POST", "/v1/shutdown", body=body, token=token, Content_Type="application/json"
        )
        assert (answer.status, answer.json()["code"]) == (413, "body_too_long")


def test_r13_body_that_does_not(wire: Wire) -> None:
    """A body in chunks is refused as soon as it is too long; one that just fits is read."""
    answer = wire.send(chunked(wire, LIMITS.body_max + (1 << 17), token=wire.token))
    assert (answer.status, answer.json()["code"]) == (413, "body_too_long")
    fits = wire.send(chunked(wire, LIMITS.body_max - (1 << 17), token=wire.token))
    assert fits.status == 422  # blanks are no JSON
    assert wire.send(chunked(wire, LIMITS.body_max * 2, token="x")).status == 401


def test_r13_body_without_an_end(wire: Wire) -> None:
    """Who waits to be told to go on is told at once that it is too long."""
    lines = [
        *("POST /v1/shutdown HTTP/1.1", f"Host: {wire.authority}", "Expect: 100-continue"),
        *(f"Authorization: Bearer {wire.token}", "Content-Type: application/json"),
        "Content-Length: 99999999999",
    ]
    with wire.connect() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert parse(read(connection)).status == 413


def test_r13_body_max_is_a_setting(stopped: Daemon) -> None:
    """MCLI_BODY_MAX allows more, or less."""
    stopped.start(MCLI_BODY_MAX="100")
    wire = wire_to(stopped)
    answer = wire.post("/v1/login/code", "x" * 100)
    assert answer.status == 413
    assert "100 bytes" in answer.json()["detail"]
    assert wire.post("/v1/login/code", {}).status == 201


# Heads and connections ------------------------------------------------------------------------


def test_r13_long_head(wire: Wire) -> None:
    """A head of more than 64 KB is no request; one with less is."""
    assert wire.ask("GET", "/healthz", X="x" * 60_000).status == 200
    assert wire.ask("GET", "/healthz", X="x" * 2 * LIMITS.header_max).status == 400
    endless = wire.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 4 * LIMITS.header_max)
    assert endless.status == 400


def test_r13_connections(daemon: Daemon) -> None:
    """Of very many connections the last are turned away; with the others gone all is well."""
    wire = wire_to(daemon)
    with ExitStack() as stack:
        for _ in range(LIMITS.connections_max + 1):
            stack.enter_context(wire.connect())
        answer = wire.ask("GET", "/healthz")
        assert (answer.status, answer.json()["code"]) == (503, "too_many_connections")
        assert daemon.submit("tell")  # callers have another way
    until_served(wire)


def until_served(wire: Wire) -> None:
    """The daemon has to see first that others have gone."""
    until(lambda: wire.ask("GET", "/healthz").status == 200)


def test_r13_slow_head() -> None:
    """A connection on which no request comes to its end is closed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        serving(Starlette(), Limits(head_s=0.2), listening),
        socket.create_connection(listening.getsockname(), DEADLINE_S) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert read(connection) == b""


# Floods ---------------------------------------------------------------------------------------


def test_r13_flood_of_submissions(daemon: Daemon) -> None:
    """After the burst only so many a second get through; reading goes on as ever, and quickly."""
    wire = wire_to(daemon)
    count = 2 * LIMITS.submissions_burst
    began = time.monotonic()
    answers = together(partial(wire.post, "/endpoint", {}) for _ in range(count))
    most = LIMITS.submissions_burst + (time.monotonic() - began + 1) * LIMITS.submissions_per_s
    through = [answer for answer in answers if answer.status == 404]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(through) + len(refused) == count
    assert LIMITS.submissions_burst <= len(through) <= most
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["code"] for answer in refused} == {"too_many_requests"}
    assert wire.ask("GET", "/v1/status").status == 200
    assert wire.post(f"/v1/jobs/{daemon.submit('tell')}/cancel", {}).status in (202, 409)


def test_r13_failed_authentications(daemon: Daemon) -> None:
    """The first ten are answered at once, the others a second later; who has the token is not."""
    wire = wire_to(daemon)
    seconds = [failing_s(wire) for _ in range(LIMITS.failures_per_min + 2)]
    assert max(seconds[: LIMITS.failures_per_min]) < LIMITS.failure_wait_s
    assert min(seconds[LIMITS.failures_per_min :]) >= LIMITS.failure_wait_s
    began = time.monotonic()
    assert wire.post("/v1/login", {"code": "x"}, token=None).status == 401
    assert time.monotonic() - began >= LIMITS.failure_wait_s
    began = time.monotonic()
    assert wire.ask("GET", "/healthz").status == 200
    assert time.monotonic() - began < LIMITS.failure_wait_s


def failing_s(wire: Wire) -> float:
    began = time.monotonic()
    assert wire.ask("GET", "/healthz", token="wrong").status == 401
    return time.monotonic() - began


def test_r13_streams(daemon: Daemon, gate: Gate) -> None:
    """Only so many streams are open at once; one that is closed makes room."""
    wire = wire_to(daemon)
    job = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('here')")
    path = f"/v1/jobs/{job}/output?follow=true"
    streams: list[socket.socket] = []
    try:
        streams += [begin(wire, path) for _ in range(LIMITS.streams_max)]
        answer = wire.ask("GET", path)
        assert (answer.status, answer.json()["code"]) == (429, "too_many_requests")
        streams.pop().close()
        until(lambda: opens(wire, path, streams))
        inside.leave()
        assert all(b"here" in read(stream) for stream in streams)
    finally:
        for stream in streams:
            stream.close()


class TooMany(Exception):
    """The stream was not opened."""


def begin(wire: Wire, path: str) -> socket.socket:
    """Open a stream, and wait until its answer has begun."""
    connection = wire.connect()
    head = [f"GET {path} HTTP/1.1", f"Host: {wire.authority}", "Connection: close"]
    head.append(f"Authorization: Bearer {wire.token}")
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    if connection.recv(12, socket.MSG_PEEK) != b"HTTP/1.1 200":
        connection.close()
        raise TooMany
    return connection


def opens(wire: Wire, path: str, streams: list[Any]) -> bool:
    """Whether another stream could be opened."""
    try:
        streams.append(begin(wire, path))
    except TooMany:
        return False
    return True


def test_r13_queue(stopped: Daemon, gate: Gate) -> None:
    """Only so many jobs wait; one more is refused, not taken, and its id is free."""
    stopped.start("--workers", "1", MCLI_QUEUE_MAX="2")
    stopped.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    waiting = [stopped.submit("tell") for _ in range(2)]
    refused = stopped.puppet("tell", "--detach", code=125)
    assert refused.stderr.count("\n") == 1
    assert "2 jobs are waiting" in refused.stderr
    wire = wire_to(stopped)
    answer = wire.post(f"/v1/jobs/{waiting[0]}/rerun", {})
    assert (answer.status, answer.json()["code"]) == (503, "queue_full")
    assert answer.json()["accepted"] is False
    assert answer.headers["retry-after"] == "1"
    assert len(stopped.jobs()) == 3
    assert "running here" in stopped.puppet("tell").stderr
    inside.leave()
    assert {stopped.final(job)["state"] for job in waiting} == {"succeeded"}
    stopped.final(stopped.submit("tell"))


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_r13_limits_are_counts(stopped: Daemon, value: str) -> None:
    """A limit that is no count from 1 is told before anything starts."""
    for variable in ("MCLI_QUEUE_MAX", "MCLI_BODY_MAX"):
        done = stopped.mcli("daemon", "start", env={variable: value}, code=2)
        assert f"{variable} is '{value}'; it must be a whole number from 1" in done.stderr
