"""Output when things go wrong: a full disk, a log that is cut, readers that do not read."""

import mmap
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from mcli import family, frames
from mcli.daemon.verdict import UNSTORED
from mcli.handle import Job
from mcli.output import HEAD
from mcli.stream import Stream, gap
from mcli.ticket import lock_holder
from mcli.version import PROTOCOL

from .daemon import (
    DEADLINE_S,
    PROGRAMS,
    PUPPET,
    Daemon,
    Gate,
    Inside,
    ended,
    files,
    gone,
    halt,
    lines,
    until,
)

LIMITED = str(PROGRAMS / "limited.py")
LARGE = 1 << 20

# A full disk --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose state directory is a small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    home = folder / "home"
    home.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", str(home)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    daemon = Daemon(folder, MCLI_GRACE="1")
    try:
        yield daemon.start()
        daemon.close()
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


@pytest.fixture
def tight(small_disk: Daemon, tmp_path: Path, gate: Gate) -> Iterator[Daemon]:
    """That one, without jobs."""
    small_disk.cwd = tmp_path
    yield small_disk
    small_disk.clear()


@contextmanager
def full(daemon: Daemon) -> Iterator[None]:
    """Not a byte of room in the state directory, until this is left."""
    if lock_holder(daemon.home.lock) is not None:
        daemon.until_its_log_is_empty()  # what it gives back later would be room
    filler = Path(daemon.home.root, "filler")
    for step in (1 << 20, 1):
        try:
            with filler.open("ab", buffering=0) as file:
                while file.write(b"x" * step):
                    pass
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


def limited(daemon: Daemon, *words: str) -> str:
    """Detach a command of ``limited.py``; the id of its job."""
    return daemon.run(sys.executable, LIMITED, *words, "--detach").stdout.strip()


def waits_in_write(pid: int) -> bool:
    """Whether the process stands in a write for which there is no room."""
    found = Path(f"/proc/{pid}/wchan").read_text()
    return "pipe_write" in found or "n_tty_write" in found or "wait_woken" in found


def kill_worker(pid: int) -> None:
    with ended(pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("worker", ["lives", "dead"])
def test_output_waits_for_room(tight: Daemon, gate: Gate, worker: str) -> None:
    """
    On a full disk a job waits in its next write; when there is room it goes on, and nothing of
    what it has printed is missing.
    """
    caller = tight.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    if worker == "dead":
        kill_worker(inside.ppid)
    text = "".join(f"{number:07}\n" for number in range(LARGE // 8))
    inside.do(f"text = ''.join(f'{{n:07}}\\n' for n in range({LARGE // 8}))")
    with full(tight):
        inside.tell("sys.stdout.write(text); sys.stdout.flush()")
        until(lambda: waits_in_write(inside.pid))
        assert tight.job(inside.job_id)["state"] == "running"
    inside.leave()
    out, err = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, err) == (0, "")
    assert out == text
    assert tight.final(inside.job_id)["error"] is None


@pytest.mark.parametrize("worker", ["lives", "dead"])
def test_end_waits_for_room(tight: Daemon, gate: Gate, worker: str) -> None:
    """
    A job that ends with output in its pipes has not ended until that is stored.
    """
    caller = tight.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    if worker == "dead":
        kill_worker(inside.ppid)
    with full(tight):
        inside.do("sys.stdout.write('x' * 50000)")
        inside.leave()
        assert inside.gone()
        assert tight.job(inside.job_id)["state"] == "running"
    assert caller.communicate(timeout=DEADLINE_S) == ("x" * 50000, "")
    assert tight.final(inside.job_id)["state"] == "succeeded"


def test_detached_job_waits_for_room(tight: Daemon, gate: Gate) -> None:
    """
    One that nobody waits for stays until what it has printed is stored: it holds the pipes.
    """
    job_id = tight.submit("obey", gate.path)
    inside = gate.arrival()
    with full(tight):
        inside.do("sys.stdout.write('x' * 50000)")
        inside.leave()
        assert inside.gone()
        assert tight.job(job_id)["state"] == "running"
    assert tight.final(job_id)["state"] == "succeeded"
    assert tight.output(job_id) == "x" * 50000


def test_job_that_is_alone_waits_for_room(tight: Daemon, gate: Gate) -> None:
    """
    The same with neither daemon nor worker: the job stores what it has printed last by itself.
    """
    job_id = tight.submit("obey", gate.path)
    inside = gate.arrival()
    tight.kill9()
    kill_worker(inside.ppid)
    log = Path(tight.home.job(job_id), "output.log")
    with full(tight):
        inside.do("sys.stdout.write('x' * 50000)")
        inside.leave()
        until(lambda: not family.lives(inside.pid) or str(log) in files(inside.pid))
    assert gone(inside.pid)
    tight.start()
    job = tight.final(job_id)
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert tight.output(job_id) == "x" * 50000


@pytest.mark.parametrize("killed", ["worker", "worker, then daemon", "both"])
def test_program_whose_end_waits_for_room(tight: Daemon, killed: str) -> None:
    """
    Whoever is killed while the end of a program waits for room takes nothing along: its end is
    known, and what it has printed last is in the pipe that its caller holds.
    """
    caller = tight.begin(sys.executable, "-m", "mcli", *last_words(tight))
    go = begun(tight)
    job_id, worker = tight.job()["id"], tight.job()["worker_pid"]
    if killed == "worker, then daemon":
        kill_worker(worker)
    with full(tight):
        say_last_words(tight, job_id, go)
        if killed != "worker, then daemon":
            kill_worker(worker)
        if killed != "worker":
            tight.kill9()
    if killed != "worker":
        tight.start()
    assert caller.communicate(timeout=DEADLINE_S) == ("x" * 50000, "")
    job = tight.final(job_id)
    assert (job["state"], job["error"], caller.returncode) == ("succeeded", None, 0)
    assert tight.output(job_id) == "x" * 50000


def test_end_that_has_waited_for_room_in_vain(tight: Daemon) -> None:
    """
    Where nobody holds the pipes any more, the job says that output is missing.
    """
    job_id = tight.mcli(*last_words(tight, "--detach")).stdout.strip()
    go = begun(tight)
    worker = tight.job(job_id)["worker_pid"]
    with full(tight):
        say_last_words(tight, job_id, go)
        kill_worker(worker)
        tight.kill9()
    tight.start()
    job = tight.final(job_id)
    assert (job["state"], job["exit_code"]) == ("succeeded", 0)
    assert "what it printed last may be missing" in job["error"]


def last_words(daemon: Daemon, *options: str) -> tuple[str, ...]:
    """Of ``mcli``: a program that prints 50000 bytes and ends, when it is told to."""
    os.mkfifo(daemon.cwd / "go")
    return ("run", *options, "--", "sh", "-c", "read go < go; head -c 50000 /dev/zero | tr '\\0' x")


def begun(daemon: Daemon) -> TextIO:
    """Where to tell it, when it has begun: it waits there."""
    go = (daemon.cwd / "go").open("w")
    daemon.noted()
    return go


def say_last_words(daemon: Daemon, job_id: str, go: TextIO) -> None:
    """Until its end is known, and there was no room for them."""
    with go:
        go.write("\n")
    until(Path(daemon.home.job(job_id), "1.outcome").exists)


def test_terminal_waits_for_room(tight: Daemon, gate: Gate) -> None:
    """
    The same at a terminal, from which nothing can be moved: what was read is not forgotten.
    """
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, PUPPET, "obey", gate.path],
        stdin=slave, stdout=slave, stderr=slave, env=tight.env, cwd=tight.cwd,
    )  # fmt: skip
    os.close(slave)
    inside = gate.arrival()
    text = "".join(f"{number:07}\n" for number in range(4096))
    inside.do("text = ''.join(f'{n:07}\\n' for n in range(4096))")
    with full(tight):
        inside.tell("sys.stdout.write(text); sys.stdout.flush()")
        until(lambda: waits_in_write(inside.pid))
    inside.leave()
    shown = bytearray()
    while not shown.endswith(b"0004095\r\n"):
        shown += os.read(master, 1 << 16)
    process.wait(DEADLINE_S)
    os.close(master)
    assert tight.output(inside.job_id) == text


def test_begin_on_a_full_disk(tight: Daemon, gate: Gate) -> None:
    """
    A job that was given to its worker just when the disk became full waits for room, and is not
    given a process before its directory says what it is.
    """
    armed = {"MCLI_FAILPOINT": "ordered:stop", "PYTHONCASE": "a worker of its own"}
    caller = tight.begin_puppet("obey", gate.path, env=armed)
    worker = tight.halted()
    with full(tight):
        os.kill(worker, signal.SIGCONT)
        until(lambda: "No space left" in tight.mcli("daemon", "status", "--json").stdout)
        (job_id,) = os.listdir(tight.home.jobs)
        assert not {"1.start", "job.json"} & set(os.listdir(tight.home.job(job_id)))
    inside = gate.arrival()
    inside.leave()
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0
    assert len(tight.starts()) == 1


@pytest.mark.parametrize("store", ["full", "locked"])
def test_end_of_what_ran_here(tight: Daemon, gate: Gate, store: str) -> None:
    """
    How a job ended that its caller has run itself is known in the end, though the store cannot be
    written then.
    """
    tight.kill9()
    tight.start(MCLI_FAILPOINT="pre-commit:kill")
    caller = tight.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    assert inside.pid == caller.pid
    with full(tight) if store == "full" else locked(tight):
        inside.tell("sys.exit(7)")
        caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 7
    tight.start()
    job = tight.final(tight.job()["id"])
    told = [job[name] for name in ("route", "state", "reason", "exit_code")]
    assert told == ["local", "failed", "exit_nonzero", 7]
    assert tight.drafts() == []


@contextmanager
def locked(daemon: Daemon) -> Iterator[None]:
    """Somebody writes to the store, until this is left."""
    with closing(sqlite3.connect(daemon.home.database, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        yield


def test_program_that_there_is_no_room_to_begin(tight: Daemon) -> None:
    """Any program waits, too: its process ends without having begun, which is not its end."""
    armed = {"MCLI_FAILPOINT": "received:stop", "PYTHONCASE": "a worker of programs"}
    words = ["run", "--detach", "--", "sh", "-c", "echo ran"]
    job_id = tight.mcli(*words, env=armed).stdout.strip()
    process = tight.halted()
    log = Path(tight.home.log)
    before = log.read_text().count("job.waits")
    with log.open("ab") as file:  # for some lines there is room in the page that it has begun
        file.write(b"\n" * (1 + -log.stat().st_size % mmap.PAGESIZE))
    with full(tight):
        os.kill(process, signal.SIGCONT)
        until(lambda: log.read_text().count("job.waits") > before)
    until(lambda: tight.let_on() or tight.job(job_id)["state"] == "succeeded")
    assert tight.output(job_id) == "ran\n"


def test_cancel_of_what_waits_for_room_to_begin(tight: Daemon, gate: Gate) -> None:
    """It is cancelled while the disk is full, in the room that is held for the ends of jobs."""
    armed = {"MCLI_FAILPOINT": "ordered:stop", "PYTHONCASE": "another worker of its own"}
    job_id = tight.submit("obey", gate.path, env=armed)
    worker = tight.halted()
    with full(tight):
        os.kill(worker, signal.SIGCONT)
        until(lambda: "No space left" in tight.mcli("daemon", "status", "--json").stdout)
        tight.mcli("cancel", job_id)
        assert tight.final(job_id)["state"] == "cancelled"
    assert tight.starts() == []


def test_timeout_on_a_full_disk(tight: Daemon, gate: Gate) -> None:
    """
    A job that waits for room is ended by its timeout all the same.
    """
    job_id = tight.submit("obey", gate.path, env={"MCLI_BACKGROUND_TIMEOUT": "4"})
    inside = gate.arrival()
    with full(tight):
        inside.tell(f"sys.stdout.write('x' * {LARGE})")
        until(lambda: waits_in_write(inside.pid))
        assert gone(inside.pid)
    job = tight.final(job_id)
    assert (job["state"], job["reason"]) == ("failed", "timeout")


def test_cancel_on_a_full_disk(tight: Daemon, gate: Gate) -> None:
    """
    A signal ends a job that waits for room.
    """
    job_id = tight.submit("obey", gate.path)
    inside = gate.arrival()
    with full(tight), ended(inside.pid):
        inside.tell(f"sys.stdout.write('x' * {LARGE})")
        until(lambda: waits_in_write(inside.pid))
        tight.mcli("kill", "-s", "TERM", job_id)
    assert tight.final(job_id)["signal"] == signal.SIGTERM


# More than is kept --------------------------------------------------------------------------


def test_more_output_than_is_kept(shared: Daemon, gate: Gate) -> None:
    """
    A caller that keeps up is shown all of it; later the first and the last is there, and every
    reader is told how much is not.
    """
    words = [sys.executable, LIMITED, "terse", gate.path]
    caller = shared.begin(*words)
    inside = gate.arrival()
    shown = []
    for number in range(16):
        inside.do(f"sys.stdout.write('{number:x}' * (1 << 18))")
        assert caller.stdout is not None
        shown.append(caller.stdout.read(1 << 18))
    inside.leave()
    out, err = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, out, err) == (0, "", "")
    assert "".join(shown) == "".join(f"{number:x}" * (1 << 18) for number in range(16))
    kept = shared.mcli("logs", inside.job_id)
    missing = (1 << 22) - len(kept.stdout)
    assert 0.8 * LARGE < len(kept.stdout) < 1.1 * LARGE
    assert (kept.stdout[0], kept.stdout[-1]) == ("0", "f")
    assert kept.stderr == f"mcli: {gap(missing)}\n"
    attached = shared.mcli("attach", inside.job_id)
    assert (attached.stdout, attached.stderr) == (kept.stdout, kept.stderr)
    disk = sum(
        each.stat().st_blocks * 512 for each in Path(shared.home.job(inside.job_id)).iterdir()
    )
    assert disk < 1.2 * LARGE


def test_gap_over_http(shared: Daemon, gate: Gate) -> None:
    """
    Records and events tell of a gap in a record of its own; octets go on behind it.
    """
    job_id = limited(shared, "terse", gate.path)
    inside = gate.arrival()
    inside.do("print('a' * (1 << 20)); print('b' * (1 << 20))")
    inside.leave()
    shared.final(job_id)
    with shared.client() as client:
        for records in (client.output(job_id, stream="stdout"), client.follow(job_id)):
            found = list(records)
            (missing,) = [record for record in found if record.stream is Stream.GAP]
            assert missing.missing + sum(len(record.data) for record in found) == 2 * (LARGE + 1)
            assert missing.next_offset > missing.offset
    assert len(Job(job_id, home=shared.home).output()) == 2 * (LARGE + 1) - missing.missing


def test_cap_without_a_worker(shared: Daemon, gate: Gate) -> None:
    """
    Who carries on for a dead worker keeps to the limit too.
    """
    job_id = limited(shared, "terse", gate.path)
    inside = gate.arrival()
    inside.do("sys.stdout.write('a' * (1 << 20))")
    kill_worker(inside.ppid)
    inside.do("sys.stdout.write('b' * (1 << 22))")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    assert os.stat(f"{shared.home.job(job_id)}/output.log").st_blocks * 512 < 2 * LARGE


# Whatever it is -----------------------------------------------------------------------------


def test_every_byte_comes_through(shared: Daemon, gate: Gate) -> None:
    """
    Megabytes of anything, NULs and carriage returns and what is no text, arrive as they were
    printed: at the caller, in the log, over HTTP.
    """
    words = [sys.executable, PUPPET, "obey", gate.path]
    caller = subprocess.Popen(words, env=shared.env, cwd=shared.cwd, stdout=subprocess.PIPE)
    inside = gate.arrival()
    inside.tell("import random; data = random.Random(7).randbytes(4 << 20)")
    inside.do("sys.stdout.buffer.write(data); sys.stdout.buffer.flush()")
    inside.leave()
    data = random.Random(7).randbytes(4 << 20)
    out, _ = caller.communicate(timeout=DEADLINE_S)
    assert out == data
    words = [sys.executable, "-m", "mcli", "logs", inside.job_id]
    assert subprocess.run(words, env=shared.env, check=True, capture_output=True).stdout == data


def test_both_streams_full_with_nobody_there(shared: Daemon, gate: Gate) -> None:
    """
    A job that prints much to both streams is never kept waiting for a reader.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.do("[print('x' * 65535, file=f) for _ in range(160) for f in (sys.stdout, sys.stderr)]")
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    with shared.client() as client:
        for stream in ("stdout", "stderr"):
            size = sum(len(each.data) for each in client.output(job_id, stream=stream))
            assert size == 160 << 16


def test_lines_before_a_kill_are_there(shared: Daemon, gate: Gate) -> None:
    """
    What a job has flushed is kept, whatever kills it next.
    """
    job_id = shared.submit("obey", gate.path)
    inside = gate.arrival()
    inside.tell("[print(n, flush=True) for n in range(1000)]; os.kill(os.getpid(), 9)")
    assert shared.final(job_id)["signal"] == signal.SIGKILL
    assert shared.output(job_id) == "".join(f"{number}\n" for number in range(1000))


def test_log_removed_while_it_is_written(shared: Daemon, gate: Gate) -> None:
    """
    A job whose log is deleted runs on; its caller misses nothing of what follows it can have,
    and is told how much was taken away.
    """
    caller = shared.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before')")
    assert lines(caller, 1) == ["before\n"]
    os.unlink(f"{shared.home.job(inside.job_id)}/output.log")
    inside.do("print('after')")
    inside.leave()
    _, err = caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == 0
    assert "somebody has removed" in err
    job = shared.job(inside.job_id)
    assert job["state"] == "succeeded"
    assert "bytes of its output while it ran" in job["error"]


def test_log_truncated_while_it_is_read(shared: Daemon, gate: Gate) -> None:
    """
    A job whose log is truncated runs on, and so does its caller; who reads later is told.
    """
    caller = shared.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    inside.do("print('before')")
    assert lines(caller, 1) == ["before\n"]
    os.truncate(f"{shared.home.job(inside.job_id)}/output.log", 0)
    inside.do("print('after')")
    inside.leave()
    out, err = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, out, err) == (0, "after\n", "")
    later = shared.mcli("logs", inside.job_id)
    assert later.stdout == "after\n"
    assert later.stderr == f"mcli: {gap(HEAD.size + len('before') + 1)}\n"


def test_readers_that_do_not_read(shared: Daemon, gate: Gate) -> None:
    """
    Twenty readers that stand still cost the daemon little memory, the job nothing, and one that
    reads gets all of it.
    """
    caller = shared.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    stalled = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for each in stalled:
        each.connect(shared.home.attach_socket)
        asked = {"protocol": PROTOCOL, "id": inside.job_id, "offset": 0}
        each.sendall(frames.encode(frames.ATTACH, asked))
        assert each.recv(1)
    before = peak(shared.pid)
    inside.tell("[sys.stdout.write('x' * (1 << 20)) for _ in range(48)]")
    assert caller.stdout is not None
    left = 48 << 20
    while left:
        left -= len(caller.stdout.read(min(left, 1 << 20)))
    inside.leave()
    assert caller.wait(DEADLINE_S) == 0
    assert shared.job(inside.job_id)["state"] == "succeeded"
    assert peak(shared.pid) - before < 50 << 20
    for each in stalled:
        each.close()


@pytest.mark.parametrize("worker", ["lives", "dead"])
def test_memory_stays_flat(shared: Daemon, gate: Gate, worker: str) -> None:
    """
    Whoever reads 128 MiB without a line's end keeps little of it in memory: the worker, or the
    daemon when that is dead.
    """
    job_id = limited(shared, "terse", gate.path)
    inside = gate.arrival()
    reader = inside.ppid
    if worker == "dead":
        kill_worker(reader)
        reader = shared.pid
        inside.do(f"sys.stdout.write('x' * {LARGE})")  # more than a pipe holds: it reads
    before = {pid: forget_peak(pid) for pid in (shared.pid, reader)}
    inside.do(f"[sys.stdout.write('x' * {LARGE}) for _ in range(128)]")
    grown = [peak(pid) - was for pid, was in before.items()]
    assert max(grown) < 32 << 20, grown
    inside.leave()
    assert shared.final(job_id)["state"] == "succeeded"
    assert gone_from(shared, job_id) > 100 << 20


def gone_from(daemon: Daemon, job_id: str) -> int:
    """How many bytes were printed and are not in the log of the job."""
    with daemon.client() as client:
        return sum(each.missing for each in client.output(job_id) if each.stream is Stream.GAP)


def forget_peak(pid: int) -> int:
    """The most memory that the process ever had is what it has now, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    """The most memory that the process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("worker", ["lives", "dead", "killed"])
def test_what_was_printed_when_its_reader_went(shared: Daemon, gate: Gate, worker: str) -> None:
    """
    Who reads a caller's output goes: what the job had printed by then is kept.
    """
    caller = shared.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    if worker == "dead":
        kill_worker(inside.ppid)
    reader = shared.pid if worker == "dead" else inside.ppid
    halt(caller.pid)
    inside.do("print('seen', flush=True)")
    until(lambda: shared.output(inside.job_id) == "seen\n")
    assert caller.stdout is not None
    caller.stdout.close()
    halt(reader)
    os.kill(caller.pid, signal.SIGCONT)  # it shows that, nobody is there, and it says so
    for _ in range(0 if worker == "dead" else 3):
        shared.job(inside.job_id)  # before this is answered the daemon has passed it on
    inside.do("print('unseen', flush=True)")
    if worker == "killed":
        kill_worker(reader)
    else:
        os.kill(reader, signal.SIGCONT)
    inside.leave()
    shared.final(inside.job_id)
    assert shared.output(inside.job_id) == "seen\nunseen\n"


@contextmanager
def unread_on_a_full_disk(
    tight: Daemon, caller: "subprocess.Popen[str]", inside: Inside
) -> Iterator[None]:
    """The job has printed what there is no room for, and is told that its reader has gone."""
    halt(caller.pid)
    inside.do("print('seen', flush=True)")
    until(lambda: tight.output(inside.job_id) == "seen\n")
    assert caller.stdout is not None
    caller.stdout.close()
    with full(tight):
        inside.do("sys.stdout.write('x' * 50000); sys.stdout.flush()")
        os.kill(caller.pid, signal.SIGCONT)
        inside.do("import select; told = select.poll(); told.register(1, 0); told.poll()")
        yield


def test_what_nobody_had_when_daemon_and_worker_were_killed(tight: Daemon, gate: Gate) -> None:
    """
    What a job had printed on a full disk when its caller's reader went, and its worker and daemon
    were killed, is nowhere any more: its job says so.
    """
    caller = tight.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    with unread_on_a_full_disk(tight, caller, inside):
        halt(inside.ppid)
        with ended(inside.pid):
            inside.leave()
        with ended(inside.ppid):
            os.kill(inside.ppid, signal.SIGKILL)
            tight.kill9()
    job = tight.start().final(inside.job_id)
    assert (job["state"], job["error"]) == ("succeeded", UNSTORED)


@pytest.mark.parametrize("worker", ["lives", "dead", "killed"])
def test_what_there_was_no_room_for_when_its_reader_went(
    tight: Daemon, gate: Gate, worker: str
) -> None:
    """
    The same on a full disk: the job is told that nobody reads, and what it had printed is kept.
    """
    caller = tight.begin_puppet("obey", gate.path)
    inside = gate.arrival()
    if worker == "dead":
        kill_worker(inside.ppid)
    with unread_on_a_full_disk(tight, caller, inside):
        if worker == "killed":
            kill_worker(inside.ppid)
    inside.leave()
    job = tight.final(inside.job_id)
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert tight.output(inside.job_id) == "seen\n" + "x" * 50000
