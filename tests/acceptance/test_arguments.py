"""
Arguments that no command line could carry: larger than the kernel lets a program be executed
with, or with characters that none can have. They come over HTTP, or from within a program.
"""

import errno
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mcli.ids import new_id

from .daemon import DEADLINE_S, Daemon

WEIGH = """
import hashlib, os, sys

import click, mcli


@click.command()
@click.option("--label", default="")
@click.argument("words", nargs=-1)
@mcli.api("/weigh", "POST")
@mcli.api("/weigh/{label}", "GET")
@mcli.background
def weigh(label, words):
    word = "".join(words)
    digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()
    return [len(words), len(word), digest, label]


if __name__ == "__main__":
    sys.argv[1:] = ["x" * int(os.environ["SIZE"])]
    weigh()
"""
"""A program whose arguments come from elsewhere; executed, it makes one itself."""

SUBMIT = """
import json, os, weigher

job = weigher.weigh.submit(words=eval(os.environ["WORDS"]))
print(json.dumps(job.result(60)))
"""
"""A program that calls a command of that one."""

SIZE = 2_000_000
"""Bytes. The kernel takes 128 KiB for one argument."""

LARGE = "x" * SIZE

BAD = {"nul": r"a\u0000b", "high": r"\ud800", "low": r"\udcff", "swapped": r"\udc00\ud800"}
"""In JSON: what no argument can have, and halves of a character without the other half."""


def weight(*words: str) -> list[Any]:
    """What the command returns of these words."""
    word = "".join(words)
    raw = word.encode("utf-8", "surrogatepass")
    return [len(words), len(word), hashlib.sha256(raw).hexdigest(), ""]


class Scales:
    """A daemon with that program as its app."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "weigher.py"
        self.program.write_text(WEIGH)
        self.daemon = Daemon(folder)
        self.daemon.env["PYTHONPATH"] += f":{folder}"

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> requests.Response:
        """Send that text as JSON."""
        with self.daemon.client() as client:
            told = {"Authorization": f"Bearer {client._address.token}"}
        if body:
            told["Content-Type"] = "application/json"
        url = f"{client.url}{path}"
        return requests.request(
            method, url, data=body.encode(), headers=told | headers, timeout=DEADLINE_S
        )

    def submit(self, words: str) -> Any:
        """What a program gets that submits these words, which it is told as an expression."""
        done = self.daemon.run(sys.executable, "-c", SUBMIT, env={"WORDS": words})
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def all_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scales]:
    """Running, for all tests."""
    scales = Scales(tmp_path_factory.mktemp("scales"))
    try:
        scales.daemon.start("--app", str(scales.program))
        yield scales
    finally:
        scales.daemon.close()


@pytest.fixture
def scales(all_day: Scales) -> Iterator[Scales]:
    """Running, and without any job."""
    yield all_day
    all_day.daemon.clear()


# A1: large --------------------------------------------------------------------------------


def test_kernel_takes_no_such_argument() -> None:
    """
    A1: by ``execve`` it could not go: else the tests below would show nothing.
    """
    with pytest.raises(OSError, match="Argument list too long") as refused:
        subprocess.run(["true", LARGE], check=False)
    assert refused.value.errno == errno.E2BIG


def test_large_argument_over_http(scales: Scales) -> None:
    """
    A1: a job that was submitted with an argument of 2 MB gets all of it.
    """
    body = {"app": "weigher", "command": "weigh", "params": {"words": [LARGE, "y"]}}
    answer = scales.ask("POST", "/v1/jobs", json.dumps(body))
    assert answer.status_code == 202
    job = scales.daemon.final(answer.json()["id"])
    assert (job["state"], job["result"]) == ("succeeded", weight(LARGE, "y"))


def test_large_argument_of_an_endpoint(scales: Scales) -> None:
    """
    A1: the same of a command that has an endpoint.
    """
    answer = scales.ask("POST", "/weigh", json.dumps({"words": [LARGE]}))
    assert (answer.status_code, answer.json()) == (200, weight(LARGE))


def test_argument_that_is_too_large(scales: Scales) -> None:
    """
    A1: beyond what a request may have it is refused in one line, and there is no job.
    """
    answer = scales.ask("POST", "/weigh", json.dumps({"words": [LARGE] * 5}))
    assert answer.status_code == 413
    assert len(answer.json()["detail"].splitlines()) == 1
    assert scales.daemon.jobs() == []


def test_large_argument_that_a_program_makes(scales: Scales) -> None:
    """
    A1: a program puts 2 MB into its ``sys.argv``: the job has them, though nobody typed them.
    """
    done = scales.daemon.run(sys.executable, str(scales.program), env={"SIZE": str(SIZE)})
    assert (done.stdout, done.stderr) == ("", "")
    (job,) = scales.daemon.jobs()
    assert (job["route"], job["state"], job["result"]) == ("daemon", "succeeded", weight(LARGE))


def test_large_argument_of_submit(scales: Scales) -> None:
    """
    A1: the same of a command that a program submits.
    """
    assert scales.submit(f"['x' * {SIZE}, 'y']") == weight(LARGE, "y")


# A2: characters that no argument can have -------------------------------------------------

SUBMISSIONS = [
    '{"app": "weigher", "command": "weigh", "params": {"words": ["ok", "BAD"]}}',
    '{"app": "weigher", "command": "weigh", "params": {"label": "BAD"}}',
    '{"app": "weigher", "command": "weigh", "params": {"BAD": "ok"}}',
    '{"app": "weigher", "command": "BAD"}',
    '{"app": "BAD", "command": "weigh"}',
    '{"app": "weigher", "command": "weigh", "BAD": "ok"}',
    '{"app": "weigher", "command": "weigh", "env": {"NAME": "BAD"}}',
    '{"app": "weigher", "command": "weigh", "env": {"BAD": "ok"}}',
    '{"app": "weigher", "command": "weigh", "cwd": "/BAD"}',
]
CALLS = ['{"words": ["ok", "BAD"]}', '{"label": "BAD"}', '{"BAD": "ok"}']
BODIES = [("/v1/jobs", body) for body in SUBMISSIONS] + [("/weigh", body) for body in CALLS]
PATHS = ["/weigh/BAD", "/weigh/ok?words=BAD", "/weigh/ok?BAD=ok"]


def refused(scales: Scales, answer: requests.Response) -> None:
    """It is the caller's fault, said in one line; nothing has become of it."""
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.json()["detail"].splitlines()) == 1
    assert scales.daemon.jobs() == []


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize(("path", "body"), BODIES)
def test_characters_that_no_argument_has(scales: Scales, path: str, body: str, bad: str) -> None:
    """
    A2: wherever they stand in a submission: 422, in one line. Variables and directories cannot be
    named over HTTP at all.
    """
    refused(scales, scales.ask("POST", path, body.replace("BAD", bad)))


@pytest.mark.parametrize("bad", ["a%00b", "%ED%A0%80", "%FF"])
@pytest.mark.parametrize("path", PATHS)
def test_characters_that_no_path_has(scales: Scales, path: str, bad: str) -> None:
    """
    A2: the same in the path and the query of an endpoint.
    """
    refused(scales, scales.ask("GET", path.replace("BAD", bad)))


def test_whole_characters(scales: Scales) -> None:
    """
    A2: two halves that belong together are one character, and arrive as that.
    """
    answer = scales.ask("POST", "/weigh", r'{"words": ["\ud83d\ude00"]}')
    assert answer.json() == weight("\N{GRINNING FACE}")


def test_id_of_a_refused_submission_is_free(scales: Scales) -> None:
    """
    A2: whoever has put it right submits it under the same id, and it runs.
    """
    place = f"/v1/jobs/{new_id()}"
    assert scales.ask("PUT", place, SUBMISSIONS[0].replace("BAD", BAD["high"])).status_code == 422
    assert scales.ask("PUT", place, SUBMISSIONS[0].replace("BAD", "ok")).status_code == 202
    job = scales.daemon.final(place.rpartition("/")[2])
    assert (job["state"], job["result"]) == ("succeeded", weight("ok", "ok"))


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "caf\udce9"])
def test_any_text_in_submit(scales: Scales, word: str) -> None:
    """
    A2: no command line and no UTF-8 lies between a program and the command that it submits:
    whatever text it gives arrives, as in a call.
    """
    assert scales.submit(ascii(["ok", word])) == weight("ok", word)
