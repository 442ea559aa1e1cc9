"""Jobs over HTTP, with a real daemon, real workers, and connections that break."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from mcli.client import Client
from mcli.errors import (
    BadParameters,
    InvalidTransition,
    JobFailed,
    KeyReused,
    OutcomeUnknown,
    Unfinished,
    UnknownCommand,
    UnknownJob,
)
from mcli.ids import new_id

from .daemon import DEADLINE_S, PUPPET, Daemon, Gate, ended

UNKNOWN = "tell has no parameter 'depth'; it has: number, words"
TELL = {"app": "puppet", "command": "tell", "params": {"number": 7}}


class Web:
    """A daemon that serves the puppet, and a way to ask it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def start(self, *options: str, **env: str) -> Self:
        """Start it, and wait until it listens."""
        self.daemon.start("--app", PUPPET, *options, **env)
        return self

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        with self.daemon.client() as client:
            token = client._address.token
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        return requests.request(
            method, client.url + path, headers=headers, timeout=DEADLINE_S, **options
        )

    def post(self, body: Any = TELL, **headers: str) -> requests.Response:
        return self.ask("POST", "/v1/jobs", json=body, headers=headers)


@pytest.fixture
def idle(stopped: Daemon) -> Web:
    """Of a test's own, and not started yet."""
    return Web(stopped)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Running, for all tests that leave it so."""
    daemon = Daemon(tmp_path_factory.mktemp("web"))
    yield Web(daemon).start()
    daemon.close()


@pytest.fixture
def web(shared: Web, gate: Gate) -> Iterator[Web]:  # the gate lets go after the end
    """Running, and without any job."""
    yield shared
    shared.daemon.clear()


@pytest.fixture
def client(web: Web) -> Iterator[Client]:
    with web.daemon.client() as client:
        yield client


def hold(gate: Gate) -> dict[str, Any]:
    return {"app": "puppet", "command": "obey", "params": {"gate": gate.path}}


# Submitting -------------------------------------------------------------------------------


def test_submission_is_accepted_and_told_where(web: Web, client: Client) -> None:
    """POST answers 202 with the job, its place and when to ask; the job then runs."""
    answer = web.post()
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert (job["source"], job["name"]) == ("http", "tell")
    assert client.wait(job["id"], DEADLINE_S)["state"] == "succeeded"
    assert client.result(job["id"]) == {"number": 7, "words": []}


def test_prefer_wait_brings_the_end(web: Web) -> None:
    """With Prefer: wait the answer is the final document, and says that it was heeded."""
    answer = web.post(Prefer="foo, wait=25")
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=25"
    assert "Retry-After" not in answer.headers


def test_prefer_wait_gives_up(web: Web, gate: Gate) -> None:
    """A job that takes longer than the caller would wait is answered with 202."""
    answer = web.post(hold(gate), Prefer="wait=0")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=0")
    answer = web.post(hold(gate), Prefer="respond-async")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")


def test_failed_job_is_no_failed_request(web: Web) -> None:
    """The document of a job that failed comes with 200."""
    answer = web.post(
        {"app": "puppet", "command": "leave", "params": {"code": 3}}, Prefer="wait=25"
    )
    assert (answer.status_code, answer.json()["exit_code"]) == (200, 3)


def test_put_may_be_repeated(web: Web) -> None:
    """The first PUT makes the job, the same again finds it; it runs once."""
    path = f"/v1/jobs/{new_id()}"
    first = web.ask("PUT", path, json=TELL, headers={"Prefer": "wait=0"})
    again = web.ask("PUT", path, json=TELL, headers={"Prefer": "wait=25"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.headers["Location"] == again.headers["Location"] == path
    assert len(web.daemon.starts()) == 1


def test_put_of_another_request_is_a_conflict(web: Web) -> None:
    """An id stands for one request."""
    path = f"/v1/jobs/{new_id()}"
    web.ask("PUT", path, json=TELL)
    answer = web.ask("PUT", path, json=TELL | {"params": {}})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


ID = "01a201d7-cc28-79a9-951c-96d7a5efe57a"
RANDOM = "cd518550-0558-4dec-b44c-abe6756d1fe5"
"""Of version 4: its job would be the latest for ever."""


@pytest.mark.parametrize("name", ["0", "x" * 36, "-", ID.upper(), ID + "0", RANDOM])
def test_put_needs_a_whole_id(web: Web, name: str) -> None:
    """What is no id is refused, and no job is made."""
    answer = web.ask("PUT", f"/v1/jobs/{name}", json=TELL)
    assert (answer.status_code, answer.json()["code"]) == (422, "request")
    assert web.daemon.jobs() == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (TELL | {"app": "other"}, "unknown_command"),
        (TELL | {"command": "other"}, "unknown_command"),
        (TELL | {"command": "\ud800"}, "unknown_command"),
        (TELL | {"params": {"depth": 1}}, "bad_parameters"),
        (TELL | {"more": 1}, "request"),
        ({"app": "puppet"}, "request"),
        ([], "request"),
    ],
)
def test_wrong_submission_is_told_what_is_wrong(web: Web, body: Any, code: str) -> None:
    """422, with an entry for each parameter that is wrong; nothing is accepted."""
    answer = web.post(body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["instance"]) == (422, code, "/v1/jobs")
    if code == "bad_parameters":
        assert told["errors"] == [{"parameter": "depth", "message": UNKNOWN}]
    assert web.daemon.jobs() == []


def test_key_brings_the_same_job(web: Web) -> None:
    """The same request with the same key is one job, whoever asks at the same time."""
    key = {"Idempotency-Key": "order 17"}
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: web.post(Prefer="wait=25", **key), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert sorted(map(str, replayed)) == ["None", *["true"] * 7]
    assert len(web.daemon.starts()) == 1


def test_key_of_another_request_is_refused(web: Web) -> None:
    """A key stands for one request."""
    key = {"Idempotency-Key": "order 18"}
    assert web.post(**key).status_code == 202
    answer = web.post(TELL | {"params": {}}, **key)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(("point", "replayed"), [("pre-commit", None), ("post-commit", "true")])
def test_key_and_job_are_one(idle: Web, point: str, replayed: str | None) -> None:
    """A daemon that dies on either side of the commit has kept both or none; it runs once."""
    key = {"Idempotency-Key": "order 19"}
    idle.start(MCLI_FAILPOINT=f"{point}:kill")
    with ended(idle.daemon.pid), pytest.raises(requests.ConnectionError):
        idle.post(**key)
    idle.start()
    answer = idle.post(Prefer="wait=25", **key)
    assert answer.headers.get("Idempotent-Replayed") == replayed
    assert [job["id"] for job in idle.daemon.jobs()] == [answer.json()["id"]]
    assert len(idle.daemon.starts()) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ä"])
def test_key_must_be_printable(web: Web, key: str) -> None:
    """A key that is none is refused, and no job is made."""
    answer = web.ask(
        "POST", "/v1/jobs", json=TELL, headers={"Idempotency-Key": key.encode("latin-1")}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request")
    assert web.daemon.jobs() == []


def test_rerun_takes_a_key(web: Web, client: Client) -> None:
    """Running again is a submission: the same key makes one job of two requests."""
    job = web.post(Prefer="wait=25").json()
    path = f"/v1/jobs/{job['id']}/rerun"
    first, again = (
        web.ask("POST", path, headers={"Idempotency-Key": "again", "Prefer": "wait=25"})
        for _ in range(2)
    )
    assert first.json()["id"] == again.json()["id"] != job["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


# Looking ----------------------------------------------------------------------------------


def test_list_is_filtered_and_paged(web: Web, client: Client) -> None:
    """Filters choose, Link leads on, and the pages have neither gap nor repeat."""
    for code in (0, 3, 4, 5):
        leave = {"app": "puppet", "command": "leave", "params": {"code": code}}
        web.post(leave, Prefer="wait=25")
    told = web.post(Prefer="wait=25").json()
    assert [job["id"] for job in client.jobs(command="tell")] == [told["id"]]
    assert [job["id"] for job in client.jobs(name="tell", source="http")] == [told["id"]]
    assert list(client.jobs(source="cli")) == []
    found, url = [], "/v1/jobs?state=failed&state=lost&limit=2"
    while url:
        page = web.ask("GET", url)
        found.append([job["exit_code"] for job in page.json()])
        url = page.links.get("next", {}).get("url", "")
    assert found == [[5, 4], [3]]


def test_list_by_time(web: Web, client: Client) -> None:
    """since is included, until is not; a time without a zone is refused."""
    at = web.post(Prefer="wait=25").json()["created_at"]
    ask = [("GET", f"/v1/jobs?{word}={at}") for word in ("since", "until")]
    since, until = ([job["id"] for job in web.ask(*each).json()] for each in ask)
    assert len(since) + len(until) == 1  # the document's time is rounded
    assert web.ask("GET", "/v1/jobs?since=2999-01-01T00:00:00Z").json() == []
    assert len(web.ask("GET", "/v1/jobs?until=2999-01-01T00:00:00%2B02:00").json()) == 1
    assert web.ask("GET", "/v1/jobs?since=2999-01-01T00:00:00").status_code == 422


def test_result_comes_at_the_end(web: Web, client: Client, gate: Gate) -> None:
    """Until then 409 with Retry-After; of a job that failed 409; then any JSON value."""
    job_id = web.post(hold(gate)).json()["id"]
    inside = gate.arrival()
    answer = web.ask("GET", f"/v1/jobs/{job_id}/result")
    assert (answer.status_code, answer.json()["code"]) == (409, "unfinished")
    assert answer.headers["Retry-After"] == "1"
    with pytest.raises(Unfinished, match="it is running"):
        client.result(job_id)
    inside.do("answer = [None, 'ä', 1.5]")
    inside.leave()
    client.wait(job_id, DEADLINE_S)
    assert client.result(job_id) == [None, "ä", 1.5]


def test_result_of_a_failed_job(client: Client) -> None:
    """There is none, and the error says how it ended."""
    job = client.submit("puppet", "leave", {"code": 3}, wait_s=DEADLINE_S)
    with pytest.raises(JobFailed, match=r"failed \(exit_nonzero\)"):
        client.result(job["id"])


def test_result_that_is_no_json(web: Web, client: Client, gate: Gate) -> None:
    """A value that could not be kept is not shown as if it had been returned."""
    job_id = web.post(hold(gate)).json()["id"]
    inside = gate.arrival()
    inside.do("answer = {1, 2}")
    inside.leave()
    client.wait(job_id, DEADLINE_S)
    with pytest.raises(JobFailed, match="what it returned is not JSON"):
        client.result(job_id)


def test_only_ids_name_jobs(web: Web) -> None:
    """An id in capitals, or longer than one, is no job's: 404, as for one that nobody has."""
    job_id = web.post(Prefer="wait=25").json()["id"]
    assert web.ask("GET", f"/v1/jobs/{job_id[:13]}").status_code == 200
    for name in (job_id.upper(), job_id + "0", "%2e%2e", "a%2fb", "%00", new_id()):
        answer = web.ask("GET", f"/v1/jobs/{name}/result")
        assert (answer.status_code, answer.json()["status"]) == (404, 404), name


# Removing ---------------------------------------------------------------------------------


def test_delete_leaves_nothing(web: Web, client: Client) -> None:
    """An ended job goes with its files; what a link in there points at stays."""
    job = client.submit("puppet", "tell", wait_s=DEADLINE_S)
    folder = Path(web.daemon.home.job(job["id"]))
    precious = Path(web.daemon.cwd) / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (folder / "link").symlink_to(precious)
    client.delete(job["id"])
    assert not folder.exists()
    assert (precious / "file").exists()
    with pytest.raises(UnknownJob):
        client.delete(job["id"])


def test_delete_of_a_live_job_is_refused(web: Web, client: Client, gate: Gate) -> None:
    """409; it runs on, with its files."""
    job_id = web.post(hold(gate)).json()["id"]
    gate.arrival()
    with pytest.raises(InvalidTransition, match="only an ended job can be removed"):
        client.delete(job_id)
    assert client.job(job_id)["state"] == "running"
    assert Path(web.daemon.home.job(job_id)).exists()


# Readiness --------------------------------------------------------------------------------


def test_ready_while_all_workers_are_busy(idle: Web, gate: Gate) -> None:
    """The canary has a slot of its own; it leaves nothing behind, and the proof is kept."""
    idle.start("--workers", "1")
    for _ in range(2):
        idle.post(hold(gate))
    gate.arrival()
    first, again = idle.ask("GET", "/readyz"), idle.ask("GET", "/readyz")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["seconds_ago"] > first.json()["seconds_ago"]
    assert [job["state"] for job in idle.daemon.jobs()] == ["queued", "running"]
    assert len(os.listdir(idle.daemon.home.jobs)) == 1
    assert gate.quiet()


def test_not_ready_says_what_fails(idle: Web) -> None:
    """A daemon whose workers can start nothing lives, and is not ready."""
    idle.start(PATH="/nonexistent")
    assert idle.ask("GET", "/healthz").status_code == 200
    answer = idle.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "a worker could not run a job: failed" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "1"


def test_metrics_count_what_happened(idle: Web) -> None:
    """Jobs by state, times, workers, commits, bytes, and requests by route; no canary."""
    web = idle.start()
    job = web.post(Prefer="wait=25").json()
    web.ask("GET", "/readyz")
    web.ask("GET", f"/v1/jobs/{job['id']}")
    web.ask("GET", "/nowhere/at/all")
    answer = web.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = dict(
        line.rpartition(" ")[::2] for line in answer.text.splitlines() if not line.startswith("#")
    )
    assert found['mcli_jobs_finished_total{state="succeeded"}'] == "1.0"
    assert found['mcli_jobs_finished_total{state="lost"}'] == "0.0"
    assert found['mcli_jobs{state="running"}'] == "0.0"
    assert found["mcli_job_run_seconds_count"] == found["mcli_job_wait_seconds_count"] == "1.0"
    assert float(found["mcli_workers"]) >= 2
    assert float(found["mcli_store_commits_total"]) > 0
    assert float(found["mcli_log_bytes_total"]) > 0
    requests_to = 'mcli_http_requests_total{method="%s",route="%s",status="%d"}'
    assert found[requests_to % ("POST", "/v1/jobs", 200)] == "1.0"
    assert found[requests_to % ("GET", "/v1/jobs/{job_id}", 200)] == "1.0"
    assert found[requests_to % ("GET", "none", 404)] == "1.0"


# The client, and connections that break ---------------------------------------------------


class Deaf:
    """A relay before the daemon that passes requests on, and loses the first answers."""

    def __init__(self, url: str, losses: int) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._there = (host, int(port))
        self._losses = losses
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                with self._listening.accept()[0] as caller:
                    self._pass_on(caller)

    def _pass_on(self, caller: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += caller.recv(1 << 16)
        sent, _, body = head.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in sent.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"Content-Length", b"0")):
            body += caller.recv(1 << 16)
        self.requests.append(sent.partition(b"\r\n")[0])
        ours = f"{self._there[0]}:{self._there[1]}".encode()
        sent = sent.replace(fields[b"Host"], ours).replace(b"keep-alive", b"close")
        with socket.create_connection(self._there) as there:
            there.sendall(sent + b"\r\n\r\n" + body)
            answer = b"".join(iter(lambda: there.recv(1 << 16), b""))
        if len(self.requests) > self._losses:
            caller.sendall(answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


def test_submission_whose_answer_is_lost_runs_once(web: Web, client: Client) -> None:
    """The client asks again under the same id, and gets the job that it has made before."""
    with (
        closing(Deaf(client.url, losses=1)) as relay,
        Client(relay.url, client._address.token) as far,
    ):
        job = far.submit("puppet", "tell", {"number": 9})
    assert len(set(relay.requests)) == 1
    assert len(relay.requests) == 2
    assert client.wait(job["id"], DEADLINE_S)["result"] == {"number": 9, "words": []}
    assert len(web.daemon.starts()) == 1


def test_submission_whose_answers_are_lost_is_in_doubt(web: Web, client: Client) -> None:
    """After the second loss the client says so, with the id to look for; it ran once."""
    with (
        closing(Deaf(client.url, losses=2)) as relay,
        Client(relay.url, client._address.token) as far,
        pytest.raises(OutcomeUnknown, match="it may have taken job") as lost,
    ):
        far.submit("puppet", "tell")
    (job,) = web.daemon.jobs()
    assert job["id"] in str(lost.value)
    client.wait(job["id"], DEADLINE_S)
    assert len(web.daemon.starts()) == 1


def test_follow_goes_on_with_the_next_daemon(idle: Web, gate: Gate) -> None:
    """kill -9 of the daemon and a new one on another port: no record is missing or repeated."""
    web = idle.start()
    with web.daemon.client() as client:
        job_id = client.submit(**hold(gate))["id"]
        inside = gate.arrival()
        inside.do("print('one')")
        records = client.follow(job_id)
        assert next(records).data == b"one\n"
        web.daemon.kill9()
        inside.do("print('two')")
        web.start()
        assert next(records).data == b"two\n"
        inside.do("print('three', file=sys.stderr)")
        inside.leave()
        assert [record.data for record in records] == [b"three\n"]


def test_client_submits_waits_and_keeps_keys(client: Client) -> None:
    """submit waits if it is told to; its errors are those of the daemon, with their entries."""
    job = client.submit("puppet", "tell", {"words": ["a"]}, wait_s=DEADLINE_S, key="k")
    assert (job["state"], job["result"]) == ("succeeded", {"number": 1, "words": ["a"]})
    assert client.submit("puppet", "tell", {"words": ["a"]}, key="k")["id"] == job["id"]
    with pytest.raises(KeyReused):
        client.submit("puppet", "tell", key="k")
    with pytest.raises(UnknownCommand):
        client.submit("puppet", "nothing")
    with pytest.raises(BadParameters) as wrong:
        client.submit("puppet", "tell", {"depth": 1})
    assert wrong.value.errors == [{"parameter": "depth", "message": UNKNOWN}]


def test_client_waits_no_longer_than_it_is_told(web: Web, client: Client, gate: Gate) -> None:
    """A job that goes on is shown as it is; a signal ends it, and wait sees that."""
    job = client.submit(**hold(gate), wait_s=0)
    gate.arrival()
    assert client.wait(job["id"], 0)["state"] == "running"
    client.kill(job["id"])
    assert client.wait(job["id"])["signal"] == signal.SIGKILL
