"""The commands of examples/api.py as endpoints of a daemon, one after the other."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from .daemon import DEADLINE_S, PROJECT, Daemon

EXAMPLE = PROJECT / "examples" / "api.py"
DATA = PROJECT / "examples" / "data"
WAIT = {"Prefer": "wait=30"}

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the example."""
    daemon = Daemon(tmp_path_factory.mktemp("api"))
    yield daemon.start("--app", str(EXAMPLE))
    daemon.close()


@pytest.fixture
def ask(serving: Daemon) -> Ask:
    token = Path(serving.home.token).read_text().strip()
    with serving.client() as client:
        url = client.url

    def ask(method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        return requests.request(method, url + path, headers=headers, timeout=DEADLINE_S, **options)

    return ask


def done(answer: requests.Response) -> dict[str, Any]:
    """The document of a job that has been waited for, and has succeeded."""
    job: dict[str, Any] = answer.json()
    assert (answer.status_code, job["state"]) == (200, "succeeded"), job
    return job


def test_process_file(ask: Ask, tmp_path: Path) -> None:
    """A large file is processed in the background: accepted at once, and found when it is done."""
    content = b"one line\n" * 150_000
    (tmp_path / "large").write_bytes(content)
    answer = ask("POST", "/process-file", json={"input": str(tmp_path / "large")})
    assert answer.status_code == 202
    job = done(ask("GET", f"{answer.headers['Location']}/wait"))
    digest = hashlib.sha256(content).hexdigest()
    assert job["result"] == {"bytes": len(content), "lines": 150_000, "sha256": digest}
    assert job["timeout_s"] == 3600
    printed = ask("GET", f"{answer.headers['Location']}/output?stream=stdout").text
    assert printed == f"{tmp_path}/large: 150,000 lines, sha256 {digest}\n"


def test_process_file_that_is_not_there(ask: Ask, tmp_path: Path) -> None:
    """A path that does not exist is refused in Click's own words, before there is a job."""
    answer = ask("POST", "/process-file", json={"input": str(tmp_path / "nothing")})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["parameter"] == "input"
    assert "does not exist" in error["message"]


def test_long_task_is_followed(ask: Ask) -> None:
    """The lines of a long task come while it runs, as events, and then its end."""
    answer = ask("POST", "/long-task", json={"minutes": 0.001, "step": 0.02})
    events = ask(
        "GET",
        f"{answer.headers['Location']}/output",
        headers={"Accept": "text/event-stream"},
        stream=True,
    )
    text = events.text
    assert text.count("event: output") >= 1
    assert "event: end" in text
    printed = ask("GET", f"{answer.headers['Location']}/output").text
    assert printed.splitlines()[-1] == "step 3 of 3: 100%"


def test_long_task_is_cancelled(ask: Ask, serving: Daemon) -> None:
    """Ten minutes need not be waited for."""
    place = ask("POST", "/long-task").headers["Location"]
    assert ask("POST", f"{place}/cancel").status_code == 202
    assert serving.final(place.rpartition("/")[2])["state"] == "cancelled"


def test_bulk_insert_of_an_upload(ask: Ask, tmp_path: Path) -> None:
    """Records are uploaded as a file, and are in the database when the job is done."""
    database = tmp_path / "records.db"
    with (DATA / "events.jsonl").open("rb") as file:
        answer = ask(
            "POST",
            "/db/bulk-insert",
            files={"source": file},
            data={"database": str(database), "batch": "40"},
            headers=WAIT,
        )
    assert done(answer)["result"] == {"inserted": 100}
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (100,)


def test_train(ask: Ask, tmp_path: Path) -> None:
    """A line is found in points of a line."""
    rows = "".join(f"{x},{3 * x - 2}\n" for x in range(10))
    (tmp_path / "line.csv").write_text("x,y\n" + rows)
    asked = {"data": str(tmp_path / "line.csv"), "feature": "x", "target": "y", "epochs": 200}
    result = done(ask("POST", "/ml/train", json=asked, headers=WAIT))["result"]
    assert result["slope"] == pytest.approx(3)
    assert result["intercept"] == pytest.approx(-2)


def test_status_and_health(ask: Ask, serving: Daemon) -> None:
    """They answer at once, with what status_check() and health_check() return."""
    status = ask("GET", "/status").json()
    assert (status["running"], status["pid"], status["home"]) == (
        True,
        serving.pid,
        serving.home.root,
    )
    health = ask("GET", "/health").json()
    assert health["healthy"]
    assert set(health["checks"]) == {"home", "daemon", "version"}


def test_each_is_described(ask: Ask) -> None:
    """The schema has every endpoint under its tag."""
    paths = ask("GET", "/openapi.json").json()["paths"]
    tags = {path: next(iter(paths[path].values())).get("tags") for path in paths}
    assert {path: tags[path] for path in ("/process-file", "/db/bulk-insert", "/ml/train")} == {
        "/process-file": ["files"],
        "/db/bulk-insert": ["db"],
        "/ml/train": ["ml"],
    }
    assert {"/long-task", "/status", "/health"} < set(tags)
