"""Endpoints of a real app in a real daemon, as one would ask them from anywhere."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests

from .daemon import DEADLINE_S, PROGRAMS, Daemon

JSON = {"Content-Type": "application/json"}
FORM = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc\r\n'
"""A form of one file, without its end."""


class Kiosk:
    """A daemon with the kiosk as its app."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        told = json.loads(Path(daemon.home.address).read_text())
        self.url = f"http://127.0.0.1:{told['url'].rpartition(':')[2]}"
        self.token = {"Authorization": f"Bearer {Path(daemon.home.token).read_text().strip()}"}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = self.token | options.pop("headers", {})
        return requests.request(
            method, self.url + path, headers=headers, timeout=DEADLINE_S, **options
        )

    def post(self, path: str, body: object = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, json=body, headers=named)

    def files(self) -> set[str]:
        """Folders of jobs that hold uploaded files."""
        jobs = Path(self.daemon.home.jobs)
        return {folder.parent.name for folder in jobs.glob("*/files")}


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    daemon = Daemon(tmp_path_factory.mktemp("kiosk"), MCLI_BACKGROUND_TOKEN="x" * 40)
    try:
        daemon.start("--app", str(PROGRAMS / "kiosk.py"))
        yield Kiosk(daemon)
    finally:
        daemon.close()


# Answers ----------------------------------------------------------------------------------


def test_call_answers_with_what_the_command_returns(kiosk: Kiosk) -> None:
    """200, the return value as JSON, and the id of the job that the call was."""
    answer = kiosk.post("/greet", {"name": "Ann", "count": 2})
    assert (answer.status_code, answer.json()) == (200, {"name": "Ann", "count": 2})
    job = kiosk.daemon.job(answer.headers["Mcli-Job-Id"])
    assert (job["source"], job["command"], job["state"]) == ("http", "greet", "succeeded")
    assert kiosk.daemon.output(job["id"]) == "hello hello Ann\n"


def test_nothing_in_the_body_is_an_empty_object(kiosk: Kiosk) -> None:
    """A command whose parameters are all optional needs no body; None is null."""
    assert kiosk.post("/end").json() is None
    assert kiosk.ask("POST", "/end", headers=JSON).status_code == 200


def test_path_and_query(kiosk: Kiosk) -> None:
    """GET and DELETE take the rest from the query; what may be repeated is repeated."""
    for method in ("GET", "DELETE"):
        told = kiosk.ask(method, "/items/7?tag=a&tag=%C3%A4+b").json()
        assert (told["id"], told["tags"]) == (7, ["a", "ä b"])
    assert kiosk.ask("GET", "/hello/J%C3%BCrgen?count=2").json() == {"name": "Jürgen", "count": 2}


def test_path_must_be_utf8(kiosk: Kiosk) -> None:
    """A path that is not UTF-8 is refused, as a query is; U+FFFD itself is a value like others."""
    answer = kiosk.ask("GET", "/hello/%ff")
    assert (answer.status_code, answer.json()["code"]) == (422, "request")
    assert kiosk.ask("GET", "/hello/%EF%BF%BD").json()["name"] == "\ufffd"


def test_word_comes_before_placeholder(kiosk: Kiosk) -> None:
    """/items/count is not the item called count, in whatever order they were declared."""
    assert kiosk.ask("GET", "/items/count").json() == 0


def test_head_runs_nothing(kiosk: Kiosk) -> None:
    """HEAD is not allowed where GET runs a command."""
    before = kiosk.daemon.mcli("ps", "--json").stdout
    answer = kiosk.ask("HEAD", "/items/7")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")
    assert kiosk.daemon.mcli("ps", "--json").stdout == before


def test_wrong_method_names_all_that_are_right(kiosk: Kiosk) -> None:
    """405 with the methods of every endpoint at that path."""
    answer = kiosk.ask("PUT", "/items/7")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")


@pytest.mark.parametrize("path", ["/nowhere", "/healthz/", "/v1/jobs/", "/greet/", "/v1/nowhere"])
def test_unknown_path_is_a_problem(kiosk: Kiosk, path: str) -> None:
    """404 as a problem document that tells where to look; nobody is sent elsewhere."""
    answer = kiosk.ask("GET", path, allow_redirects=False)
    told = answer.json()
    assert (answer.status_code, told["code"], told["instance"]) == (404, "no_such_path", path)
    assert "/openapi.json" in told["detail"]


def test_wrong_method_of_the_daemons_own_path(kiosk: Kiosk) -> None:
    """405 with the methods of every route at that path, in the header and in words."""
    answer = kiosk.ask("PATCH", "/v1/jobs")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert answer.json()["detail"] == "PATCH cannot be asked for here; use GET, POST"
    one = kiosk.ask("PATCH", "/v1/jobs/x")
    assert one.headers["Allow"] == "DELETE, GET, PUT"


# In the background ------------------------------------------------------------------------


def test_background_answers_with_the_job(kiosk: Kiosk) -> None:
    """202, where the job is and when to ask, and its document."""
    answer = kiosk.post("/end-slowly", {})
    assert answer.status_code == 202
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == (
        f"/v1/jobs/{answer.json()['id']}",
        "1",
    )
    assert kiosk.daemon.final(answer.json()["id"])["timeout_s"] == 60


def test_prefer_wait(kiosk: Kiosk) -> None:
    """With Prefer: wait the answer is the final document, with the result, if it is in time."""
    answer = kiosk.post("/end-slowly", {"how": "exit"}, Prefer="wait=30")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=30")
    assert (answer.json()["state"], answer.json()["exit_code"]) == ("failed", 3)


def test_background_timeout_ends_the_job(kiosk: Kiosk) -> None:
    """A job that runs for longer than its endpoint allows has failed, and says why."""
    job = kiosk.post("/end-late", {"how": "late"}, Prefer="wait=30").json()
    told = (job["state"], job["reason"], job["exit_code"], job["timeout_s"])
    assert told == ("failed", "timeout", 124, 2)


def test_wait_that_is_too_short(kiosk: Kiosk) -> None:
    """Time is up: 202 with the job as it is."""
    answer = kiosk.post("/end-slowly", {"how": "late"}, Prefer="wait=0")
    assert answer.status_code == 202
    kiosk.ask("POST", f"{answer.headers['Location']}/kill")


# What goes wrong in the command -----------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status", "code", "detail"),
    [
        ("usage", 422, "bad_parameters", "Invalid value for '--how': not that way"),
        ("click", 500, "job_failed", "the command failed with exit code 1: no more paper"),
        ("raise", 500, "job_failed", "the command failed with exit code 1: RuntimeError: boom"),
        ("exit", 500, "job_failed", "the command failed with exit code 3"),
        ("signal", 500, "job_failed", "the command was ended by signal 9"),
        ("late", 504, "job_timed_out", "the command ran for longer than its 2 s"),
        ("object", 500, "no_result", "the command has run, but what it returned is not JSON"),
    ],
)
def test_failure_is_a_problem(kiosk: Kiosk, how: str, status: int, code: str, detail: str) -> None:
    """Each bad end has its status and one line; never a traceback."""
    answer = kiosk.post("/end", {"how": how})
    told = answer.json()
    assert (answer.status_code, told["code"], told["detail"]) == (status, code, detail)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert told["job"] == answer.headers["Mcli-Job-Id"]
    assert "Traceback" not in answer.text


def test_usage_error_of_the_body_names_its_parameter(kiosk: Kiosk) -> None:
    """What Click says in the command's body has its entry too."""
    told = kiosk.post("/end", {"how": "usage"}).json()
    assert [error["parameter"] for error in told["errors"]] == ["how"]


def test_public_endpoint_tells_no_errors_of_the_program(kiosk: Kiosk) -> None:
    """Strangers are told what Click tells users, and not what an exception says."""
    answer = requests.post(f"{kiosk.url}/end-openly", json={"how": "raise"}, timeout=DEADLINE_S)
    assert answer.json()["detail"] == "the command failed with exit code 1"
    answer = requests.post(f"{kiosk.url}/end-openly", json={"how": "click"}, timeout=DEADLINE_S)
    assert answer.json()["detail"].endswith("no more paper")


# What goes wrong before -------------------------------------------------------------------


def test_each_wrong_parameter_has_an_entry(kiosk: Kiosk) -> None:
    """422 in Click's own words: wrong, unknown and missing ones at once; no job is made."""
    before = len(kiosk.daemon.jobs())
    answer = kiosk.post("/greet", {"count": 9, "size": 1})
    errors = {error["parameter"]: error["message"] for error in answer.json()["errors"]}
    assert answer.status_code == 422
    assert errors == {
        "count": "Invalid value for '--count': 9 is not in the range 1<=x<=5.",
        "size": "greet has no parameter 'size'; it has: name, count",
        "name": "Missing option '--name'.",
    }
    assert len(kiosk.daemon.jobs()) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "media_type", "status"),
    [
        ("POST", "/greet", b'{"name": "a"}', "text/plain", 415),
        ("POST", "/greet", b"name=a", "application/x-www-form-urlencoded", 415),
        ("POST", "/greet", b'{"name": "a"}', None, 415),
        ("POST", "/greet", b"--x--", "multipart/form-data; boundary=x", 415),
        ("POST", "/greet", b'{"name": ', "application/json", 422),
        ("POST", "/greet?name=a", b"", None, 422),
        ("DELETE", "/items/7", b"{}", "application/json", 415),
        ("GET", "/items/7?number=8", b"", None, 422),
        ("GET", "/items/7?tag=%ff", b"", None, 422),
        ("GET", "/items/seven", b"", None, 422),
        ("POST", "/sums", b"--nonsense", "multipart/form-data; boundary=x", 422),
        ("POST", "/sums", b"nothing", "multipart/form-data", 422),
        ("POST", "/sums", FORM + b"--x\r\n", "multipart/form-data; boundary=x", 400),
        ("POST", "/sums", FORM + FORM[:-1], "multipart/form-data; boundary=x", 400),
    ],
)
def test_bad_request_is_a_problem(
    kiosk: Kiosk, method: str, path: str, body: bytes, media_type: str | None, status: int
) -> None:
    """What cannot be read, or stands in the wrong place, is refused."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = kiosk.ask(method, path, data=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_value_never_becomes_an_option(kiosk: Kiosk) -> None:
    """Words that look like options are values, in every place."""
    assert kiosk.post("/greet", {"name": "--count=5"}).json() == {"name": "--count=5", "count": 1}
    assert kiosk.ask("GET", "/hello/--help").json()["name"] == "--help"


# Who may ----------------------------------------------------------------------------------


def test_only_public_endpoints_are_open(kiosk: Kiosk) -> None:
    """public=True opens that endpoint, and no other of the same path."""
    assert requests.get(f"{kiosk.url}/items/7", timeout=DEADLINE_S).status_code == 200
    assert requests.delete(f"{kiosk.url}/items/7", timeout=DEADLINE_S).status_code == 401
    assert requests.post(f"{kiosk.url}/greet", json={}, timeout=DEADLINE_S).status_code == 401


def test_jobs_do_not_get_the_token(kiosk: Kiosk) -> None:
    """A token in the daemon's own environment is not in that of its jobs."""
    assert kiosk.ask("GET", "/items/7").json()["token"] == []


# Files ------------------------------------------------------------------------------------


def test_upload(kiosk: Kiosk) -> None:
    """Files come as files of the job, readable by nobody else, under names of our own."""
    body = os.urandom(300_000)
    files = [("files", ("../../evil.csv", body)), ("files", ("x.t\nxt", b"two"))]
    answer = kiosk.ask("PUT", "/sums-now", files=files, data={"label": "both"})
    digests = {".csv": hashlib.sha256(body).hexdigest(), "": hashlib.sha256(b"two").hexdigest()}
    assert answer.json() == {"label": "both", "sums": digests, "mode": 0o600}
    assert answer.headers["Mcli-Job-Id"] in kiosk.files()


def test_path_of_a_file_on_the_daemons_machine(kiosk: Kiosk, tmp_path: Path) -> None:
    """In JSON, a file is named by its path."""
    (tmp_path / "a.txt").write_bytes(b"a")
    answer = kiosk.ask("PUT", "/sums-now", json={"files": [str(tmp_path / "a.txt")]})
    assert answer.json()["sums"] == {".txt": hashlib.sha256(b"a").hexdigest()}


@pytest.mark.parametrize("extra", [{"size": "1"}, {"label": ["a", "b"]}])
def test_files_of_a_refused_request_are_removed(kiosk: Kiosk, extra: dict[str, Any]) -> None:
    """Nothing stays of the files of a request that became no job."""
    before = set(os.listdir(kiosk.daemon.home.jobs))
    answer = kiosk.ask("POST", "/sums", files={"files": b"a"}, data=extra)
    assert answer.status_code == 422
    assert set(os.listdir(kiosk.daemon.home.jobs)) == before


def test_form_that_is_closed_is_whole(kiosk: Kiosk) -> None:
    """What follows a form's last boundary, if only a line's end is missing, does not matter."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for end in (b"--x--", b"--x--\r\n"):
        answer = kiosk.ask("PUT", "/sums-now", data=FORM + end, headers=headers)
        assert answer.json()["sums"] == {"": hashlib.sha256(b"abc").hexdigest()}


def test_file_where_a_value_belongs(kiosk: Kiosk) -> None:
    """A file for a parameter that is none is refused."""
    answer = kiosk.ask("POST", "/sums", files={"files": b"a", "label": b"b"})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "label")


# Sent again -------------------------------------------------------------------------------


def test_idempotency_key(kiosk: Kiosk) -> None:
    """The same request with the same key is answered by the same job; another is refused."""
    key = {"Idempotency-Key": "greeting-1"}
    first, again = (
        kiosk.ask("POST", "/greet", json={"name": "Ann"}, headers=key) for _ in range(2)
    )
    assert first.json() == again.json()
    assert first.headers["Mcli-Job-Id"] == again.headers["Mcli-Job-Id"]
    assert ("Idempotent-Replayed" in first.headers, "Idempotent-Replayed" in again.headers) == (
        False,
        True,
    )
    other = kiosk.ask("POST", "/greet", json={"name": "Bob"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_idempotency_key_of_an_upload(kiosk: Kiosk) -> None:
    """The same file is the same request, another is not; the copy is not kept."""
    key = {"Idempotency-Key": "upload-1"}
    answers = [
        kiosk.ask("PUT", "/sums-now", files={"files": content}, headers=key)
        for content in (b"one", b"one", b"two")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    first, again, _ = answers
    assert first.headers["Mcli-Job-Id"] == again.headers["Mcli-Job-Id"]
    folder = Path(kiosk.daemon.home.job(first.headers["Mcli-Job-Id"]), "files")
    assert len(list(folder.iterdir())) == 1


# Described --------------------------------------------------------------------------------


def test_openapi(kiosk: Kiosk) -> None:
    """Every endpoint is described once, by where its parameters stand and what they are."""
    document = kiosk.ask("GET", "/openapi.json").json()
    assert document["info"]["title"] == "mcli"
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(names) == len(set(names))
    post = document["paths"]["/greet"]["post"]
    assert (post["description"], post["tags"]) == ("Says hello.", ["people"])
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert (body["required"], body["additionalProperties"]) == (["name"], False)
    assert body["properties"]["name"] == {"type": "string", "description": "Whom."}
    get = document["paths"]["/hello/{name}"]["get"]
    places = [(each["name"], each["in"], each["required"]) for each in get["parameters"]]
    assert places == [("name", "path", True), ("count", "query", False)]


def test_openapi_of_uploads_and_open_endpoints(kiosk: Kiosk) -> None:
    """Files are binary in a form and paths in JSON; a public endpoint asks for no token."""
    paths = kiosk.ask("GET", "/openapi.json").json()["paths"]
    content = paths["/sums"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    field = content["multipart/form-data"]["schema"]["properties"]["files"]
    assert field["items"] == {"type": "string", "format": "binary"}
    assert paths["/items/{number}"]["get"]["security"] == []
    assert "401" not in paths["/items/{number}"]["get"]["responses"]
    assert paths["/items/{number}"]["delete"]["security"] == [{"bearer": []}]


def test_openapi_of_submissions_and_jobs(kiosk: Kiosk) -> None:
    """A submission shows what its headers may be; each answer with a job has the schema of the
    whole document, to which real ones keep.
    """
    paths = kiosk.ask("GET", "/openapi.json").json()["paths"]
    put, post = (
        paths[path][how] for path, how in (("/v1/jobs/{job_id}", "put"), ("/v1/jobs", "post"))
    )
    for submission in (put, post, paths["/v1/jobs/{job_id}/rerun"]["post"]):
        places = {each["name"]: each["in"] for each in submission["parameters"]}
        assert (places["Idempotency-Key"], places["Prefer"]) == ("header", "header")
    told = [
        (paths["/end-slowly"]["post"], "202"),
        (paths["/end-slowly"]["post"], "200"),
        (post, "202"),
        (put, "200"),
        (paths["/v1/jobs/{job_id}"]["get"], "200"),
        (paths["/v1/jobs/{job_id}/wait"]["get"], "200"),
        (paths["/v1/jobs/{job_id}/cancel"]["post"], "202"),
    ]
    schemas = [
        each["responses"][code]["content"]["application/json"]["schema"] for each, code in told
    ]
    assert all(schema == schemas[0] for schema in schemas)
    job = kiosk.post("/end-slowly", {"how": "exit"}, Prefer="wait=30").json()
    assert list(job) == list(schemas[0]["properties"]) == schemas[0]["required"]
    jsonschema_rs.validate(schemas[0], job)
    jobs = paths["/v1/jobs"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema_rs.validate(jobs, kiosk.ask("GET", "/v1/jobs").json())
    for wrong in ({"state": "done"}, {"exit_code": "3"}, {"created_at": None}):
        assert not jsonschema_rs.is_valid(schemas[0], job | wrong)


def test_openapi_needs_the_token(kiosk: Kiosk) -> None:
    """What there is to call is told to those who may call it."""
    assert requests.get(f"{kiosk.url}/openapi.json", timeout=DEADLINE_S).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/docs", "/docs/docs.js", "/docs/docs.css", "/docs/swagger-ui.css",
     "/docs/swagger-ui-bundle.js"],
)  # fmt: skip
def test_page_and_its_files_are_open_and_from_here(kiosk: Kiosk, path: str) -> None:
    """The page needs no token, and names nothing on another machine."""
    answer = requests.get(kiosk.url + path, timeout=DEADLINE_S)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    if "swagger" not in path:
        assert "http" not in answer.text.replace('"http', "")
