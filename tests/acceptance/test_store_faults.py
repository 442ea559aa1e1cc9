"""
What a store that is locked, damaged, full, failing or old does to jobs: nothing that is not said.

Each test makes the fault itself: another process that writes, pages turned over, a file system
without room, system calls that fail, the copy of yesterday.
"""

import ctypes
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from mcli.daemon.patience import AGAIN_S
from mcli.ticket import lock_holder

from .daemon import DEADLINE_S, PUPPET, Daemon, Gate, ended, gone, until
from .ledger import at_rest

STUBBORN = str(Path(PUPPET).with_name("stubborn.py"))


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locked\n"
        yield
    finally:
        holder.communicate()


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def injected(pid: int, fault: str) -> Iterator[None]:
    """System calls of a process fail meanwhile, as ``strace -e inject`` has it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    call = fault.partition(":")[0]
    words = ["strace", "-f", "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={fault}"]
    with subprocess.Popen([*words, "-o", os.devnull], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
        if "attached" not in told:
            pytest.skip(f"strace may not trace here: {told.strip()}")
        try:
            yield
        finally:
            tracer.terminate()


def ask(daemon: Daemon, method: str, path: str, json: object = None) -> requests.Response:
    """A request as any HTTP client makes it."""
    url = daemon.mcli("daemon", "status", "--json").stdout
    address = re.search(r'"address": "([^"]+)"', url)
    assert address is not None
    headers = {"Authorization": f"Bearer {Path(daemon.home.token).read_text().strip()}"}
    return requests.request(
        method, address[1] + path, headers=headers, timeout=DEADLINE_S, json=json
    )


def begun(daemon: Daemon) -> list[str]:
    """The job of each body that has begun; ``here`` for one in its caller's process."""
    return [start[0] for start in daemon.starts()]


def said(daemon: Daemon, words: str) -> bool:
    """Whether the log has a line with these words."""
    return words in Path(daemon.home.log).read_text()


# Locked -------------------------------------------------------------------------------------


def test_locked_store_takes_no_job(stopped: Daemon) -> None:
    """
    S1: while another process writes, a job is surely not accepted: a caller runs its body here,
    with one line that says why, a request is told ``accepted: false``. Nothing of it comes later.
    """
    daemon = stopped.start(f"--app={PUPPET}")
    job = {"app": "puppet", "command": "tell"}
    with locked(daemon.home.database):
        caller = daemon.begin_puppet("tell")
        answer = ask(daemon, "POST", "/v1/jobs", json=job)
        out, err = caller.communicate(timeout=DEADLINE_S)
    assert (answer.status_code, answer.json()["accepted"]) == (503, False)
    assert "locked" in answer.json()["detail"]
    assert (caller.returncode, out) == (0, "job None None\n")
    told = [line for line in err.splitlines() if line.startswith("mcli: ")]
    assert len(told) == 1
    assert told[0].endswith("database is locked; running here")
    assert begun(daemon) == ["here"]
    after = daemon.puppet("tell").stdout.split()[1]
    assert [job["id"] for job in daemon.jobs()] == [after]
    assert begun(daemon) == ["here", after]


def test_end_that_is_told_twice_while_the_store_is_locked(daemon: Daemon, gate: Gate) -> None:
    """
    S1: a worker tells that an attempt has failed, the store cannot be written, and the worker dies,
    so that the daemon finds out once more: the end of the first attempt is not that of the second.
    """
    words = [sys.executable, STUBBORN, "again", gate.path, "--detach"]
    job_id = daemon.run(*words).stdout.strip()
    first = gate.arrival()
    with locked(daemon.home.database):
        first.tell("sys.exit(3)")
        until(lambda: said(daemon, "job.unwritten"))
    os.kill(first.ppid, signal.SIGKILL)
    second = gate.arrival()
    with daemon.client() as client:  # as long as what waits for the store might still come
        assert client.wait(job_id, 2 * AGAIN_S)["state"] == "running"
    second.leave()
    job = daemon.final(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)


def test_time_that_comes_while_the_store_is_locked(daemon: Daemon) -> None:
    """
    S1: a job that is to be tried again waits for the store, and is tried then.
    """
    words = ["--retries", "1", "--retry-delay", "1s", "--", "sh", "-c", "exit 3"]
    job_id = daemon.mcli("run", "--detach", *words).stdout.strip()
    until(lambda: daemon.job(job_id)["state"] == "scheduled")
    with locked(daemon.home.database):
        until(lambda: said(daemon, "job.waits cannot use the store"))
    job = daemon.final(job_id)
    assert (job["state"], job["exit_code"], job["attempt"]) == ("failed", 3, 2)
    assert not said(daemon, "task.failed")


# Damaged, or lost ---------------------------------------------------------------------------


def turn_pages(database: str) -> None:
    """Everything after the first page is something else now."""
    size = os.path.getsize(database)
    with open(database, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


def rebuilt(daemon: Daemon, jobs: str, *, unknown: str = "") -> str:
    """What is told at the start, by ``mcli doctor`` and by ``mcli daemon status``."""
    return (
        f"the store did not know of {jobs} that {daemon.home.jobs} tells of, and has them again"
        f"{unknown}; what had not begun is not known any more"
    )


def without_log(daemon: Daemon) -> str:
    """All of the store in its one file; the daemon is dead."""
    with closing(sqlite3.connect(daemon.home.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    return daemon.home.database


@pytest.mark.parametrize("damage", [turn_pages, os.unlink])
def test_damaged_store(daemon: Daemon, gate: Gate, damage: Callable[[str], None]) -> None:
    """
    S2: a damaged store is refused and moved aside; the next start says so, and lists the jobs
    from their directories: one that ended as it ended, one that runs until it ends, one that
    has vanished as lost. Nothing is begun again. A store that is gone is no new one either.
    """
    done = daemon.submit("leave", "7")
    daemon.final(done)
    running, vanished = daemon.submit("obey", gate.path), daemon.submit("obey", gate.path)
    inside = {each.job_id: each for each in (gate.arrival(), gate.arrival())}
    before = daemon.job(done)
    pid = daemon.pid
    with ended(pid), ended(inside[vanished].ppid):
        os.kill(inside[vanished].ppid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    with ended(inside[vanished].pid):
        os.kill(inside[vanished].pid, signal.SIGKILL)
    damage(without_log(daemon))
    if damage is not os.unlink:
        refused = daemon.mcli("daemon", "start", "--port", "0", code=125).stderr
        assert "damaged" in refused
        assert "mcli.db.corrupt-" in refused
    missing = f"{daemon.home.database} is gone, although there are jobs; the next start makes a new"
    assert missing in daemon.mcli("doctor", code=1).stdout
    told = daemon.mcli("daemon", "start", "--port", "0").stderr
    assert told == f"mcli: {rebuilt(daemon, '3 jobs')}\n"
    assert said(daemon, "store.rebuilt jobs=3 unknown=0")
    for verb in (("doctor",), ("daemon", "status")):
        assert f"{rebuilt(daemon, '3 jobs')} (" in daemon.mcli(*verb).stdout
    jobs = {job["id"]: job for job in daemon.jobs()}
    assert set(jobs) == {done, running, vanished}
    same = ("name", "app", "command", "argv", "cwd", "created_at", "state", "exit_code", "attempt")
    assert {key: jobs[done][key] for key in same} == {key: before[key] for key in same}
    assert jobs[vanished]["state"] == "lost"
    inside[running].leave()
    assert daemon.final(running)["state"] == "succeeded"
    assert sorted(begun(daemon)) == sorted([done, running, vanished])
    assert "not kept" in daemon.mcli("rerun", running, code=None).stderr


def test_directory_that_tells_nothing(daemon: Daemon) -> None:
    """
    S2: of a job whose directory does not say what it was, the output stays, and that is said.
    """
    job_id = daemon.submit("tell")
    daemon.final(job_id)
    daemon.stop()
    folder = Path(daemon.home.job(job_id))
    (folder / "job.json").write_text("{")
    os.unlink(daemon.home.database)
    left = "; of 1 job only the output is left there"
    told = daemon.mcli("daemon", "start", "--port", "0").stderr
    assert told == f"mcli: {rebuilt(daemon, '0 jobs', unknown=left)}\n"
    assert said(daemon, "store.rebuilt jobs=0 unknown=1")
    assert daemon.jobs() == []
    assert (folder / "output.log").stat().st_size > 0


def test_card_holds_no_secret(daemon: Daemon) -> None:
    """
    S2: what a job's directory tells of it is for its owner only, and has no secret in it.
    """
    told = daemon.puppet("tell", "--", "--password=hunter2", env={"MCLI_DETACH": "1"})
    job_id = told.stdout.strip()
    daemon.final(job_id)
    card = Path(daemon.home.job(job_id)) / "job.json"
    assert card.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in card.read_text()


# An old copy --------------------------------------------------------------------------------


def copied(database: str) -> Path:
    """A backup as SQLite makes it, while the daemon runs."""
    copy = Path(database).with_name("yesterday")
    with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(copy)) as then:
        now.backup(then)
    return copy


def restored(daemon: Daemon, copy: Path) -> None:
    """The backup is put in the place of the store of a daemon that is dead."""
    for part in ("-wal", "-shm"):
        Path(daemon.home.database + part).unlink(missing_ok=True)
    shutil.move(copy, daemon.home.database)


def test_restored_backup(stopped: Daemon, gate: Gate) -> None:
    """
    S11: with an old copy of the store, jobs that have begun since are not begun again: neither
    one that was queued then and runs now, nor one that has ended; one that the copy does not
    know is listed from its directory, and runs on. What had not begun is not known any more.
    """
    daemon = stopped.start(MCLI_WORKERS="2")
    old = [daemon.submit("obey", gate.path) for _ in range(2)]
    before = [gate.arrival(), gate.arrival()]
    ends, runs = daemon.submit("leave", "7"), daemon.submit("obey", gate.path)
    copy = copied(daemon.home.database)
    before[0].leave()
    inside = [gate.arrival()]
    assert daemon.final(ends)["exit_code"] == 7
    before[1].leave()
    since = daemon.submit("obey", gate.path)
    inside.append(gate.arrival())
    waits = daemon.submit("tell")
    daemon.kill9()
    restored(daemon, copy)
    daemon.start(MCLI_WORKERS="2")
    assert [daemon.final(job_id)["state"] for job_id in old] == ["succeeded", "succeeded"]
    assert daemon.final(ends)["exit_code"] == 7
    for each in inside:
        each.leave()
    assert [daemon.final(job_id)["state"] for job_id in (runs, since)] == ["succeeded"] * 2
    assert sorted(begun(daemon)) == sorted([*old, ends, runs, since])
    assert waits not in {job["id"] for job in daemon.jobs()}
    assert said(daemon, "store.rebuilt jobs=1 unknown=0")
    assert said(daemon, f"job.overtaken job_id={runs}")


def test_restored_backup_and_a_worker_that_came_before(stopped: Daemon, gate: Gate) -> None:
    """
    S11: a job that waited in the copy is found to have begun when its worker is here already:
    that one is told what is asked of the job.
    """
    daemon = stopped.start(MCLI_WORKERS="2")
    ids = [daemon.submit("obey", gate.path) for _ in range(2)]
    first, second = gate.arrival(), gate.arrival()
    waits = daemon.submit("obey", gate.path)
    copy = copied(daemon.home.database)
    first.leave()
    third = gate.arrival()
    daemon.kill9()
    restored(daemon, copy)
    daemon.start(MCLI_WORKERS="1")
    until(lambda: said(daemon, "jobs=2"))
    second.leave()
    until(lambda: said(daemon, f"job.overtaken job_id={waits}"))
    with ended(third.pid):
        daemon.mcli("cancel", waits)
    assert daemon.final(waits)["state"] == "cancelled"
    assert [daemon.final(job_id)["state"] for job_id in ids] == ["succeeded"] * 2
    assert sorted(begun(daemon)) == sorted([*ids, waits])


# A full disk --------------------------------------------------------------------------------


@pytest.fixture
def small(stopped: Daemon) -> Iterator[Daemon]:
    """A daemon that is not started yet, with its state directory on a disk of 64 MiB."""
    root = stopped.home.root
    os.makedirs(root, mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "none", root],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield stopped
    stopped.close()
    at_rest(stopped)
    subprocess.run(["umount", root], check=True)


def fill(folder: str) -> Path:
    """A file of all the room that there is."""
    path = Path(folder) / "filler"
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    return path


def test_full_disk(small: Daemon, gate: Gate) -> None:
    """
    S4: on a full disk no job is accepted: a caller runs its body here, with one line that says
    why, a request is told 507 and ``accepted: false``. A job that runs ends as it ends: the
    room that was held for that is given away, and held again when there is some.
    """
    daemon = small.start(f"--app={PUPPET}")
    ballast = Path(daemon.home.ballast)
    assert ballast.stat().st_blocks * 512 >= 8 << 20
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.until_its_log_is_empty()  # there would be room in it
    filler = fill(daemon.home.root)
    answers = [ask(daemon, "POST", "/v1/jobs", json={"app": "puppet", "command": "tell"})]
    caller = daemon.puppet("tell")
    inside.leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert not ballast.exists()
    answers.append(ask(daemon, "POST", "/v1/jobs", json={"app": "puppet", "command": "tell"}))
    for answer in answers:
        assert (answer.status_code, answer.json()["accepted"]) == (507, False)
    assert caller.stdout == "job None None\n"
    assert re.search(r"^mcli: .*full; running here$", caller.stderr, re.MULTILINE)
    filler.unlink()
    after = daemon.puppet("tell").stdout.split()[1]
    assert ballast.exists()
    assert begun(daemon) == [job_id, "here", after]


def test_start_on_a_full_disk(small: Daemon, gate: Gate) -> None:
    """
    S4: a daemon that is started on a full disk ends the jobs that have ended meanwhile.
    """
    daemon = small.start()
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    daemon.kill9()
    with ended(inside.pid):
        inside.tell("sys.exit(7)")
    without_log(daemon)  # which has room in it
    fill(daemon.home.root)
    assert daemon.start().final(job_id)["exit_code"] == 7


# A disk that cannot be written --------------------------------------------------------------


def test_read_only_file_system(small: Daemon) -> None:
    """
    S3: on a file system that cannot be written, no daemon starts: that is said, with what would
    be right, and a command runs in its caller's process. Nothing is lost by it.
    """
    root = small.home.root
    job_id = small.start().submit("tell")
    small.final(job_id)
    small.stop()
    assert small.alone()
    assert all(map(gone, holders(root)))  # who ends has no memory any more, and the log still open
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    try:
        told = small.mcli("daemon", "start", "--port", "0", code=125).stderr
        caller = small.puppet("tell")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", root], check=True)
    assert told == (
        f"mcli: the state directory {root} is on a read-only file system; "
        "set MCLI_HOME to a directory that you can write to\n"
    )
    assert (caller.stdout, caller.stderr) == ("job None None\n", "aside\n")
    assert [job["id"] for job in small.start().jobs()] == [job_id]


def holders(folder: str) -> set[int]:
    """Processes that have a file open below *folder*."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link).startswith(f"{folder}/"):
                found.add(int(link.parts[2]))
    return found


def not_told(daemon: Daemon) -> str:
    """What a caller says that runs its body as the daemon's disk fails; its job is the newest."""
    (job_id,) = (job["id"] for job in daemon.jobs() if job["route"] == "local")
    return (
        f"mcli: the daemon cannot tell whether job {job_id} was accepted (cannot use the store "
        f"{daemon.home.database}: disk I/O error); see: mcli inspect {job_id}; running here\n"
    )


def test_store_that_turns_read_only(daemon: Daemon) -> None:
    """
    S3: a store that the daemon cannot write any more takes no job: a caller, who can, takes it
    there and runs its body here. What is known can still be asked.
    """
    with injected(daemon.pid, "pwrite64:error=EROFS"):
        answer = ask(daemon, "GET", "/v1/jobs")
        caller = daemon.puppet("tell")
    assert (answer.status_code, answer.json()) == (200, [])
    assert (caller.stdout, caller.stderr) == ("job None None\n", not_told(daemon) + "aside\n")
    after = daemon.puppet("tell").stdout.split()[1]
    assert begun(daemon) == ["here", after]


# Who has it open ----------------------------------------------------------------------------


def opened(pid: int, database: str) -> list[tuple[str, int]]:
    """What a process has open of the store, and how."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            name = os.readlink(fd)
            if name.startswith(database):
                info = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
                flags = int(info.partition("flags:")[2].split()[0], 8)
                found.append((name.removeprefix(database), flags & os.O_ACCMODE))
    return found


def test_one_process_writes_by_one_handle(shared: Daemon, gate: Gate) -> None:
    """
    S9, S10: the daemon has the database open for writing once, and maps only its index; no
    worker and no job has any of its files.
    """
    database = shared.home.database
    shared.submit("obey", gate.path)
    inside = gate.arrival()
    shared.jobs()
    assert opened(shared.pid, database).count(("", os.O_RDWR)) == 1
    maps = {line.split()[-1] for line in Path(f"/proc/{shared.pid}/maps").read_text().splitlines()}
    assert {name for name in maps if name.startswith(database)} <= {f"{database}-shm"}
    others = set(shared.processes()) - {shared.pid}
    assert {inside.pid, inside.ppid} <= others
    assert {pid: opened(pid, database) for pid in others} == {pid: [] for pid in others}


# A failing disk -----------------------------------------------------------------------------


def test_disk_that_fails(stopped: Daemon, gate: Gate) -> None:
    """
    S5: while the disk fails, nothing is acknowledged, and nobody is told that it surely was not
    accepted: a caller takes the job in the store and runs it here. What has run ends when the
    disk works again, on another connection, after a look through the store.
    """
    daemon = stopped.start(f"--app={PUPPET}")
    job_id = daemon.submit("obey", gate.path)
    inside = gate.arrival()
    with injected(daemon.pid, "fdatasync:error=EIO"):
        answer = ask(daemon, "POST", "/v1/jobs", json={"app": "puppet", "command": "tell"})
        caller = daemon.puppet("tell")
        inside.leave()
        while not said(daemon, f"job.unwritten job_id={job_id}"):
            assert daemon.job(job_id)["state"] == "running"
    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    assert "accepted" not in answer.json()
    assert "Retry-After" not in answer.headers
    assert (caller.stdout, caller.stderr) == ("job None None\n", not_told(daemon) + "aside\n")
    assert daemon.final(job_id)["state"] == "succeeded"
    assert begun(daemon) == [job_id, "here"]
    daemon.stop()
    with closing(sqlite3.connect(daemon.home.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_ticket_on_a_disk_that_fails(daemon: Daemon, gate: Gate) -> None:
    """
    S5: a job whose worker was killed before it began is put back when the disk works again.
    """
    job_id = daemon.submit("obey", gate.path, env={"MCLI_FAILPOINT": "ordered:stop"})
    worker = daemon.halted()
    with injected(daemon.pid, "fsync:error=EIO"), ended(worker):
        os.kill(worker, signal.SIGKILL)
        until(lambda: said(daemon, "job.waits"))
        until(lambda: os.listdir(daemon.home.job(job_id)) == [])
    worker = daemon.halted()
    os.kill(worker, signal.SIGCONT)
    gate.arrival().leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert begun(daemon) == [job_id]


def test_card_on_a_disk_that_fails(daemon: Daemon, gate: Gate) -> None:
    """
    S5: a job whose directory cannot be written to when it is to begin does so when it can.
    """
    job_id = daemon.submit("obey", gate.path, env={"MCLI_FAILPOINT": "ordered:stop"})
    worker = daemon.halted()
    with injected(worker, "rename:error=EIO"):
        os.kill(worker, signal.SIGCONT)
        until(
            lambda: said(daemon, f"job.returned job_id={job_id} why=cannot start a process: Input")
        )
    gate.arrival().leave()
    assert daemon.final(job_id)["state"] == "succeeded"
    assert begun(daemon) == [job_id]


def test_daemon_killed_on_a_disk_that_fails(daemon: Daemon) -> None:
    """
    S5: what could not be made durable may come to light when the log is read after a crash.
    Whoever ran it here has its id, so that it is not run a second time.
    """
    with injected(daemon.pid, "fdatasync:error=EIO"):
        caller = daemon.puppet("tell")
        daemon.kill9()
    assert caller.stdout == "job None None\n"
    daemon.start()
    (job,) = daemon.jobs()
    assert (job["route"], job["state"]) == ("local", "succeeded")
    assert begun(daemon) == ["here"]


def test_daemon_killed_during_a_commit(daemon: Daemon) -> None:
    """
    D4: killed in the middle of a commit, the daemon has accepted a job or it has not. Its caller
    finds out which, or says that the job is the daemon's: each body runs once.
    """
    daemon.puppet("tell")
    callers = 1
    for fault in ("pwrite64:signal=KILL:when=2", "fdatasync:signal=KILL:when=1"):
        pid = daemon.pid
        with injected(pid, fault):
            while lock_holder(daemon.home.lock) == pid:
                called = daemon.puppet("tell", env={"MCLI_RECONNECT": "0.1"}, code=None)
                assert called.returncode in (0, 75)
                callers += 1
        daemon.start()
        for job in daemon.jobs():
            daemon.final(job["id"])
    assert len(daemon.starts()) == callers
    with_id = [job_id for job_id in begun(daemon) if job_id != "here"]
    assert len(with_id) == len(set(with_id))


# A network file system ----------------------------------------------------------------------

SERVE = """
import os, struct, sys
# A file system of one empty directory: what the kernel asks before it gives up.
fd = int(sys.argv[1])
attributes = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40700, 2, os.getuid(), 0, 0, 512, 0)
while True:
    asked = os.read(fd, 1 << 17)
    _, kind, unique, *_ = struct.unpack_from("<IIQQIIII", asked)
    error, body = -2, b""
    if kind == 26:  # init
        error, body = 0, struct.pack("<4I2H3I", 7, 12, 0, 0, 0, 0, 1 << 16, 0, 0)[:24]
    elif kind == 3:  # getattr
        error, body = 0, struct.pack("<QII", 60, 0, 0) + attributes
    elif kind in (2, 36, 38):  # forget, interrupt, destroy: no answer
        continue
    os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
"""


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Path]:
    """A directory that the kernel calls ``fuse.sshfs``."""
    place = tmp_path / "remote"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no file system can be served here: {error}")
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id=0".encode()
    if libc.mount(b"there", bytes(place), b"fuse.sshfs", 0, options):
        os.close(fd)
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(fd)], pass_fds=[fd])
    os.close(fd)
    yield place
    libc.umount2(bytes(place), 2)
    server.kill()
    server.wait()


def test_network_file_system(stopped: Daemon, remote: Path) -> None:
    """
    S6: no daemon starts with its store on a network file system: the line says what would be
    right, and nothing is put there. A command runs in its caller's process.
    """
    env = {"MCLI_HOME": str(remote / "home")}
    told = stopped.mcli("daemon", "start", "--foreground", "--port", "0", code=125, env=env)
    assert "network file system (fuse.sshfs)" in told.stderr
    assert "MCLI_HOME" in told.stderr
    assert stopped.puppet("tell", env=env).stdout == "job None None\n"
