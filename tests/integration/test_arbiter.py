"""One job, two that want it: the daemon by accepting it, its caller by taking it."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import pytest

from mcli import queue
from mcli.errors import Conflict, InvalidTransition, OutcomeUnknown
from mcli.ids import new_id
from mcli.job import JobInfo
from mcli.states import Reason, State
from mcli.store.arbiter import close_local, settle, withdraw
from mcli.store.store import Store

WAIT_S = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "mcli.db"))
    yield opened
    opened.close()


def take(store: Store, job_id: str, timeout_s: float = 5.0) -> str:
    return settle(
        store.path,
        job_id,
        name="load \udcff",
        app="app.py",
        argv=["app.py", "\udcfe\x00"],
        cwd="/\udcfd",
        now=3.0,
        timeout_s=timeout_s,
    )


def accept(store: Store, job_id: str) -> JobInfo:
    return store.write(
        queue.submit,
        now=1.0,
        job_id=job_id,
        name="load",
        app="app.py",
        command=None,
        argv=[],
        cwd="/",
        invocation=b"",
        timeout_s=None,
    ).result(WAIT_S)


def test_free_job_runs_here(store: Store) -> None:
    """Nobody has it: it is ours, and stands in the store as such."""
    job_id = new_id()
    assert take(store, job_id) == "here"
    job = store.read(queue.get, job_id)
    assert (job.state, job.route, job.attempt, job.pid) == ("running", "local", 1, os.getpid())
    assert (job.name, job.argv, job.cwd) == ("load \udcff", ["app.py", "\udcfe\x00"], "/\udcfd")
    assert store.read(queue.counts)[State.RUNNING] == 1


def test_late_acceptance_fails(store: Store) -> None:
    """The daemon gets to the request after the caller took the job: refused."""
    job_id = new_id()
    take(store, job_id)
    with pytest.raises(Conflict, match="the process that made it"):
        accept(store, job_id)


def test_accepted_job_is_the_daemons(store: Store) -> None:
    """The answer was lost, not the job."""
    job = accept(store, new_id())
    assert take(store, job.id) == "daemon"
    assert store.read(queue.get, job.id) == job


def test_twin_does_not_run_it(store: Store) -> None:
    """Two processes with one id: the second must not run, and says why."""
    job_id = new_id()
    take(store, job_id)
    with pytest.raises(OutcomeUnknown, match="another process"):
        take(store, job_id)


def test_race_has_one_winner(store: Store) -> None:
    """Both at once, many times: exactly one side has each job."""
    for _ in range(40):
        job_id, start, won = new_id(), Barrier(2), list[str]()

        def caller(job_id: str = job_id, start: Barrier = start, won: list[str] = won) -> None:
            start.wait(WAIT_S)
            won.append(take(store, job_id))

        thread = Thread(target=caller)
        thread.start()
        start.wait(WAIT_S)
        try:
            accept(store, job_id)
            daemon = True
        except Conflict:
            daemon = False
        thread.join(WAIT_S)
        assert won == ["daemon" if daemon else "here"]


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (3, "failed")])
def test_job_that_ran_here_is_closed(store: Store, code: int, state: str) -> None:
    """The caller notes how it ended; a second note changes nothing."""
    job_id = new_id()
    take(store, job_id)
    assert close_local(store.path, job_id, code, 5.0)
    assert close_local(store.path, job_id, 9, 6.0)
    job = store.read(queue.get, job_id)
    assert (job.state, job.exit_code, job.finished_at, job.pid) == (state, code, 5.0, os.getpid())


def test_only_a_job_that_ran_here_is_closed(store: Store) -> None:
    """The daemon's job is not the caller's to end."""
    job = accept(store, new_id())
    close_local(store.path, job.id, 0, 5.0)
    assert store.read(queue.get, job.id) == job


def test_job_that_will_not_run_is_withdrawn(store: Store) -> None:
    """A process that has taken a job, and does not run it, says so; no other job is touched."""
    job_id, other = new_id(), new_id()
    take(store, job_id)
    accept(store, other)
    for each in (job_id, other):
        withdraw(store.path, each, now=5.0)
    job = store.read(queue.get, job_id)
    assert (job.state, job.reason, job.finished_at) == (State.CANCELLED, Reason.CLIENT_GONE, 5.0)
    assert store.read(queue.get, other).state is State.QUEUED


def test_closing_is_best_effort(tmp_path: Path) -> None:
    """Without a database there is nothing to note, and no error."""
    assert not close_local(str(tmp_path / "mcli.db"), new_id(), 0, 5.0)
    assert os.listdir(tmp_path) == []


def test_job_that_runs_here_is_not_the_daemons_to_stop(store: Store) -> None:
    """The request is refused with the process that could be ended instead."""
    job_id = new_id()
    take(store, job_id)
    with pytest.raises(InvalidTransition, match=str(os.getpid())):
        store.write(queue.request_stop, now=4.0, job_id=job_id).result(WAIT_S)


def test_daemon_can_end_a_job_whose_caller_has_gone(store: Store) -> None:
    """Nobody closed it: the daemon may note that it is lost."""
    job_id = new_id()
    take(store, job_id)
    job = store.write(
        queue.finish,
        now=9.0,
        job_id=job_id,
        attempt=1,
        state=State.LOST,
        reason=Reason.CLIENT_GONE,
    ).result(WAIT_S)
    assert (job.state, job.reason) == (State.LOST, Reason.CLIENT_GONE)


def missing(path: str) -> None:
    os.remove(path)


def garbage(path: str) -> None:
    Path(path).write_bytes(b"garbage " * 1000)


def empty(path: str) -> None:
    os.truncate(path, 0)


def other_version(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE jobs RENAME COLUMN cwd TO folder")
    connection.close()


@pytest.mark.parametrize("damage", [missing, garbage, empty, other_version])
def test_unusable_store_means_not_run(store: Store, damage: object) -> None:
    """Whatever is wrong: one line with the id, nothing repaired or created."""
    store.close()
    assert callable(damage)
    damage(store.path)
    before = sorted(os.listdir(os.path.dirname(store.path)))
    job_id = new_id()
    with pytest.raises(OutcomeUnknown) as caught:
        take(store, job_id)
    assert job_id in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(os.path.dirname(store.path))) == before


def test_locked_store_means_not_run(store: Store) -> None:
    """The daemon stands still in the middle of a transaction: no answer, no run."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutcomeUnknown, match="locked"):
        take(store, new_id(), timeout_s=0.01)
    other.close()


def test_read_only_store_means_not_run(store: Store) -> None:
    """It cannot be written to: it is not run."""
    script = (
        "import os, sys; from mcli.store.arbiter import settle; from mcli.errors import *\n"
        "os.setuid(65534) if os.getuid() == 0 else os.chmod(sys.argv[1], 0o400)\n"
        "try: settle(sys.argv[1], sys.argv[2], name='', app='', argv=[], cwd='/', now=1.0)\n"
        "except OutcomeUnknown: print('not run')"
    )
    store.close()
    os.chmod(store.path, 0o444)
    done = subprocess.run(
        [sys.executable, "-c", script, store.path, new_id()], capture_output=True, text=True
    )
    assert done.stdout == "not run\n", done.stderr


def test_kill_after_taking_keeps_it_taken(store: Store) -> None:
    """The caller is killed as soon as it knows that it won: the job stays its own."""
    job_id = new_id()
    script = (
        "import os, sys; from mcli.store.arbiter import settle\n"
        "settle(sys.argv[1], sys.argv[2], name='', app='', argv=[], cwd='/', now=1.0)\n"
        f"os.kill(os.getpid(), {signal.SIGKILL.value})"
    )
    done = subprocess.run([sys.executable, "-c", script, store.path, job_id])
    assert done.returncode == -signal.SIGKILL
    assert store.read(queue.get, job_id).route == "local"


def test_killed_daemon_is_asked_through_its_store(tmp_path: Path) -> None:
    """It accepted a job and died at once: the store knows that job, and gives away another."""
    path, job_id = str(tmp_path / "mcli.db"), new_id()
    script = (
        "import os, sys; from mcli import queue; from mcli.store.store import Store\n"
        "Store.open(sys.argv[1]).write(queue.submit, now=1.0, job_id=sys.argv[2], name='n',\n"
        "    app='a', command=None, argv=[], cwd='/', invocation=b'', timeout_s=None).result()\n"
        f"os.kill(os.getpid(), {signal.SIGKILL.value})"
    )
    done = subprocess.run([sys.executable, "-c", script, path, job_id])
    assert done.returncode == -signal.SIGKILL
    ask = partial(settle, path, name="n", app="n", argv=[], cwd="/", now=2.0)
    assert (ask(job_id), ask(new_id())) == ("daemon", "here")


def test_arbiter_needs_only_the_standard_library() -> None:
    """It runs in the caller's process, which pays for each import."""
    script = (
        "import sys, mcli.store.arbiter\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('sqlalchemy', 'alembic')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"
