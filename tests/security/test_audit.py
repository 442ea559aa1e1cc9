"""R15: the daemon's log tells who did what, and never with what."""

import os
import re
import signal
from pathlib import Path

import pytest
from acceptance.daemon import Daemon, Gate

from mcli.daemon.audit import act_of, note
from mcli.ids import new_id

from .conftest import wire_to

LINE = re.compile(
    r"INFO audit\.(?P<act>[a-z]+) (?P<who>pid=\d+ uid=\d+|remote=[\d.]+:\d+)"
    r" route='(?P<route>[^']*)' job_id=(?P<job>[0-9a-f-]+)(?: status=(?P<status>\d+))?$"
)
JOB = "01a20120-70b6-7000-8000-000000000000"


def audited(daemon: Daemon) -> list[dict[str, str]]:
    """Every line of the audit."""
    lines = Path(daemon.home.log).read_text(encoding="utf-8").splitlines()
    found = [LINE.search(line) for line in lines if "audit." in line]
    assert all(found), lines
    return [each.groupdict() for each in found if each]


def test_r15_every_act_has_its_line(daemon: Daemon, gate: Gate) -> None:
    """Submitted, cancelled, killed, run again, signed in: each with who and which job."""
    wire = wire_to(daemon)
    job = daemon.submit("obey", gate.path)
    gate.arrival()
    wire.post(f"/v1/jobs/{job}/kill", {"signal": int(signal.SIGCONT)})
    wire.post(f"/v1/jobs/{job}/cancel", {})
    daemon.final(job)
    again = wire.post(f"/v1/jobs/{job}/rerun", {}).json()["id"]
    gate.arrival()
    code = wire.post("/v1/login/code", {}).json()["code"]
    wire.post("/v1/login", {"code": code}, token=None)
    wire.post("/v1/login", {"code": code}, token=None)
    wire.ask("GET", f"/v1/jobs/{job}")
    wire.post("/v1/shutdown", {"kill_jobs": True}, token=None)
    found = audited(daemon)
    assert [(each["act"], each["job"], each["status"]) for each in found] == [
        ("submit", job, None),
        ("kill", job, "202"),
        ("cancel", job, "202"),
        ("rerun", again, "202"),
        ("code", "-", "201"),
        ("login", "-", "200"),
        ("login", "-", "401"),
        ("shutdown", "-", "401"),
    ]
    assert f"uid={os.geteuid()}" in found[0]["who"]
    assert all(each["who"].startswith("remote=127.0.0.1:") for each in found[1:])
    log = Path(daemon.home.log).read_text(encoding="utf-8")
    assert gate.path not in log
    assert code not in log


def test_r15_a_line_cannot_be_faked(daemon: Daemon) -> None:
    """Of a path that nobody has declared nothing gets into the log."""
    wire = wire_to(daemon)
    wire.ask("POST", "/x%0aINFO%20audit.login%20remote=1.2.3.4:5%20%1b]0;%c3%a4", token=None)
    (line,) = audited(daemon)
    assert (line["act"], line["route"]) == ("call", "POST -")


def test_r15_what_is_chosen_is_spelled_in_ascii(caplog: pytest.LogCaptureFixture) -> None:
    """A line stays one line."""
    with caplog.at_level("INFO", "mcli.audit"):
        note("call", "remote=127.0.0.1:1", "POST /\n\x1bä", None)
    assert caplog.messages == [r"audit.call remote=127.0.0.1:1 route='POST /\n\x1b\xe4' job_id=-"]


APP = """
import click
import mcli

@click.command()
@click.argument("word")
@mcli.api("/tok/{word}")
@mcli.api("/tok/{word}", "GET")
def look(word):
    return len(word)
"""


def test_r15_routes_without_what_stands_in_them(stopped: Daemon, tmp_path: Path) -> None:
    """A call is noted by its route as declared and by its job, let in or not, by GET as well."""
    (tmp_path / "looker.py").write_text(APP)
    wire = wire_to(stopped.start("--app", str(tmp_path / "looker.py")))
    jobs = [wire.ask(method, "/tok/hunter2").headers["mcli-job-id"] for method in ("POST", "GET")]
    wire.ask("POST", "/tok/hunter2", token=None)
    wire.ask("GET", "/tok/hunter2", token=None)
    wire.ask("DELETE", "/tok/hunter2")
    wire.ask("POST", "/tok/hunter2/more")
    wire.ask("POST", "/v1/jobs/hunter2/cancel")
    wire.ask("DELETE", "/v1/apps/hunter2")
    wire.ask("GET", f"/v1/jobs/{jobs[0]}/result")
    assert [(each["act"], each["route"], each["job"]) for each in audited(stopped)] == [
        ("submit", "POST /tok/{word}", jobs[0]),
        ("submit", "GET /tok/{word}", jobs[1]),
        ("call", "POST /tok/{word}", "-"),
        ("call", "GET /tok/{word}", "-"),
        ("call", "DELETE /tok/{word}", "-"),
        ("call", "POST -", "-"),
        ("cancel", "POST /v1/jobs/{job_id}/cancel", "-"),
        ("call", "DELETE /v1/apps/{name}", "-"),
    ]
    assert "hunter2" not in Path(stopped.home.log).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "path", "act"),
    [
        ("POST", "/v1/jobs", ("submit", None)),
        ("PUT", f"/v1/jobs/{JOB}", ("submit", JOB)),
        ("DELETE", f"/v1/jobs/{JOB}", ("delete", JOB)),
        ("POST", f"/v1/jobs/{JOB}/rerun", ("rerun", JOB)),
        ("POST", "/v1/jobs/-/cancel", ("cancel", None)),
        ("POST", f"/v1/jobs/{JOB}/other", ("call", JOB)),
        ("POST", "/v1/jobs/", ("call", None)),
        ("POST", "/process-file", ("call", None)),
        ("POST", "/v1/login", ("login", None)),
    ],
)
def test_r15_acts(method: str, path: str, act: tuple[str, str | None]) -> None:
    """What a request asks for is known from its method and path."""
    assert act_of(method, path) == act


def test_r15_ids_are_whole() -> None:
    """Only a whole id is noted as one."""
    job = new_id()
    assert act_of("DELETE", f"/v1/jobs/{job}")[1] == job
    assert act_of("DELETE", f"/v1/jobs/{job[:8]}")[1] is None
