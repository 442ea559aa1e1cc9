"""
The daemon's HTTP API as Python: one method for each thing that can be asked.

Answers are job documents, as ``JobInfo.document`` makes them; errors come back as the
classes they were. The verbs of ``mcli`` use it, and so may any program: ``mcli.Client``.
"""

import base64
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, Self
from urllib.parse import quote

import requests

from mcli import address
from mcli.address import Address
from mcli.errors import DaemonError, DaemonNotRunning, OutcomeUnknown, UnknownJob
from mcli.home import Home
from mcli.ids import new_id
from mcli.output import Record
from mcli.problem import error_in
from mcli.settings import Settings
from mcli.states import FINAL
from mcli.stream import Stream

Document = dict[str, Any]

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
"""Seconds until an answer begins; a long poll gets its own time on top."""

LOAD_S: Final = 90.0
"""Seconds that an app may take to be loaded, and a little more."""

POLL_S: Final = 30.0
"""Seconds that one request waits for a job."""

SILENT_S: Final = 45.0
"""Seconds without a sign of life after which followed output has to be asked for again."""

AGAIN_S: Final = 0.2
"""Seconds between two attempts to find a daemon that has gone away."""

PAGE: Final = 500

UNAUTHORIZED: Final = 401


class Client:
    """A connection to a daemon. Job ids may be prefixes, or ``-`` for the latest.

    To be used by one thread at a time, and closed at the end, as a context manager does.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        *,
        fingerprint: str | None = None,
    ) -> None:
        """Without arguments: the daemon that the settings name, here or elsewhere.

        Args:
            url: ``https://host:port``; ``http://`` only for this machine.
            token: What ``mcli token`` prints there.
            ca: File of the authorities that vouch for it; None: the system's.
            fingerprint: SHA-256 of its certificate, if that is known: then nobody has to.

        Raises:
            DaemonNotRunning: It is that of this machine, and does not run.
            BadSetting: A setting for a daemon elsewhere is missing or wrong.
            RequestError: The URL would show the token to whoever listens on the way.
            DaemonError: It is of this machine, and another user listens there.
        """
        self._find: Callable[[], Address] = address.find
        if url is not None:
            self._find = partial(address.given, url, token, ca, fingerprint=fingerprint)
        self._open()

    @classmethod
    def connect(cls, home: Home) -> Self:
        """A client of the daemon of *home*.

        Raises:
            DaemonNotRunning: There is none.
            DaemonError: Its token cannot be read, or somebody else listens in its place.
        """
        client = cls.__new__(cls)
        client._find = partial(address.local, home)
        client._open()
        return client

    def _open(self) -> None:
        """Find the daemon; another one may have its place by now."""
        self._address = self._find()
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy has no business between us and the daemon
        self._http.verify = self._address.ca or True
        if self._address.fingerprint is not None:
            self._http.verify = False  # by its names: it is known by itself
            self._http.mount("https://", _Pinned(self._address.fingerprint))
        self._http.headers["Authorization"] = f"Bearer {self._address.token}"

    @property
    def url(self) -> str:
        """Where the daemon is."""
        return self._address.url

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Submitting -------------------------------------------------------------------------

    def submit(
        self,
        app: str,
        command: str,
        params: Mapping[str, Any] | None = None,
        *,
        wait_s: float | None = None,
        key: str | None = None,
    ) -> Document:
        """Run a command of an app as a job. Sent again when the answer was lost: it runs once.

        Args:
            app: As ``apps`` tells its name.
            command: Its name in the app, as ``db load``.
            params: Values by parameter name.
            wait_s: Seconds to wait for its end.
            key: What this request is called: for a day, the same request brings the same job.

        Returns:
            The job, as it is after waiting.

        Raises:
            UnknownCommand: There is no such app, or it has no such command.
            BadParameters: The command does not take these values; ``errors`` has each.
            KeyReused: The key is another request's.
            OutcomeUnknown: It may have been accepted; the message has its id.
        """
        deadline = None if wait_s is None else time.monotonic() + wait_s
        job_id = new_id()
        prefer = "respond-async" if wait_s is None else f"wait={math.ceil(min(wait_s, POLL_S))}"
        sent = {
            "json": {"app": app, "command": command, "params": dict(params or {})},
            "headers": {"Prefer": prefer} | ({"Idempotency-Key": key} if key is not None else {}),
            "answer_s": ANSWER_S + POLL_S,
        }
        job = self._twice("PUT", f"/v1/jobs/{job_id}", **sent)
        if deadline is None or job["state"] in FINAL:
            return job
        return self.wait(job["id"], max(0.0, deadline - time.monotonic()))

    def _twice(self, method: str, path: str, **options: Any) -> Document:
        """Ask once more if the answer was lost; only for what may be repeated."""
        try:
            return self._document(method, path, **options)
        except OutcomeUnknown:
            try:
                self.close()
                self._open()
                return self._document(method, path, **options)
            except (OutcomeUnknown, DaemonNotRunning) as error:
                job_id = path.rpartition("/")[2]
                raise OutcomeUnknown(
                    f"the daemon at {self.url} went away before it answered; it may have taken "
                    f"job {job_id}: look with mcli inspect {job_id}"
                ) from error

    def rerun(self, job_id: str) -> Document:
        """The same invocation as a new job."""
        return self._document("POST", f"{_job(job_id)}/rerun")

    # Looking ----------------------------------------------------------------------------

    def status(self) -> Document:
        """What the daemon is and does."""
        return self._document("GET", "/v1/status")

    def ready(self) -> None:
        """Have a small job come through the daemon, now.

        Raises:
            NotReady: It does not.
        """
        self._document("GET", "/readyz", params={"fresh": "true"})

    def apps(self) -> list[Document]:
        """The apps that it knows, with their commands."""
        found: list[Document] = self._ask("GET", "/v1/apps").json()
        return found

    def add_app(self, target: str, *, python: str, cwd: str, mcli_root: str = "") -> Document:
        """Have the daemon load one more app, and keep it; its document.

        Args:
            target: A script, a module, or either with ``:attribute``.
            python: Path of the interpreter.
            cwd: Directory in which its commands run.
            mcli_root: Directory of the mcli that it imports; empty: the interpreter's own.

        Raises:
            BadApp: It cannot be loaded, has no commands, or clashes with another.
        """
        named = {"target": target, "python": python, "cwd": cwd, "mcli_root": mcli_root}
        return self._document("POST", "/v1/apps", json=named, answer_s=LOAD_S)

    def remove_app(self, name: str) -> None:
        """Have the daemon forget an app that was added.

        Raises:
            UnknownApp: There is none of that name.
            BadApp: It was not added, but named elsewhere.
        """
        self._ask("DELETE", f"/v1/apps/{quote(name, safe='')}")

    def job(self, job_id: str) -> Document:
        """One job as it is now.

        Raises:
            UnknownJob, AmbiguousJob: There is none of that id, or several begin so.
        """
        return self._document("GET", _job(job_id))

    def jobs(
        self,
        *,
        states: Sequence[str] = (),
        limit: int | None = None,
        command: str | None = None,
        name: str | None = None,
        source: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Document]:
        """Jobs, newest first: at most *limit*, or all.

        Args:
            states: Only jobs in one of these; none for all.
            command, name, source: Only jobs with this one.
            since: Only jobs accepted then or later; with a time zone.
            until: Only jobs accepted before then; with a time zone.
        """
        only: dict[str, Any] = {"command": command, "name": name, "source": source}
        only |= {"since": since and since.isoformat(), "until": until and until.isoformat()}
        before: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            asked = {"state": list(states), "limit": size, "before": before, **only}
            page = self._ask("GET", "/v1/jobs", params=asked).json()
            yield from page
            if len(page) < size:
                return
            before = page[-1]["id"]
            limit = None if limit is None else limit - size

    def wait(self, job_id: str, timeout_s: float | None = None) -> Document:
        """The job once it is final, or as it is after *timeout_s* seconds.

        Raises:
            DaemonNotRunning: It has stopped.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = POLL_S if deadline is None else max(0.0, deadline - time.monotonic())
            job = self._poll(job_id, min(POLL_S, left))
            if job["state"] in FINAL or left == 0:
                return job

    def _poll(self, job_id: str, timeout_s: float) -> Document:
        """A daemon that is about to stop answers at once."""
        path, poll = f"{_job(job_id)}/wait", {"timeout_s": timeout_s}
        try:
            return self._document("GET", path, params=poll, answer_s=ANSWER_S + POLL_S)
        except DaemonError as error:
            if not _is_lost(error) or isinstance(error.__cause__, requests.Timeout):
                raise
            raise DaemonNotRunning(
                f"the daemon stopped; job {job_id} runs on; "
                f"wait again with: mcli daemon start && mcli wait {job_id}"
            ) from error

    def attempts(self, job_id: str) -> list[Document]:
        """Every attempt of the job, the first one first: its end, its times, its output's place."""
        found: list[Document] = self._ask("GET", f"{_job(job_id)}/attempts").json()
        return found

    def result(self, job_id: str) -> Any:
        """What the command returned: any JSON value.

        Raises:
            Unfinished: It has not ended.
            JobFailed: It did not succeed, or what it returned was not kept.
        """
        return self._ask("GET", f"{_job(job_id)}/result").json()

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
        with answer, _until_lost():
            for line in answer.iter_lines(chunk_size=None):
                yield _record(json.loads(line))

    def follow(self, job_id: str, *, stream: str | None = None, after: int = 0) -> Iterator[Record]:
        """Records of the job's output from offset *after* on, as they come, until it has ended.

        Goes on where it was when the connection is lost and the daemon comes back in time
        (``MCLI_RECONNECT``).
        """
        lost_at: float | None = None
        while True:
            try:
                for record in self._events(job_id, stream, after):
                    if record is None:
                        return
                    yield record
                    after, lost_at = record.next_offset, None
                raise DaemonNotRunning(f"the daemon stopped; job {job_id} runs on")
            except DaemonError as error:
                if not _is_lost(error):
                    raise
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > Settings.load().reconnect_s:
                    raise
            self._reopen()

    def _reopen(self) -> None:
        """Wait a little, then look for the daemon: it may listen elsewhere now."""
        time.sleep(AGAIN_S)  # nothing tells that a daemon is there again
        self.close()
        with suppress(DaemonNotRunning):
            self._open()

    def _events(self, job_id: str, stream: str | None, after: int) -> Iterator[Record | None]:
        """Records as events tell them, and None once the job has ended."""
        answer = self._ask(
            "GET",
            f"{_job(job_id)}/output",
            params={"stream": stream, "after": after},
            headers={"Accept": "text/event-stream"},
            stream=True,
            answer_s=SILENT_S,
        )
        with answer, _until_lost():
            event = ""
            for line in answer.iter_lines(chunk_size=None):
                field, _, value = line.decode().partition(": ")
                if field == "event":
                    event = value
                elif field == "data" and event == "output":
                    yield _record(json.loads(value))
                elif field == "data" and event == "end":
                    yield None
                    return

    # Acting -----------------------------------------------------------------------------

    def cancel(self, job_id: str) -> Document:
        """Ask it to end: SIGTERM, and SIGKILL after the grace.

        Raises:
            InvalidTransition: It has ended already.
        """
        return self._document("POST", f"{_job(job_id)}/cancel")

    def kill(self, job_id: str, signum: int = signal.SIGKILL) -> Document:
        """Send it a signal.

        Raises:
            InvalidTransition: It is not running.
        """
        return self._document("POST", f"{_job(job_id)}/kill", json={"signal": signum})

    def delete(self, job_id: str) -> None:
        """Remove it, and all that it has printed.

        Raises:
            InvalidTransition: It has not ended.
        """
        self._ask("DELETE", _job(job_id))

    def cleanup(self, *, stale_s: float = 0.0, dry_run: bool = True) -> list[Document]:
        """The runs without a sign of life for *stale_s* seconds, and what becomes of each.

        Args:
            dry_run: Only say so. Otherwise those that have no process are ended.

        Returns:
            For each ``job``, ``alive``, ``action`` (``keep``, or the state in which it ends),
            ``last_sign_at`` and ``output_bytes``.
        """
        asked = {"stale_s": stale_s, "dry_run": dry_run}
        found: list[Document] = self._document("POST", "/v1/cleanup", json=asked)["runs"]
        return found

    def login_code(self) -> Document:
        """``code``, with which a browser can sign in once, and ``expires_at``."""
        return self._document("POST", "/v1/login/code")

    def shutdown(self, *, kill_jobs: bool) -> None:
        """Stop the daemon, and with *kill_jobs* the jobs."""
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
        except requests.exceptions.SSLError as error:
            if self._address.fingerprint is not None:
                raise DaemonError(f"the daemon does not answer at {self.url}") from error
            raise DaemonError(
                f"nobody whom we trust vouches for {self.url}; set MCLI_BACKGROUND_CA to the "
                "file with the certificate of its authority"
            ) from error
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
                f"{self._address.source} is not what the daemon asks for; run: mcli daemon restart"
            )
        raise error_in(_problem(answer), answer.status_code)


class _Pinned(requests.adapters.HTTPAdapter):
    """Talks to the holder of one certificate only."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **options)


def _is_lost(error: DaemonError) -> bool:
    """Whether the connection failed, and not the request."""
    return isinstance(error, DaemonNotRunning) or isinstance(
        error.__cause__, requests.RequestException
    )


@contextmanager
def _until_lost() -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise DaemonError(f"the daemon went away in the middle of the output: {error}") from error


def _job(job_id: str) -> str:
    if not job_id or job_id.strip("0123456789abcdefABCDEF-"):
        raise UnknownJob(f"{job_id!r} is not a job id; see: mcli ps -a")
    return f"/v1/jobs/{job_id.lower()}"


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
