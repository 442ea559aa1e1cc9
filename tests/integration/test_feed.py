"""Output over HTTP: ranges of octets, records, and events that can be taken up again."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mcli.daemon import bind
from mcli.endpoints import feed
from mcli.job import JobInfo
from mcli.output import Log
from mcli.settings import Settings
from mcli.states import Reason, State
from mcli.stream import Stream

from .shelf import TOKEN, Served

EVENTS = "text/event-stream"
DATA = b"0123456789"

LARGE_BYTES = 32 << 20
"""More than the sockets on the way take in."""


@pytest.fixture
def job(serving: Served) -> JobInfo:
    serving.shelf.clear()
    return serving.do(serving.shelf.put(state=State.RUNNING))


@pytest.fixture
def printed(serving: Served, job: JobInfo) -> JobInfo:
    """It has printed ten bytes to stdout in three records, with one to stderr among them."""
    for stream, data in ((1, b"0123"), (2, b"!!"), (1, b"45678"), (1, b"9")):
        serving.do(serving.shelf.print(job.id, Stream(stream), data))
    return job


def ask(serving: Served, job: JobInfo, accept: str = "*/*", **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept} | more.pop("headers", {})
    url = f"{serving.url}/v1/jobs/{job.id}/output"
    return requests.get(url, headers=headers, timeout=10, **more)


# Ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, 9),
        ("bytes=2-5", 2, 5),
        ("bytes=4-8", 4, 8),
        ("bytes=9-9", 9, 9),
        ("bytes=5-99", 5, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-99", 0, 9),
    ],
)
def test_range_is_of_the_chosen_stream(
    serving: Served, printed: JobInfo, asked: str, first: int, last: int
) -> None:
    """206 with the bytes of that stream, whatever the records are and what lies between."""
    answer = ask(serving, printed, params={"stream": "stdout"}, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/10"
    assert answer.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=999-"])
def test_range_beyond_the_end(serving: Served, printed: JobInfo, asked: str) -> None:
    """416 as a problem, which says how many bytes there are."""
    answer = ask(serving, printed, params={"stream": "stdout"}, headers={"Range": asked})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */10")
    assert answer.json()["status"] == 416


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "x"]
)
def test_range_that_is_not_heeded(serving: Served, printed: JobInfo, asked: str) -> None:
    """What is no single range of bytes is answered with all of them."""
    answer = ask(serving, printed, params={"stream": "stdout"}, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_range_with_a_condition_is_not_heeded(serving: Served, printed: JobInfo) -> None:
    """Output has no validator, so that none that is asked for can be the right one."""
    headers = {"Range": "bytes=0-1", "If-Range": '"x"'}
    assert ask(serving, printed, headers=headers).status_code == 200


@pytest.mark.parametrize("accept", ["*/*", feed.RECORDS, EVENTS])
def test_offset_at_which_nothing_begins(serving: Served, printed: JobInfo, accept: str) -> None:
    """An offset in the middle of a record is a 422 problem, and not read as if it were one."""
    answer = ask(serving, printed, accept, params={"after": 3})
    assert (answer.status_code, answer.json()["code"]) == (422, "request")


# Events -----------------------------------------------------------------------------------


class Events:
    """A reader of an event stream; comments are events without a name."""

    def __init__(self, answer: requests.Response) -> None:
        self._lines = answer.iter_lines(chunk_size=None)

    def __iter__(self) -> Iterator[dict[str, str]]:
        event: dict[str, str] = {}
        for line in self._lines:
            if line:
                field, _, value = line.decode().partition(": ")
                event[field] = value
            else:
                yield event
                event = {}


def test_events_tell_output_state_and_end(serving: Served, job: JobInfo) -> None:
    """Bytes of any kind arrive, each event with the offset to go on from; the end has the code."""
    serving.do(serving.shelf.print(job.id, Stream.STDERR, b"a\r\n\rdata: x\n\n\xff\x00"))
    with ask(serving, job, EVENTS, stream=True) as answer:
        assert answer.headers["Content-Type"].startswith(EVENTS)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        events = iter(Events(answer))
        assert next(events) == {"retry": "2000"}
        output = next(events)
        told = json.loads(output["data"])
        assert (output["event"], output["id"]) == ("output", str(told["next_offset"]))
        assert base64.b64decode(told["data"]) == b"a\r\n\rdata: x\n\n\xff\x00"
        assert (told["stream"], type(told["time"])) == ("stderr", float)
        assert next(events) == {"event": "state", "data": '{"state": "running"}'}
        serving.do(serving.shelf.move(job.id, State.STOPPING))
        assert next(events) == {"event": "state", "data": '{"state": "stopping"}'}
        serving.do(serving.shelf.print(job.id, Stream.STDOUT, b"last"))
        assert json.loads(next(events)["data"])["stream"] == "stdout"
        ended = {"reason": Reason.USER, "exit_code": 3, "finished_at": 1.0}
        serving.do(serving.shelf.move(job.id, State.CANCELLED, **ended))
        assert next(events)["data"] == '{"state": "cancelled"}'
        end = next(events)
        assert (end["event"], end["id"]) == ("end", "end")
        expected = {"state": "cancelled", "reason": "user", "exit_code": 3, "signal": None}
        assert json.loads(end["data"]) == expected
        assert list(events) == []


def test_events_are_taken_up_again(serving: Served, printed: JobInfo) -> None:
    """From each event's id the rest comes, without gap or repeat; after the end nothing does."""
    serving.do(serving.shelf.move(printed.id, State.SUCCEEDED, finished_at=1.0))
    with ask(serving, printed, EVENTS, stream=True) as answer:
        whole = list(Events(answer))
    ids = [event["id"] for event in whole if event.get("event") == "output"]
    assert len(ids) == 4
    for count, last in enumerate(ids, 1):
        with ask(serving, printed, EVENTS, stream=True, headers={"Last-Event-ID": last}) as answer:
            rest = [event.get("id") for event in Events(answer) if event.get("event") == "output"]
        assert rest == ids[count:]
    answer = ask(serving, printed, EVENTS, headers={"Last-Event-ID": whole[-1]["id"]})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19])
def test_id_that_is_none_of_ours(serving: Served, job: JobInfo, last: str) -> None:
    """A Last-Event-ID that no event had is a 422 problem."""
    answer = ask(serving, job, EVENTS, headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["code"]) == (422, "request")


def test_events_of_one_stream(serving: Served, printed: JobInfo) -> None:
    """stream= chooses among events as well."""
    serving.do(serving.shelf.move(printed.id, State.SUCCEEDED, finished_at=1.0))
    with ask(serving, printed, EVENTS, stream=True, params={"stream": "stderr"}) as answer:
        found = [each["data"] for each in Events(answer) if each.get("event") == "output"]
    assert [json.loads(each)["stream"] for each in found] == ["stderr"]


def test_silence_is_broken_by_comments(
    serving: Served, job: JobInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing happens, a comment tells that the connection lives."""
    monkeypatch.setattr(feed, "PING_S", 0.01)
    with ask(serving, job, EVENTS, stream=True) as answer:
        events = iter(Events(answer))
        assert [next(events) for _ in range(4)][2:] == [{"": "ping"}] * 2


def test_records_are_followed_to_the_end(serving: Served, job: JobInfo) -> None:
    """What is printed just before the end is not lost by whoever follows."""
    with ask(serving, job, feed.RECORDS, stream=True, params={"follow": "true"}) as answer:
        assert serving.shelf.followed.wait(10)
        serving.do(serving.shelf.print(job.id, Stream.STDOUT, b"last"))
        serving.do(serving.shelf.move(job.id, State.SUCCEEDED, finished_at=1.0))
        (line,) = answer.iter_lines()
    assert base64.b64decode(json.loads(line)["data"]) == b"last"


@pytest.mark.parametrize("accept", ["*/*", feed.RECORDS, EVENTS])
def test_output_of_a_job_that_is_removed_does_not_end_as_if_whole(
    serving: Served, job: JobInfo, accept: str
) -> None:
    """Whoever still reads it when the job is removed has the connection broken."""
    path = Path(serving.shelf.home.job(job.id))
    path.mkdir(parents=True)
    log = Log(str(path / "output.log"))
    for _ in range(LARGE_BYTES // feed.BLOCK_BYTES):
        log.append(Stream.STDOUT, b"x" * feed.BLOCK_BYTES)
    log.close()
    serving.do(serving.shelf.move(job.id, State.SUCCEEDED, finished_at=1.0))
    with ask(serving, job, accept, stream=True) as answer:
        content = answer.iter_content(1 << 16)
        assert next(content)
        url, headers = f"{serving.url}/v1/jobs/{job.id}", {"Authorization": f"Bearer {TOKEN}"}
        assert requests.delete(url, headers=headers, timeout=10).status_code == 204
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for _ in content:
                pass


def test_who_does_not_read_is_dropped_by_the_kernel() -> None:
    """Each connection has a limit for what is sent and not taken; no reader holds us up."""
    with bind.bind(Settings(port=0), i_know=False).socket as listening:
        with socket.create_connection(listening.getsockname()):
            connection, _ = listening.accept()
        with connection:
            limit = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert limit == bind.SEND_MS == 30_000
