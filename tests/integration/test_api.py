"""The HTTP API under a real server: who is let in, what is answered, and the client's view."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mcli.client import Client
from mcli.daemon import api, feed, jobs
from mcli.daemon.auth import make_token
from mcli.endpoints.answer import STATUS
from mcli.errors import (
    AmbiguousJob,
    Conflict,
    DaemonError,
    InvalidTransition,
    MCLIError,
    OutcomeUnknown,
    RequestError,
    UnknownJob,
)
from mcli.job import JobInfo
from mcli.problem import error_in, family, problem
from mcli.states import State
from mcli.stream import Stream

from .shelf import TOKEN, Served

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def server(serving: Served) -> Served:
    serving.shelf.clear()
    return serving


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with Client(server.url, TOKEN) as client:
        yield client


@pytest.fixture
def job(server: Served) -> JobInfo:
    return server.do(server.shelf.put())


def ask(server: Served, path: str, method: str = "GET", **options: Any) -> requests.Response:
    headers = AUTHORIZED | options.pop("headers", {})
    return requests.request(method, server.url + path, headers=headers, timeout=10, **options)


def every_route() -> list[tuple[str, str]]:
    found = [*api.routes.routes, *jobs.routes.routes, *feed.routes.routes]
    return sorted((method, route.path) for route in found for method in route.methods)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("method", "path"), [*every_route(), ("GET", "/nowhere"), ("PUT", "/")])
def test_nothing_is_answered_without_the_token(server: Served, method: str, path: str) -> None:
    """Each route, and each path that is none, asks for the token before anything else."""
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}):
        answer = requests.request(
            method, server.url + path, headers=given, data=b"{not json", timeout=10
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", ""])
def test_only_our_own_hosts_are_served(server: Served, host: str) -> None:
    """A Host that is not exactly one of ours is refused, token or not."""
    answer = ask(server, "/healthz", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "forbidden_host")


def test_schema_pages_are_not_served(server: Served) -> None:
    """What is not a route of ours is a 404 problem, the framework's own pages included."""
    for path in ("/docs", "/redoc", "/openapi.json", "/v1/nothing"):
        answer = ask(server, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")


def test_wrong_method_says_which_is_right(server: Served) -> None:
    """A wrong method is a 405 problem with the Allow header."""
    answer = ask(server, "/v1/status", "POST")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_wrong_method_says_all_that_are_right(server: Served) -> None:
    """All methods of a path that several routes share are named."""
    answer = ask(server, "/v1/jobs/-", "PATCH")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, PUT")


def test_every_error_is_a_problem(server: Served, job: JobInfo) -> None:
    """Whatever is wrong with a request, the answer is a problem document about that request."""
    long = "0" * 37
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", f"/v1/jobs/{long}", 404),
        ("GET", "/v1/jobs/%2e%2e%2fmcli.db", 404),
        ("GET", "/v1/jobs/%00", 404),
        ("GET", "/v1/jobs/ABC", 404),
        ("DELETE", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=1001", 422),
        ("GET", "/v1/jobs?before=..", 422),
        ("GET", "/v1/jobs?source=x", 422),
        ("GET", f"/v1/jobs/{job.id}/wait?timeout_s=nan", 422),
        ("DELETE", f"/v1/jobs/{job.id}", 409),
    ):
        answer = ask(server, path, method)
        told = answer.json()
        assert (answer.status_code, told["status"]) == (status, status), path
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert told["instance"].startswith("/v1/")
        assert {"type", "title", "detail", "code"} <= told.keys()
        assert type(told["detail"]) is str


def test_the_unforeseen_is_told_to_the_log_alone(
    server: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of our own is a 500 problem without its words, and counted as such."""

    def fail() -> None:
        raise ZeroDivisionError("a secret of the daemon")

    monkeypatch.setattr(server.shelf, "status", fail)
    answer = ask(server, "/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "a secret of the daemon" in caplog.text
    assert 'route="/v1/status",status="500"} 1.0' in ask(server, "/metrics").text


def test_what_is_known_is_not_sent_again(server: Served, job: JobInfo) -> None:
    """If-None-Match with the ETag gives 304; after a change the job comes with another one."""
    path = f"/v1/jobs/{job.id}"
    first = ask(server, path)
    etag = first.headers["ETag"]
    assert etag.startswith('W/"')
    assert first.headers["Retry-After"] == "1"
    for known in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        answer = ask(server, path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    server.do(server.shelf.move(job.id, State.SUCCEEDED, finished_at=1.0))
    answer = ask(server, path, headers={"If-None-Match": etag})
    assert (answer.status_code, "Retry-After" in answer.headers) == (200, False)


def test_a_daemon_without_apps_knows_no_command(server: Served) -> None:
    """Submission by name is a 422 problem where no app is served."""
    answer = ask(server, "/v1/jobs", "POST", json={"app": "x", "command": "y"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_command")


def test_health_and_status(server: Served, client: Client) -> None:
    """The daemon says that it lives, and what it is."""
    assert ask(server, "/healthz").json() == {"ok": True}
    assert client.status()["home"] == server.shelf.home.root


def test_job_by_id_prefix_and_dash(server: Served, client: Client, job: JobInfo) -> None:
    """A job is found by its id, by a unique beginning of it, and as the latest."""
    for name in (job.id, job.id[:8], "-"):
        assert client.job(name) == job.document()
    later = server.do(server.shelf.put())
    assert client.job("-")["id"] == later.id


def test_argv_that_is_not_text_crosses(server: Served, client: Client) -> None:
    """Arguments that are not UTF-8 do not break the answer."""
    job = server.do(server.shelf.put(argv=["\udcff", "ä"]))
    assert client.job(job.id)["argv"] == job.document()["argv"]


@pytest.mark.parametrize("name", ["", "..", "nope", "a/b", "0?x", "ab\n"])
def test_what_cannot_be_an_id_is_unknown(client: Client, job: JobInfo, name: str) -> None:
    """Text that is no id is told so, and never becomes another path."""
    with pytest.raises(UnknownJob, match="is not a job id"):
        client.job(name)


def test_unknown_and_ambiguous_jobs(server: Served, client: Client, job: JobInfo) -> None:
    """Errors come back as the classes they were, with their message."""
    with pytest.raises(UnknownJob, match="no job 'ffff'"):
        client.job("ffff")
    assert ask(server, "/v1/jobs/ffff").status_code == 404
    server.do(server.shelf.put())
    with pytest.raises(AmbiguousJob):
        client.job("0")


def test_list_is_newest_first_and_paged(server: Served, client: Client) -> None:
    """Pages of the list follow each other without gap or repeat."""
    ids = [server.do(server.shelf.put()).id for _ in range(5)][::-1]
    assert [job["id"] for job in client.jobs()] == ids
    assert [job["id"] for job in client.jobs(limit=3)] == ids[:3]
    page = ask(server, "/v1/jobs", params={"limit": 2, "before": ids[1]}).json()
    assert [job["id"] for job in page] == ids[2:4]


def test_client_reads_every_page(
    server: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks on until there is no more."""
    monkeypatch.setattr("mcli.client.PAGE", 2)
    ids = [server.do(server.shelf.put()).id for _ in range(4)][::-1]
    assert [job["id"] for job in client.jobs()] == ids


def test_list_by_state(server: Served, client: Client, job: JobInfo) -> None:
    """Only jobs in the states asked for are listed; an unknown state is a 422 problem."""
    server.do(server.shelf.put(state=State.LOST))
    assert [each["state"] for each in client.jobs(states=["lost", "failed"])] == ["lost"]
    answer = ask(server, "/v1/jobs", params={"state": "done"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request")
    assert answer.json()["detail"].startswith("state.0: Input should be 'scheduled'")


def test_output_bytes_by_stream(server: Served, job: JobInfo) -> None:
    """The bytes come as they were printed; --stdout has the terminal's too."""
    for stream, data in ((1, b"out\xff\r\n"), (2, b"err"), (3, b"tty")):
        server.do(server.shelf.print(job.id, Stream(stream), data))
    path = f"/v1/jobs/{job.id}/output"
    assert ask(server, path).content == b"out\xff\r\nerrtty"
    assert ask(server, path, params={"stream": "stdout"}).content == b"out\xff\r\ntty"
    assert ask(server, path, params={"stream": "stderr"}).content == b"err"
    assert ask(server, path, params={"stream": "both"}).status_code == 422
    assert ask(server, path).headers["Content-Type"] == "application/octet-stream"


def test_output_records_resume_by_offset(server: Served, client: Client, job: JobInfo) -> None:
    """Records carry time, stream, data and the offset at which to go on."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"a" * 2_000_000))
    server.do(server.shelf.print(job.id, Stream.STDERR, b"\x00b"))
    first, second = client.output(job.id)
    assert (first.data, first.stream) == (b"a" * 2_000_000, Stream.STDOUT)
    assert list(client.output(job.id, after=first.next_offset)) == [second]
    assert (second.data, second.stream) == (b"\x00b", Stream.STDERR)


def test_no_output_is_empty(client: Client, job: JobInfo) -> None:
    """A job that has printed nothing has no records."""
    assert list(client.output(job.id)) == []


def test_follow_ends_with_the_job(server: Served, client: Client, job: JobInfo) -> None:
    """Followed output comes as it is printed, and ends when the job is final."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"one"))
    records = client.output(job.id, follow=True)
    assert next(records).data == b"one"
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"two"))
    assert next(records).data == b"two"
    server.do(server.shelf.move(job.id, State.SUCCEEDED, finished_at=1.0))
    assert list(records) == []


def test_follow_of_a_log_cut_short_ends(server: Served, client: Client, job: JobInfo) -> None:
    """A last record that a crash has cut does not keep the follower for ever."""
    server.do(server.shelf.print(job.id, Stream.STDOUT, b"whole"))
    with open(f"{server.shelf.home.job(job.id)}/output.log", "ab") as log:
        log.write(b"half a head")
    server.do(server.shelf.move(job.id, State.LOST, finished_at=1.0))
    assert [record.data for record in client.output(job.id, follow=True)] == [b"whole"]


def test_wait_returns_when_final(server: Served, client: Client, job: JobInfo) -> None:
    """A long poll is answered by the end of the job."""
    found: list[dict[str, Any]] = []
    waiter = threading.Thread(target=lambda: found.append(client.wait(job.id)))
    waiter.start()
    assert server.shelf.followed.wait(10)
    server.do(server.shelf.move(job.id, State.FAILED, exit_code=3, finished_at=1.0))
    waiter.join(10)
    assert (found[0]["state"], found[0]["exit_code"]) == ("failed", 3)


def test_wait_returns_when_time_is_up(client: Client, job: JobInfo) -> None:
    """After its time a long poll is answered with the job as it is."""
    assert client.wait(job.id, 0)["state"] == "queued"


def test_cancel_and_cancel_again(server: Served, client: Client, job: JobInfo) -> None:
    """Cancelling is accepted; of a job that has ended it is a conflict."""
    assert client.cancel(job.id)["state"] == "cancelled"
    with pytest.raises(InvalidTransition, match="has ended"):
        client.cancel(job.id)
    assert ask(server, f"/v1/jobs/{job.id}/cancel", "POST").status_code == 409


def test_kill_sends_the_signal(server: Served, client: Client, job: JobInfo) -> None:
    """The signal named goes to the job; a number that is none is refused."""
    client.kill(job.id, signal.SIGUSR1)
    assert server.shelf.signals == [(job.id, signal.SIGUSR1)]
    with pytest.raises(RequestError, match=r"^signal: "):
        client.kill(job.id, 65)


def test_rerun_says_where_the_new_job_is(server: Served, client: Client, job: JobInfo) -> None:
    """Running again makes a new job, and Location names it."""
    answer = ask(server, f"/v1/jobs/{job.id}/rerun", "POST")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    assert client.rerun(job.id)["id"] not in (job.id, answer.json()["id"])


def test_shutdown(server: Served, client: Client) -> None:
    """Shutting down says whether the jobs are to be killed."""
    client.shutdown(kill_jobs=True)
    assert server.shelf.shutdowns == [True]


def test_malformed_body_is_a_problem(server: Served) -> None:
    """A body that is not what it should be is told what is wrong."""
    answer = ask(
        server, "/v1/shutdown", "POST", data=b"{", headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request")


def test_silent_server_is_told_apart_by_method(server: Served) -> None:
    """When nothing answers, a question failed; what was to be done may have been done."""
    with Client("http://127.0.0.1:1", TOKEN) as client:
        with pytest.raises(DaemonError, match="does not answer"):
            client.status()
        with pytest.raises(OutcomeUnknown, match="it may have done it"):
            client.rerun("ab")


def test_wrong_token_is_a_daemon_error(server: Served) -> None:
    """A refused token is an error of the daemon, with its message."""
    with Client(server.url, "wrong") as client, pytest.raises(DaemonError, match="token"):
        client.status()


@pytest.mark.parametrize("kind", list(family()), ids=lambda kind: kind.code)
def test_every_error_survives_the_crossing(kind: type[MCLIError]) -> None:
    """Each class of error comes out of its problem document as itself."""
    error = error_in(json.loads(json.dumps(problem(kind.code, 400, "why"))), 400)
    assert (type(error), str(error)) == (kind, "why")


def test_conflicts_have_status_409() -> None:
    """The nearest ancestor decides about the status."""
    assert STATUS[Conflict] == STATUS[InvalidTransition] == 409


def test_token_is_made_once(tmp_path: Path) -> None:
    """The token's file is made with mode 0600, and read ever after."""
    path = tmp_path / "token"
    token = make_token(str(path))
    assert len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_token(str(path)) == token


@pytest.mark.parametrize("damaged", [b"", b"short\n", b"\xff\0" * 32, b"two\nlines" * 9])
def test_damaged_token_is_made_anew(tmp_path: Path, damaged: bytes) -> None:
    """What cannot be a token is replaced when the daemon starts, so that a restart helps."""
    path = tmp_path / "token"
    path.write_bytes(damaged)
    path.chmod(0o600)
    assert len(make_token(str(path))) >= 32
    assert path.read_bytes() != damaged
    assert path.stat().st_mode & 0o777 == 0o600
