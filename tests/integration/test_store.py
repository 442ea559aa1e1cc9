"""The writer, the readers, and what becomes of a file that is no sound database."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, IntegrityError

from mcli import queue
from mcli.errors import StoreError, StoreTooNew, StoreUnreadable
from mcli.ids import new_id
from mcli.job import JobInfo
from mcli.states import State
from mcli.store import database
from mcli.store.store import Store

PROJECT = Path(__file__).parents[2]

WAIT_S = 30.0
"""Longer than anything here takes; only a bug gets there."""

NOTHING_S = 0.3
"""In which nothing is to happen."""

WRITER = """
import sys
from mcli import queue
from mcli.ids import new_id
from mcli.store.store import Store

store = Store.open(sys.argv[1])
while True:
    made = [new_id() for _ in range(5)]
    sent = [store.write(queue.submit, now=1.0, job_id=one, name="n", app="a", command=None,
                        argv=[], cwd="/", invocation=b"", timeout_s=None) for one in made]
    for one, future in zip(made, sent):
        future.result()
        sys.stdout.write(one + "\\n")
        sys.stdout.flush()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mcli.db")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def submit(conn: Connection, job_id: str) -> JobInfo:
    return queue.submit(
        conn,
        now=1.0,
        job_id=job_id,
        name="n",
        app="a",
        command=None,
        argv=[],
        cwd="/",
        invocation=b"",
        timeout_s=None,
    )


def fill(path: str, jobs: int) -> None:
    store = Store.open(path)
    for written in [store.write(submit, new_id()) for _ in range(jobs)]:
        written.result(WAIT_S)
    store.close()


def names(folder: str) -> set[str]:
    return set(os.listdir(os.path.dirname(folder)))


def open_files(path: str) -> list[str]:
    """What this process has open of the database, under whatever name it has now."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(path)]


class Blocked:
    """The writer, held inside a transaction for as long as the block lasts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.entered, self.released = Event(), Event()

    def __enter__(self) -> None:
        self.store.write(self._hold)
        assert self.entered.wait(WAIT_S)

    def __exit__(self, *_: object) -> None:
        self.released.set()

    def _hold(self, _: Connection) -> None:
        self.entered.set()
        assert self.released.wait(WAIT_S)


def test_write_is_there_when_its_future_is_done(store: Store) -> None:
    """What a resolved future promises, any reader sees."""
    job = store.write(submit, new_id()).result(WAIT_S)
    assert store.read(queue.get, job.id) == job


def test_waiting_writes_share_a_commit(store: Store) -> None:
    """What comes in during a commit goes into the next one, all together."""
    with Blocked(store):
        written = [store.write(submit, new_id()) for _ in range(100)]
    for future in written:
        future.result(WAIT_S)
    assert store.commits == 2


def test_failing_write_harms_no_neighbour(store: Store) -> None:
    """One function of a batch fails after it wrote: its writes are undone, the others' stay."""

    def fail(conn: Connection, job_id: str) -> None:
        submit(conn, job_id)
        raise ValueError("changed my mind")

    before, undone, after = new_id(), new_id(), new_id()
    with Blocked(store):
        store.write(submit, before)
        failing = store.write(fail, undone)
        last = store.write(submit, after)
    last.result(WAIT_S)
    with pytest.raises(ValueError, match="changed my mind"):
        failing.result(WAIT_S)
    assert {job.id for job in store.read(queue.page)} == {before, after}


def test_refused_row_harms_no_neighbour(store: Store) -> None:
    """A row that the database refuses fails alone."""
    job = store.write(submit, new_id()).result(WAIT_S)
    bad = store.write(lambda conn: conn.exec_driver_sql("UPDATE jobs SET state = 'lost'"))
    good = store.write(submit, new_id())
    with pytest.raises(IntegrityError):
        bad.result(WAIT_S)
    assert good.result(WAIT_S).state is State.QUEUED
    assert store.read(queue.get, job.id) == job


def test_writes_of_one_thread_keep_their_order(store: Store) -> None:
    """Functions run in the order in which a thread handed them over, across batches."""
    seen: list[int] = []

    def note(_: Connection, number: int) -> None:
        seen.append(number)

    written = [store.write(note, number) for number in range(2000)]
    written[-1].result(WAIT_S)
    assert seen == list(range(2000))


def test_cancelled_write_is_not_made(store: Store) -> None:
    """A write that was cancelled while it waited leaves no trace."""
    with Blocked(store):
        unwanted = store.write(submit, new_id())
        assert unwanted.cancel()
    store.write(lambda _: None).result(WAIT_S)
    with pytest.raises(CancelledError):
        unwanted.result(WAIT_S)
    assert store.read(queue.page) == []


def test_nothing_is_told_when_the_commit_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails fails every future of it; the next one has a new connection."""

    def fail(_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with Blocked(store):
        lost = [store.write(submit, new_id()) for _ in range(3)]
        monkeypatch.setattr(store._writer.dialect, "do_commit", fail)
    for future in lost:
        with pytest.raises(StoreError, match="disk I/O error"):
            future.result(WAIT_S)
    monkeypatch.undo()
    kept = store.write(submit, new_id()).result(WAIT_S)
    assert [job.id for job in store.read(queue.page)] == [kept.id]


def test_full_disk_fails_a_write_and_nothing_else(store: Store) -> None:
    """What does not fit is refused with the store's error; later writes go on."""

    def overflow(conn: Connection) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for _ in range(100):
            submit(conn, new_id())

    full = store.write(overflow)
    with pytest.raises(StoreError, match="full"):
        full.result(WAIT_S)
    store.write(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 9999999").all())
    assert store.write(submit, new_id()).result(WAIT_S)


def test_transaction_that_the_database_ended_fails_as_a_whole(store: Store) -> None:
    """When the database rolls all of it back by itself, nobody of the batch is told otherwise."""

    def give_up(conn: Connection) -> None:
        conn.exec_driver_sql("ROLLBACK")
        raise ValueError

    with Blocked(store):
        first, second = store.write(submit, new_id()), store.write(give_up)
        third = store.write(submit, new_id())
    for future in (first, second, third):
        with pytest.raises(StoreError):
            future.result(WAIT_S)
    assert store.read(queue.page) == []
    assert store.write(submit, new_id()).result(WAIT_S)


def test_locked_store_is_an_error_of_ours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock for longer than we wait: the future says so."""
    store.write(lambda conn: conn.exec_driver_sql("PRAGMA busy_timeout = 1").all()).result(WAIT_S)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.write(submit, new_id()).result(WAIT_S)
    other.close()
    assert store.write(submit, new_id()).result(WAIT_S)


def test_reader_cannot_write(store: Store) -> None:
    """A read that tries to write is refused by the database."""
    with pytest.raises(StoreError, match="readonly"):
        store.read(submit, new_id())


def test_readers_do_not_wait_for_the_writer(store: Store) -> None:
    """While a transaction is open, reads go on, and see what was committed before."""
    job = store.write(submit, new_id()).result(WAIT_S)
    with Blocked(store):
        assert [one.id for one in store.read(queue.page)] == [job.id]


def test_threads_read_at_once(store: Store) -> None:
    """Each thread reads on a connection of its own."""
    seen: list[dict[State, int]] = []
    threads = [Thread(target=lambda: seen.append(store.read(queue.counts))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert seen == [dict.fromkeys(State, 0)] * 20


def test_close_writes_what_waits(path: str) -> None:
    """Closing drains: every future is resolved, and nothing is left beside the database."""
    store = Store.open(path)
    with Blocked(store):
        written = [store.write(submit, new_id()) for _ in range(1200)]
        closing = Thread(target=store.close)
        closing.start()
    closing.join(WAIT_S)
    assert all(future.done() and future.result() for future in written)
    assert names(path) == {"mcli.db"}


def test_close_lets_those_finish_who_read(path: str) -> None:
    """
    In another thread. Else that one, and not the last of the store, would leave the database.
    """
    store = Store.open(path)
    store.write(submit, new_id()).result(WAIT_S)
    reads, over = Event(), Event()

    def close() -> None:
        store.close()
        over.set()

    def read(conn: Connection) -> bool:
        queue.counts(conn)
        reads.set()
        return over.wait(NOTHING_S)

    closing = Thread(target=close)

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(store.read, read)
        assert reads.wait(WAIT_S)
        closing.start()
        assert not reading.result(WAIT_S)
    closing.join(WAIT_S)
    assert names(path) == {"mcli.db"}


def test_closed_store_says_so(path: str) -> None:
    """After the end, twice if need be, reads and writes are refused."""
    store = Store.open(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write(submit, new_id())
    with pytest.raises(StoreError, match="closed"):
        store.read(queue.page)


def test_settings_of_the_connections(store: Store) -> None:
    """The writer waits for the disk and for others; readers cannot write or checkpoint."""

    def ask(conn: Connection) -> list[object]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]

    assert store.write(ask).result(WAIT_S) == ["wal", 2, 1, 2000, 0]
    assert store.read(ask)[-1] == 1


def test_database_is_for_its_owner_only(store: Store) -> None:
    """It may hold secrets: nobody else can read it, nor what SQLite puts beside it."""
    store.write(submit, new_id()).result(WAIT_S)
    folder = os.path.dirname(store.path)
    for name in os.listdir(folder):
        assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600


@pytest.mark.parametrize("acknowledged", [1, 7, 60])
def test_kill_loses_no_acknowledged_job(path: str, acknowledged: int) -> None:
    """kill -9 of the writing process, at any point: what it had told is there, and it is sound."""
    command = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.read().split("\n")[:-1]
    store = Store.open(path)
    kept = {job.id for job in store.read(queue.page, limit=1_000_000)}
    counted = store.read(queue.counts)[State.QUEUED]
    store.close()
    assert kept.issuperset(told)
    assert counted == len(kept)


def test_reader_that_does_not_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S8: a log that somebody's reading keeps from being emptied is said, once, until it ends."""
    monkeypatch.setattr(database, "WAL_KEPT", 1 << 20)
    store.write(submit, new_id()).result(WAIT_S)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchone()
        while store.log_bytes < 2 << 20:
            store.write(write_much).result(WAIT_S)
        reader.execute("COMMIT")
    store.write(submit, new_id()).result(WAIT_S)
    assert [each.getMessage().split()[0] for each in caplog.records] == ["store.log_pinned"]
    while store.log_bytes:  # once nothing is written for a moment, it is emptied
        pass


def write_much(conn: Connection) -> None:
    conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS much (x)")
    conn.exec_driver_sql("INSERT INTO much VALUES (zeroblob(500000))")


STRUCK = """
import os, sys
from mcli import queue
from mcli.ids import new_id
from mcli.store.store import Store

call, spare, path = os.fdatasync, os.open(sys.argv[2], os.O_RDWR | os.O_CREAT), sys.argv[2]
before = {"fdatasync": lambda: os.fdatasync(spare), "pwrite64": lambda: os.pwrite(spare, b".", 0)}
for count in range(int(sys.argv[3])):
    if os.fork() == 0:
        store = Store.open(f"{path}.{count}.db")
        # One less before each: the call that is struck is the next one of the store's thread.
        store.write(lambda conn: [before[sys.argv[1]]() for _ in range(count)]).result()
        while True:
            job_id = new_id()
            store.write(queue.submit, now=1.0, job_id=job_id, name="n", app="a", command=None,
                        argv=[], cwd="/", invocation=b"", timeout_s=None).result()
            with open(f"{path}.{count}.told", "a") as told:
                told.write(job_id + "\\n")
    os.wait()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_kill_at_each_call_of_a_commit(tmp_path: Path, call: str) -> None:
    """D4: whichever write or sync a kill strikes, all that was acknowledged is stored."""
    count = 24
    fill(str(tmp_path / "spare.0.db"), 1)  # made here, where the calls are not counted
    for each in range(1, count):
        shutil.copy(tmp_path / "spare.0.db", tmp_path / f"spare.{each}.db")
    fault = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count + 8}"]
    program = [sys.executable, "-c", STRUCK, call, str(tmp_path / "spare"), str(count)]
    strace = ["strace", "-f", "-o", os.devnull, *fault]
    subprocess.run([*strace, *program], check=True, timeout=60, cwd=PROJECT)
    acknowledged = 0
    for path in tmp_path.glob("*.db"):
        told = path.with_suffix(".told")
        ids = set(told.read_text().split()) if told.exists() else set()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert ids <= {row[0] for row in connection.execute("SELECT id FROM jobs")}
        acknowledged += len(ids)
    assert acknowledged


def test_open_again_finds_the_jobs(path: str) -> None:
    """A store that was closed is opened with what it had, and Alembic stays out of it."""
    fill(path, 3)
    store = Store.open(path)
    assert store.read(queue.counts)[State.QUEUED] == 3
    store.close()


def test_opening_imports_no_alembic(path: str) -> None:
    """Neither a new nor a current database needs Alembic, which is slow to import."""
    code = "import sys; from mcli.store.store import Store\n"
    code += "for _ in 'ab': Store.open(sys.argv[1]).close()\nprint('alembic' in sys.modules)"
    command = [sys.executable, "-c", code, path]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"


def test_damage_found_later_is_an_error_of_ours(store: Store) -> None:
    """A page that turns out to be damaged while in use is reported as the store's failure."""

    def fail(_: Connection) -> None:
        raise DatabaseError("SELECT", {}, sqlite3.DatabaseError("malformed"))

    with pytest.raises(StoreError, match="malformed"):
        store.write(fail).result(WAIT_S)
    with pytest.raises(StoreError, match="malformed"):
        store.read(fail)


def damage_header(path: str) -> None:
    Path(path).write_bytes(b"not a database, " * 1000)


def damage_pages(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def truncate(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path: str) -> None:
    os.truncate(path, 0)
    os.makedirs(os.path.join(os.path.dirname(path), "jobs", new_id()))


def replace(path: str) -> None:
    os.remove(path)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE somebody_elses (x)")
    other.close()


@pytest.mark.parametrize("damage", [damage_header, damage_pages, truncate, empty, replace])
def test_damaged_store_is_moved_aside_loudly(path: str, damage: Any) -> None:
    """It is refused, kept under another name that the message gives; the next start is empty."""
    fill(path, 50)
    damage(path)
    content = Path(path).read_bytes()
    with pytest.raises(StoreUnreadable, match="next start makes a new one") as caught:
        Store.open(path)
    kept = min(name for name in names(path) if name.startswith("mcli.db.corrupt-"))
    assert kept in str(caught.value)
    assert not {"mcli.db", "mcli.db-wal", "mcli.db-shm"} & names(path)
    assert open_files(path) == []
    assert len(Path(path).with_name(kept).read_bytes()) == len(content)
    store = Store.open(path)
    assert store.read(queue.page) == []
    store.close()


def test_log_goes_aside_with_its_database(path: str) -> None:
    """What was committed and not yet in the main file stays with the damaged database."""
    damage_header(path)
    for part in ("-wal", "-shm"):
        Path(path + part).write_bytes(b"x")
    with pytest.raises(StoreUnreadable):
        Store.open(path)
    assert not {"mcli.db", "mcli.db-wal", "mcli.db-shm"} & names(path)


def test_log_of_another_database_is_not_applied(path: str) -> None:
    """A write-ahead log without its database is put aside before a new one is made there."""
    Path(path + "-wal").write_bytes(b"x")
    store = Store.open(path)
    store.close()
    assert any(name.endswith("-wal") and "corrupt" in name for name in names(path))


def test_empty_file_without_jobs_is_a_new_store(path: str) -> None:
    """Nothing was there, so that nothing is lost."""
    Path(path).touch()
    store = Store.open(path)
    assert store.read(queue.page) == []
    store.close()


def test_half_made_store_is_made_anew(path: str) -> None:
    """What a killed first start left behind is in nobody's way."""
    Path(path + ".new").write_bytes(b"half")
    Store.open(path).close()
    assert names(path) == {"mcli.db"}


def test_newer_store_is_refused_by_its_version(path: str) -> None:
    """A revision that this program does not know: named in the message, and nothing is touched."""
    fill(path, 1)
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.close()
    with pytest.raises(StoreTooNew, match="9999"):
        Store.open(path)
    assert names(path) == {"mcli.db"}


def test_missing_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """One line that names the path."""
    with pytest.raises(StoreError, match="No such file"):
        Store.open(str(tmp_path / "nowhere" / "mcli.db"))


def test_odd_path(tmp_path: Path) -> None:
    """A directory with any bytes in its name can hold the store."""
    folder = tmp_path / "a?b#c%d é\udcff"
    folder.mkdir()
    fill(str(folder / "mcli.db"), 1)
    assert os.listdir(folder) == ["mcli.db"]


def test_one_file_is_written_through_one_connection(store: Store) -> None:
    """Readers open the file for reading only."""
    store.read(queue.page)
    with store._readers.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("PRAGMA user_version = 1")
    assert database.BUSY_S == 2.0
