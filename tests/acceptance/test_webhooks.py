"""Ends of jobs told to a URL: real daemons, real receivers, and both of them failing."""

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from mcli.store import database, schema

from .daemon import PROGRAMS, Daemon, Gate, ended
from .receiver import Receiver, Told

TELLER = str(PROGRAMS / "teller.py")
ANSWER_S = 10
"""What a receiver is given: nobody else may be made to wait for so long."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def hanging() -> Iterator[Receiver]:
    """Takes all, and answers nothing."""
    receiver = Receiver()
    receiver.answers = [0] * 99
    yield receiver
    receiver.close()


@pytest.fixture
def teller(stopped: Daemon, receiver: Receiver) -> Daemon:
    """A daemon that tries again soon; its programs tell *receiver*."""
    stopped.env |= {"HOOK": receiver.url, "OTHER_HOOK": receiver.url, "MCLI_WEBHOOK_RETRY": "0.05"}
    return stopped.start()


def detach(daemon: Daemon, *words: str, **env: str) -> str:
    return daemon.run(sys.executable, TELLER, *words, "--detach", env=env).stdout.strip()


def secret(daemon: Daemon) -> str:
    return Path(daemon.home.webhook_secret).read_text().strip()


def rows(daemon: Daemon) -> dict[str, Any]:
    """What the store says of each delivery, by the job's id."""
    engine = database.reading(daemon.home.database)
    with engine.connect() as connection:
        found = {row.job_id: row for row in connection.execute(schema.deliveries.select())}
    engine.dispose()
    return found


def settled(daemon: Daemon, receiver: Receiver) -> dict[str, Any]:
    """The rows when all that *receiver* was told is written down: the next waits for that."""
    marker = detach(daemon, "tell", "marker")
    told = receiver.next()
    assert told.job["id"] == marker
    return {job_id: row for job_id, row in rows(daemon).items() if job_id != marker}


def test_end_is_told_and_signed(teller: Daemon, receiver: Receiver) -> None:
    """
    The receiver gets the job's document, with a signature that the library of the standard
    accepts; another secret, or another body, it does not.
    """
    job_id = detach(teller, "tell", "a", "ü")
    told = receiver.next()
    Webhook(secret(teller)).verify(told.body, told.headers)
    for key, body in ((f"whsec_{'A' * 44}", told.body), (secret(teller), told.body + " ")):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, told.headers)
    document = json.loads(told.body)
    job = teller.final(job_id)
    assert document == {"type": "job.finished", "timestamp": job["finished_at"], "data": job}
    assert job["result"] == {"words": ["a", "ü"]}
    assert (told.path, told.headers["webhook-id"]) == ("/done", f"msg_{job_id}")
    assert told.headers["Content-Type"] == "application/json"


def test_secret_is_the_owners_alone(teller: Daemon) -> None:
    """The secret has mode 0600, is printed on demand, and stays the same from daemon to daemon."""
    before = secret(teller)
    assert teller.mcli("token", "--webhook").stdout == f"{before}\n"
    assert stat.S_IMODE(os.stat(teller.home.webhook_secret).st_mode) == 0o600
    teller.stop()
    assert secret(teller.start()) == before


def test_failure_is_told_too(teller: Daemon, receiver: Receiver) -> None:
    """A job that fails is told of as one that succeeds."""
    job_id = detach(teller, "leave", "3")
    job = receiver.next().job
    assert (job["id"], job["state"], job["exit_code"]) == (job_id, "failed", 3)


def test_routed_call_is_told(teller: Daemon, receiver: Receiver) -> None:
    """Not only detached jobs are told of."""
    teller.run(sys.executable, TELLER, "tell")
    assert receiver.next().job["state"] == "succeeded"


def test_job_submitted_from_python_is_told(teller: Daemon, receiver: Receiver) -> None:
    """A job that a program has submitted is told of."""
    here = {"MCLI_BACKGROUND_ENABLED": "false"}
    job_id = teller.run(sys.executable, TELLER, "submit", "x", env=here).stdout.strip()
    assert receiver.next().job["id"] == job_id


def test_no_row_without_a_url(teller: Daemon) -> None:
    """Where nobody is to be told, nothing is kept to be."""
    teller.final(teller.submit("tell"))
    assert rows(teller) == {}


def test_told_again_after_an_error(teller: Daemon, receiver: Receiver) -> None:
    """
    A receiver that answers 500 and 307 is asked again, with the same id and the same body,
    until it takes it: then there is one row for the job, with three attempts, and no error.
    """
    receiver.headers = {"Location": receiver.url}
    receiver.answers = [500, 307]
    job_id = detach(teller, "tell")
    told = [receiver.next() for _ in range(3)]
    assert {each.headers["webhook-id"] for each in told} == {f"msg_{job_id}"}
    assert len({each.body for each in told}) == 1
    [row] = settled(teller, receiver).values()
    assert (row.job_id, row.attempts, row.due_at, row.error) == (job_id, 3, None, None)
    assert row.delivered_at is not None
    assert receiver.quiet()


def test_receiver_that_is_gone_is_told_no_more(teller: Daemon, receiver: Receiver) -> None:
    """410 ends it: the row says why, and no attempt is due."""
    receiver.answers = [410]
    job_id = detach(teller, "tell")
    receiver.next()
    row = settled(teller, receiver)[job_id]
    assert (row.attempts, row.due_at, row.delivered_at) == (1, None, None)
    assert row.error == "it answered 410"


def test_told_when_it_listens_again(stopped: Daemon) -> None:
    """
    While the receiver refuses connections the daemon says so in its log, without what is
    secret in the URL; when it listens it is told, with user and password.
    """
    receiver = Receiver(listen=False)
    try:
        url = f"http://ada:lovelace@{receiver.place}/done?key=secret"
        stopped.env |= {"HOOK": url, "MCLI_WEBHOOK_RETRY": "0.05", "http_proxy": "http://[::1]:1"}
        words = [sys.executable, "-m", "mcli", "daemon", "start", "--foreground", "--port", "0"]
        daemon = stopped.begin(*words)
        assert daemon.stderr is not None
        read_until(daemon.stderr, "daemon.ready")
        detach(stopped, "tell")
        log = read_until(daemon.stderr, "webhook.missed")
        assert f"error={receiver.place}: Connection refused" in log
        receiver.listen()
        told = receiver.next()
        log += read_until(daemon.stderr, "webhook.delivered")
    finally:
        receiver.close()
    assert told.headers["Authorization"] == "Basic YWRhOmxvdmVsYWNl"
    assert told.path == "/done?key=secret"
    assert "lovelace" not in log
    assert "secret" not in log


def read_until(log: Any, word: str) -> str:
    """All lines up to the first that has *word*."""
    found = []
    for line in log:
        found.append(line)
        if word in line:
            break
    assert word in found[-1]
    return "".join(found)


def test_kept_when_the_daemon_is_killed(stopped: Daemon, receiver: Receiver) -> None:
    """
    A daemon that is killed while a receiver makes it wait is followed by one that tells it
    again: the same message.
    """
    stopped.env["HOOK"] = receiver.url
    receiver.answers = [0]
    job_id = detach(stopped.start(), "tell")
    first = receiver.next()
    stopped.kill9()
    assert rows(stopped)[job_id].delivered_at is None
    stopped.start()
    again = receiver.next()
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert again.body == first.body


def test_job_that_ends_without_a_daemon_is_told(
    teller: Daemon, receiver: Receiver, gate: Gate
) -> None:
    """The next daemon tells of what ended while there was none."""
    job_id = detach(teller, "obey", gate.path)
    inside = gate.arrival()
    teller.kill9()
    with ended(inside.pid):
        inside.tell("sys.exit(7)")
    teller.start()
    job = receiver.next().job
    assert (job["id"], job["exit_code"]) == (job_id, 7)


def test_hanging_receiver_holds_nobody_up(
    stopped: Daemon, receiver: Receiver, hanging: Receiver, gate: Gate
) -> None:
    """
    While one receiver does not answer, jobs run, other receivers are told, and the daemon
    stops; the next one tells it again.
    """
    stopped.env |= {"HOOK": hanging.url, "OTHER_HOOK": receiver.url}
    slow = detach(stopped.start("--workers", "1"), "tell")
    first = hanging.next()
    began = time.monotonic()
    other = detach(stopped, "leave", "0")
    assert receiver.next().job["id"] == other
    stopped.final(detach(stopped, "tell", "and another for the one that hangs"))
    stopped.stop()
    assert time.monotonic() - began < ANSWER_S
    stopped.start()
    again = hanging.next()
    assert first.job["id"] == again.job["id"] == slow
    assert hanging.quiet()  # one request at a time


def test_cancelled_in_the_queue_is_told(stopped: Daemon, receiver: Receiver, gate: Gate) -> None:
    """A job that was cancelled before it began is told of, once."""
    stopped.env["HOOK"] = receiver.url
    stopped.start("--workers", "1")
    detach(stopped, "obey", gate.path)
    inside = gate.arrival()
    queued = detach(stopped, "tell")
    stopped.mcli("cancel", queued)
    job = receiver.next().job
    assert (job["id"], job["state"], job["attempt"]) == (queued, "cancelled", 0)
    inside.leave()
    assert receiver.next().job["state"] == "succeeded"
    assert len(settled(stopped, receiver)) == 2
    assert receiver.quiet()


def test_lost_job_is_told(teller: Daemon, receiver: Receiver, gate: Gate) -> None:
    """A job of which nobody can know how it ended is told of as lost."""
    job_id = detach(teller, "obey", gate.path)
    inside = gate.arrival()
    teller.kill9()
    for pid in (inside.ppid, inside.pid):
        with ended(pid):
            os.kill(pid, signal.SIGKILL)
    teller.start()
    job = receiver.next().job
    assert (job["id"], job["state"]) == (job_id, "lost")


def test_many_ends_are_told_once_each(teller: Daemon, receiver: Receiver) -> None:
    """Twenty jobs, twenty rows, twenty messages."""
    ids = {detach(teller, "tell", str(number)) for number in range(20)}
    told: list[Told] = [receiver.next() for _ in ids]
    assert {each.job["id"] for each in told} == ids
    found = settled(teller, receiver)
    assert {job_id: row.attempts for job_id, row in found.items()} == dict.fromkeys(ids, 1)
    assert receiver.quiet()
