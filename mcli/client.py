"""
The daemon's HTTP API as Python: one method for each thing that the verbs ask.

Answers are job documents, as ``JobInfo.document`` makes them; errors come back as the
classes they were. The token goes only to a daemon that lives: the kernel is asked who
holds the lock, because what a file says may have been left by a daemon that is gone.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import requests

from mcli.errors import DaemonError, DaemonNotRunning, OutcomeUnknown, ProtocolMismatch, UnknownJob
from mcli.home import Home
from mcli.output import Record
from mcli.problem import error_in
from mcli.stream import Stream
from mcli.ticket import lock_holder
from mcli.version import PROTOCOL

Document = dict[str, Any]

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
"""Seconds until an answer begins; a long poll gets its own time on top."""

POLL_S: Final = 30.0
"""Seconds that one request waits for a job."""

PAGE: Final = 500

UNAUTHORIZED: Final = 401

_NO_TOKEN: Final = re.compile("[^!-~]")


class Address(NamedTuple):
    """Where a living daemon is."""

    pid: int
    url: str

    @classmethod
    def find(cls, home: Home) -> Self:
        """The address of the daemon of *home*.

        Raises:
            DaemonNotRunning: None lives there, or it does not listen yet.
            ProtocolMismatch: It is of a version that we do not speak.
        """
        pid = lock_holder(home.lock)
        if pid is None:
            raise DaemonNotRunning
        told = _told(home.address)
        if told.get("pid") != pid:
            raise DaemonNotRunning(f"the daemon (pid {pid}) is still starting; try again")
        if told.get("protocol") != PROTOCOL:
            raise ProtocolMismatch(
                f"the daemon (pid {pid}) is mcli {told.get('version')}, which speaks another "
                "protocol; restart it with: mcli daemon restart"
            )
        return cls(pid, str(told["url"]))


def _told(path: str) -> Document:
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
    except (FileNotFoundError, ValueError):  # not written yet, or half
        return {}
    return told if isinstance(told, dict) else {}


class Client:
    """A connection to a daemon. Job ids may be prefixes, or ``-`` for the latest."""

    def __init__(self, url: str, token: str, *, source: str = "the token") -> None:
        self.url = url
        self._source = source
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy has no business between us and this machine
        self._http.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def connect(cls, home: Home) -> Self:
        """A client of the daemon of *home*.

        Raises:
            DaemonNotRunning: There is none.
        """
        address = Address.find(home)
        try:
            with open(home.token, encoding="ascii", errors="replace") as file:
                token = _NO_TOKEN.sub("?", file.read().strip())  # what no header can hold
                return cls(address.url, token, source=home.token)
        except OSError as error:
            raise DaemonError(f"cannot read the token {home.token}: {error.strerror}") from error

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def status(self) -> Document:
        return self._document("GET", "/v1/status")

    def job(self, job_id: str) -> Document:
        return self._document("GET", _job(job_id))

    def jobs(self, *, states: Sequence[str] = (), limit: int | None = None) -> Iterator[Document]:
        """Jobs, newest first: at most *limit*, or all."""
        before: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            asked = {"state": list(states), "limit": size, "before": before}
            page = self._ask("GET", "/v1/jobs", params=asked).json()
            yield from page
            if len(page) < size:
                return
            before = page[-1]["id"]
            limit = None if limit is None else limit - size

    def wait(self, job_id: str, timeout_s: float | None = POLL_S) -> Document:
        """The job once it is final, or as it is after *timeout_s* seconds (at most 60).

        A daemon that is about to stop answers at once.

        Raises:
            DaemonNotRunning: It has stopped.
        """
        path, poll = f"{_job(job_id)}/wait", {"timeout_s": timeout_s}
        try:
            return self._document("GET", path, params=poll, answer_s=ANSWER_S + POLL_S)
        except DaemonError as error:
            cause = error.__cause__
            if not isinstance(cause, requests.RequestException) or isinstance(
                cause, requests.Timeout
            ):
                raise
            raise DaemonNotRunning(
                f"the daemon stopped; job {job_id} runs on; "
                f"wait again with: mcli daemon start && mcli wait {job_id}"
            ) from error

    def output(
        self, job_id: str, *, stream: str | None = None, after: int = 0, follow: bool = False
    ) -> Iterator[Record]:
        """Records of the job's output from offset *after* on; with *follow* until it is final."""
        asked = {"stream": stream, "after": after, "follow": follow or None}
        answer = self._ask(
            "GET",
            f"{_job(job_id)}/output",
            params=asked,
            headers={"Accept": "application/x-ndjson"},
            stream=True,
            answer_s=None if follow else ANSWER_S,
        )
        with answer:
            try:
                for line in answer.iter_lines(chunk_size=None):
                    yield _record(json.loads(line))
            except requests.RequestException as error:
                raise DaemonError(
                    f"the daemon went away in the middle of the output: {error}"
                ) from error

    def cancel(self, job_id: str) -> Document:
        return self._document("POST", f"{_job(job_id)}/cancel")

    def kill(self, job_id: str, signum: int) -> Document:
        return self._document("POST", f"{_job(job_id)}/kill", json={"signal": signum})

    def rerun(self, job_id: str) -> Document:
        return self._document("POST", f"{_job(job_id)}/rerun")

    def shutdown(self, *, kill_jobs: bool) -> None:
        self._ask("POST", "/v1/shutdown", json={"kill_jobs": kill_jobs})

    def _document(self, method: str, path: str, **options: Any) -> Document:
        document: Document = self._ask(method, path, **options).json()
        return document

    def _ask(
        self, method: str, path: str, *, answer_s: float | None = ANSWER_S, **options: Any
    ) -> requests.Response:
        try:
            answer = self._http.request(
                method, self.url + path, timeout=(CONNECT_S, answer_s), **options
            )
        except requests.ConnectTimeout as error:
            raise DaemonError(f"the daemon does not answer at {self.url}") from error
        except requests.RequestException as error:
            if method == "GET":
                raise DaemonError(f"the daemon does not answer at {self.url}") from error
            raise OutcomeUnknown(
                f"the daemon at {self.url} went away before it answered; it may have done it"
            ) from error
        if answer.ok:
            return answer
        if answer.status_code == UNAUTHORIZED:
            raise DaemonError(
                f"{self._source} is not what the daemon asks for; run: mcli daemon restart"
            )
        raise error_in(_problem(answer), answer.status_code)


def _job(job_id: str) -> str:
    if not job_id or job_id.strip("0123456789abcdefABCDEF-"):
        raise UnknownJob(f"{job_id!r} is not a job id; see: mcli ps -a")
    return f"/v1/jobs/{job_id}"


def _record(fields: Document) -> Record:
    return Record(
        fields["offset"],
        fields["next_offset"],
        fields["time"],
        Stream[fields["stream"].upper()],
        base64.b64decode(fields["data"]),
    )


def _problem(answer: requests.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
