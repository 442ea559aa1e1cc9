"""Endpoints in a FastAPI application of somebody's own, with and without a daemon."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from .daemon import DEADLINE_S, PROGRAMS, Daemon, Gate, lines

OWN = str(PROGRAMS / "own.py")
MANY = 8
"""More than an event loop has threads by default on a machine of two cores."""

Ask = Callable[..., requests.Response]


def serve(daemon: Daemon, **env: str) -> "tuple[subprocess.Popen[str], Ask]":
    """The application as a process, and a way to ask it."""
    process = daemon.begin(sys.executable, OWN, env=env)
    return process, asking(process)


def asking(process: "subprocess.Popen[str]") -> Ask:
    [port] = lines(process, 1)

    def ask(method: str, path: str, **options: Any) -> requests.Response:
        url = f"http://127.0.0.1:{port.strip()}{path}"
        return requests.request(method, url, timeout=DEADLINE_S, **options)

    return ask


@pytest.fixture(scope="module")
def application(standing: Daemon) -> Iterator[Ask]:
    """The application of the module's daemon, for all its tests."""
    with subprocess.Popen(
        [sys.executable, OWN], env=standing.env, cwd=standing.cwd, stdout=subprocess.PIPE, text=True
    ) as process:
        yield asking(process)
        process.kill()


@pytest.fixture
def ask(application: Ask, shared: Daemon) -> Ask:
    """Asks the application, while a daemon runs."""
    return application


@pytest.fixture
def alone(stopped: Daemon) -> Ask:
    """Asks the application; no daemon runs."""
    return serve(stopped)[1]


def code(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_command_answers_with_what_it_returns(shared: Daemon, ask: Ask) -> None:
    """A call runs in a worker of the daemon, as a job that came over HTTP."""
    answer = ask("POST", "/sum", json={"left": 2, "right": 3})
    assert (answer.status_code, answer.json()["sum"]) == (200, 5)
    job = shared.job(answer.headers["Mcli-Job-Id"])
    assert (job["name"], job["source"], job["state"]) == ("add", "http", "succeeded")
    assert job["pid"] == answer.json()["pid"]
    assert ask("GET", "/items/7").json() == 7
    assert ask("GET", "/other").json() == "other"
    assert ask("GET", "/own").json() == "mine"


def test_wrong_parameters_are_named(ask: Ask) -> None:
    """Each wrong parameter has its entry, in Click's words; nothing is run."""
    answer = ask("POST", "/sum", json={"left": "x", "right": 10, "more": 1})
    assert code(answer) == (422, "bad_parameters")
    assert {each["parameter"] for each in answer.json()["errors"]} == {"left", "right", "more"}


def test_failure_is_a_problem(ask: Ask) -> None:
    """A command that fails is a 500 that says what it has said."""
    answer = ask("POST", "/fail")
    assert code(answer) == (500, "job_failed")
    assert "out of order" in answer.json()["detail"]


def test_background_job_is_found_again(ask: Ask) -> None:
    """An upload is accepted at once; its document, output and result are found by its id."""
    answer = ask("POST", "/size", files={"source": ("a.bin", b"x" * 1000)})
    assert answer.status_code == 202
    place = answer.headers["Location"]
    assert place == f"/v1/jobs/{answer.json()['id']}"
    answer = ask("POST", "/size", files={"source": b"xyz"}, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["result"]) == (200, 3)
    place = answer.headers["Location"]
    assert ask("GET", place).json() == answer.json()
    assert ask("GET", f"{place}/result").json() == 3
    assert ask("GET", f"{place}/output").content == b"3 bytes\n"
    assert ask("GET", f"{place}/output?stream=stderr").content == b""
    assert code(ask("GET", f"{place}/output?stream=x")) == (422, "request")
    assert code(ask("POST", f"{place}/cancel")) == (409, "invalid_transition")


def test_prefix_stands_before_every_path(daemon: Daemon) -> None:
    """Under a prefix, a placeholder in it too, Location is where the job is found."""
    process, ask = serve(daemon, OWN_PREFIX="/api/{tenant}")
    answer = ask("POST", "/api/J%C3%BCrgen%20B/size", files={"source": b"xyz"})
    place = answer.headers["Location"]
    assert place == f"/api/J%C3%BCrgen%20B/v1/jobs/{answer.json()['id']}"
    assert ask("GET", place).json()["id"] == answer.json()["id"]
    process.terminate()
    process.wait(DEADLINE_S)


def test_output_comes_as_the_daemon_gives_it(ask: Ask) -> None:
    """A part of the octets, records in lines, or events; one that is not there is a problem."""
    headers = {"Prefer": "wait=20"}
    place = ask("POST", "/size", files={"source": b"xyz"}, headers=headers).headers["Location"]
    output = f"{place}/output"
    part = ask("GET", output, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"byt")
    assert part.headers["Content-Range"] == "bytes 2-4/8"
    assert ask("GET", output, headers={"Range": "bytes=8-"}).status_code == 416
    lines = ask("GET", output, headers={"Accept": "application/x-ndjson"})
    (record,) = map(json.loads, lines.text.splitlines())
    assert (record["stream"], base64.b64decode(record["data"])) == ("stdout", b"3 bytes\n")
    assert ask("GET", f"{output}?after={record['next_offset']}").content == b""
    assert code(ask("GET", f"{output}?after=3")) == (422, "request")
    events = ask("GET", output, headers={"Accept": "text/event-stream"}).text
    assert re.findall("^event: (.*)$", events, re.MULTILINE) == ["output", "state", "end"]
    seen = {"Accept": "text/event-stream", "Last-Event-ID": "end"}
    assert ask("GET", output, headers=seen).status_code == 204


def test_events_come_while_the_job_runs(ask: Ask) -> None:
    """What is printed, each state, and the end, as they come."""
    place = ask("POST", "/forever").headers["Location"]
    accept = {"Accept": "text/event-stream"}
    names: list[str] = []
    with ask("GET", f"{place}/output", headers=accept, stream=True) as events:
        for line in events.iter_lines(chunk_size=1, decode_unicode=True):
            name, _, value = line.partition(": ")
            names += [value] if name == "event" else []
            if name == "data" and names[-1] == "output":
                ask("POST", f"{place}/cancel")
            if name == "data" and names[-1] == "end":
                assert json.loads(value)["state"] == "cancelled"
    assert names[-1] == "end"
    assert names.count("output") == 1
    followed = ask("GET", f"{place}/output?follow=true")
    assert followed.content == b"asleep\n"


def test_job_is_cancelled(shared: Daemon, ask: Ask) -> None:
    """What runs has no result, and can be ended."""
    place = ask("POST", "/forever").headers["Location"]
    assert code(ask("GET", f"{place}/result")) == (409, "unfinished")
    assert ask("POST", f"{place}/cancel").status_code == 202
    assert shared.final(place.rpartition("/")[2])["state"] == "cancelled"
    assert code(ask("GET", f"{place}/result")) == (409, "job_failed")


def test_other_jobs_are_not_shown(shared: Daemon, ask: Ask) -> None:
    """A beginning of an id, and a job that is none of these endpoints', are unknown."""
    other = shared.submit("tell")
    ours = ask("POST", "/sum", json={"left": 1}).headers["Mcli-Job-Id"]
    assert ask("GET", f"/v1/jobs/{ours}").status_code == 200
    for job_id in (other, ours[:13], "-", "x", ours.upper()):
        for method, path in (("GET", ""), ("GET", "/output"), ("POST", "/cancel")):
            assert code(ask(method, f"/v1/jobs/{job_id}{path}")) == (404, "unknown_job")


def test_same_key_same_job(ask: Ask) -> None:
    """A request that is sent again with its key gets the same job; another one is refused."""
    key = {"Idempotency-Key": "k-1"}
    first = ask("POST", "/sum", json={"left": 1}, headers=key)
    again = ask("POST", "/sum", json={"left": 1}, headers=key)
    assert again.headers["Mcli-Job-Id"] == first.headers["Mcli-Job-Id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = ask("POST", "/sum", json={"left": 2}, headers=key)
    assert code(other) == (422, "idempotency_key_reused")


def test_without_a_daemon_it_is_unavailable(alone: Ask) -> None:
    """Nothing is run in the server's own process; wrong parameters are still told."""
    assert code(alone("POST", "/sum", json={"left": 1})) == (503, "daemon_not_running")
    assert code(alone("POST", "/sum", json={})) == (422, "bad_parameters")
    some = "01234567-89ab-7def-8123-456789abcdef"
    assert code(alone("GET", f"/v1/jobs/{some}")) == (503, "daemon_not_running")


def test_many_wait_at_once(stopped: Daemon, gate: Gate) -> None:
    """More requests than a pool has threads wait for their jobs, while others are answered."""
    stopped.start("--workers", str(MANY))
    _, ask = serve(stopped)
    waiting = {"json": {"gate": gate.path}, "headers": {"Prefer": "wait=30"}}
    with ThreadPoolExecutor(MANY) as pool:
        answers = [pool.submit(ask, "POST", "/obey", **waiting) for _ in range(MANY)]
        inside = [gate.arrival() for _ in range(MANY)]
        assert ask("GET", f"/v1/jobs/{inside[0].job_id}").json()["state"] == "running"
        for each in inside:
            each.leave()
        states = [answer.result().json()["state"] for answer in answers]
    assert states == ["succeeded"] * MANY


def test_daemon_that_stops_is_told(daemon: Daemon) -> None:
    """Whoever waits when the daemon stops is told that the job runs on."""
    _, ask = serve(daemon)
    answer = ask("POST", "/forever")
    job_id = answer.json()["id"]
    daemon.stop()
    assert code(ask("GET", f"/v1/jobs/{job_id}")) == (503, "daemon_not_running")
    daemon.start()
    assert ask("POST", f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert daemon.final(job_id)["state"] == "cancelled"


def test_schema_has_the_endpoints(stopped: Daemon) -> None:
    """The application's own /openapi.json describes them, without asking for a token."""
    _, ask = serve(stopped, OWN_APPS="group")
    told = ask("GET", "/openapi.json").json()
    assert {"/own", "/sum", "/items/{item}", "/v1/jobs/{job_id}"} < set(told["paths"])
    assert "/other" not in told["paths"]
    operation = told["paths"]["/sum"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["left"]
    assert "security" not in operation
