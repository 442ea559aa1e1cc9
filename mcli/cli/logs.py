"""``mcli logs``: what a job has printed, byte for byte."""

import io
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Protocol

import click

from mcli.cli.terminal import Spelled
from mcli.errors import RequestError
from mcli.output import Record
from mcli.stdio import say
from mcli.stream import gap


class Out(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> None: ...


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stdout", is_flag=True, help="Only what went to stdout.")
@click.option("--stderr", is_flag=True, help="Only what went to stderr.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its local time.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only of attempt N.")
@click.option("--raw", is_flag=True, help="Control characters as they are, on a terminal too.")
def logs(
    job: str,
    follow: bool,
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    tail: int | None,
    attempt: int | None,
    raw: bool,
) -> None:
    """Show what JOB has printed: stdout and stderr in the order in which they came.

    All of it goes to stdout, the bytes unchanged. Only on a terminal, control characters of a
    job that was not started from a command line are spelled out: what was sent to it from
    elsewhere could otherwise rule the terminal.
    """
    from mcli.client import Client

    if stdout and stderr:
        raise click.UsageError("--stdout and --stderr exclude each other; without them: both")
    stream = "stdout" if stdout else "stderr" if stderr else None
    with Client() as client:
        found = client.job(job)
        job_id, spelled = found["id"], found["source"] != "cli" and not raw
        out: Out = (
            Spelled(sys.stdout.buffer) if spelled and sys.stdout.isatty() else sys.stdout.buffer
        )
        after, end = (0, None) if attempt is None else _place(client.attempts(job_id), attempt)
        if tail is not None:
            past = latest(_until(end, client.output(job_id, stream=stream, after=after)), tail)
            write(last_lines(past, tail), timestamps, out)
            after = past[-1].next_offset if past else after
        if tail is None or follow:
            ask = client.follow if follow else client.output
            write(_until(end, ask(job_id, stream=stream, after=after)), timestamps, out)


def _place(attempts: Sequence[dict[str, Any]], number: int) -> tuple[int, int | None]:
    """Where in the log the output of an attempt begins, and where it ends if that is known.

    Raises:
        RequestError: There is no such attempt.
    """
    for each in attempts:
        if each["attempt"] == number:
            return each["output_start"], each["output_end"]
    known = ", ".join(str(each["attempt"]) for each in attempts) or "none yet"
    raise RequestError(f"the job has no attempt {number}; it has: {known}")


def _until(end: int | None, records: Iterable[Record]) -> Iterable[Record]:
    return records if end is None else takewhile(lambda record: record.offset < end, records)


def write(records: Iterable[Record], timestamps: bool, out: Out | None = None) -> None:
    """Write the bytes of *records* as they come; with their local times if so asked."""
    out = out or sys.stdout.buffer
    records = (_told(record) for record in records)
    for block in stamped(records) if timestamps else (record.data for record in records):
        out.write(block)
        out.flush()


def _told(record: Record) -> Record:
    if record.missing:
        sys.stdout.flush()
        say(gap(record.missing))
    return record


def stamped(records: Iterable[Record]) -> Iterator[bytes]:
    """The bytes of *records*, with the time before each line. Only a newline ends a line."""
    fresh = True
    for record in records:
        for line in io.BytesIO(record.data):
            yield _stamp(record.time_s) + line if fresh else line
            fresh = line.endswith(b"\n")


def _stamp(time_s: float) -> bytes:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time_s))
    return f"{whole}.{int(time_s % 1 * 1000):03d} ".encode()


def latest(records: Iterable[Record], count: int) -> Sequence[Record]:
    """The last *records*, as many as hold *count* lines; the rest is not kept in memory."""
    kept: deque[Record] = deque()
    newlines = 0
    for record in records:
        kept.append(record)
        newlines += record.data.count(b"\n")
        while (rest := newlines - kept[0].data.count(b"\n")) > count:
            kept.popleft()
            newlines = rest
    return kept


def last_lines(records: Sequence[Record], count: int) -> list[Record]:
    """The records of the last *count* lines; the first is cut to where its line begins."""
    kept: list[Record] = []
    for record in reversed(records) if count else ():
        end = len(record.data)
        if not kept and record.data.endswith(b"\n"):
            end -= 1  # it ends the last line, and begins none
        while (end := record.data.rfind(b"\n", 0, end)) >= 0:
            count -= 1
            if count == 0:
                return [record._replace(data=record.data[end + 1 :]), *reversed(kept)]
        kept.append(record)
    return kept[::-1]
