"""
The daemon's HTTP API as Python: one method for each thing that the verbs ask.

Answers are job documents, as ``JobInfo.document`` makes them; errors come back as the
classes they were. The token goes only to a daemon that lives: the kernel is asked who
holds the lock, because what a file says may have been left by a daemon that is gone.
"""

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import requests

from mcli.errors import DaemonError, DaemonNotRunning, OutcomeUnknown, ProtocolMismatch, UnknownJob
from mcli.home import Home
from mcli.listener import owner_uid
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
    fingerprint: str | None = None
    """Of its certificate, if it has one: it need not be signed by anybody for us."""

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
        return cls(pid, str(told["url"]), told.get("fingerprint"))


def _told(path: str) -> Document:
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
    except (FileNotFoundError, ValueError):  # not written yet, or half
        return {}
    return told if isinstance(told, dict) else {}


class Client:
    """A connection to a daemon. Job ids may be prefixes, or ``-`` for the latest."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        source: str = "the token",
        fingerprint: str | None = None,
    ) -> None:
        self.url = url
        self._source = source
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy has no business between us and this machine
        self._http.headers["Authorization"] = f"Bearer {token}"
        if fingerprint is not None:
            self._http.verify = False  # by its names: it is known by itself
            self._http.mount("https://", _Pinned(fingerprint))

    @classmethod
    def connect(cls, home: Home) -> Self:
        """A client of the daemon of *home*.

        Raises:
            DaemonNotRunning: There is none.
            DaemonError: Its token cannot be read, or somebody else listens in its place.
        """
        address = Address.find(home)
        _check_owner(address.url)
        token, pin = read_token(home), address.fingerprint
        return cls(address.url, token, source=home.token, fingerprint=pin)

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

    def login_code(self) -> Document:
        """``code``, with which a browser can sign in once, and ``expires_at``."""
        return self._document("POST", "/v1/login/code")

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


def read_token(home: Home) -> str:
    """The token of the daemon of *home*, without what no header can hold.

    Raises:
        DaemonError: It cannot be read.
    """
    try:
        with open(home.token, encoding="ascii", errors="replace") as file:
            return _NO_TOKEN.sub("?", file.read().strip())
    except OSError as error:
        raise DaemonError(
            f"cannot read the token {home.token}: {error.strerror}; mcli daemon start makes it"
        ) from error


class _Pinned(requests.adapters.HTTPAdapter):
    """Talks to the holder of one certificate only."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **options)


def _check_owner(url: str) -> None:
    """Whether it is our own process that listens there: nobody else is sent our token."""
    place = urlsplit(url)
    uid = owner_uid(place.hostname or "", place.port or 0)
    if uid not in (None, os.geteuid()):
        raise DaemonError(
            f"a process of uid {uid} listens at {url}, where our daemon did: the token was not "
            "sent; run: mcli daemon restart --port 0"
        )


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
