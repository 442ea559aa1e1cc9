"""
A job's life with faults in every order that chance finds.

What decides is real: the queue's verbs and the arbiter on a real database, the ticket and the
outcome as real files, the caller's ``submit`` and the daemon's ``recover`` as they are. Only
processes and wires are made up: they live, die, stand still and lose messages as a rule says.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcli import attach, family, frames, queue, ticket
from mcli.daemon import recovery
from mcli.daemon.verdict import ending_of
from mcli.errors import DaemonNotRunning, MCLIError, OutcomeUnknown
from mcli.home import Home
from mcli.ids import new_id
from mcli.invocation import App, Invocation
from mcli.job import JobInfo
from mcli.outcome import Outcome, read_outcome, write_outcome
from mcli.policy import Policy
from mcli.states import FINAL, Reason, State
from mcli.store import database
from mcli.store.store import Store

MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
FATES: Final = ("reply", "reply lost", "request lost", "late", "refused", "killed", "killed after")
"""
What becomes of one sending. ``late``: it comes when its caller has given up; ``killed``: the
daemon dies before it commits, or after.
"""
RETRIES: Final = 1
INVOCATION: Final = Invocation(
    name="n",
    app=App(kind="script", target="a", python="p"),
    argv=[],
    cwd="/",
    env={},
    policy=Policy(retries=RETRIES, retry_delay_s=0.0),
)
ENDS: Final = {
    "well": Outcome(exit_code=0, returned=True, complete=True),
    "badly": Outcome(exit_code=3, complete=True),
    "killed": Outcome(signal=9),
    "vanished": None,
}
"""What a process leaves; its worker completes that, unless it has vanished with it."""

OBEYED: Final = Outcome(signal=15, reason="user")
BEGUN: Final = (State.RUNNING, State.STOPPING)


class Desk:
    """A store without a thread: each write is a transaction of its own, made at once."""

    def __init__(self, path: str) -> None:
        self._engine = database.writing(path)
        self._connection = self._engine.connect()

    def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(self.read(fn, *args, **kwargs))
        return done

    def read(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._connection.begin():
            return fn(self._connection, *args, **kwargs)

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


@cache
def _template() -> bytes:
    """An empty database."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mcli.db")
        database.prepare(path)
        return Path(path).read_bytes()


class Machine(RuleBasedStateMachine):
    """One state directory, its daemons one after the other, callers and job processes."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Home(tempfile.mkdtemp(prefix="mcli-model-", dir=MEMORY))
        Path(self.home.database).write_bytes(_template())
        self.desk = Desk(self.home.database)
        self.now = 1.0
        self.up = True
        self.fates: list[str] = []
        self.late: list[str] = []
        self.told: dict[str, str] = {}
        """What each caller knows of its job: ``here``, ``daemon``, ``not``, ``unknown``."""

        self.orders: list[tuple[str, int]] = []
        """With a worker, which outlives its daemon, and not forked yet."""

        self.processes: dict[int, tuple[str, int]] = {}
        self.begun: Counter[tuple[str, int]] = Counter()
        """How often each attempt has begun; 0 is the caller's own."""

        self.began: dict[int, bool] = {}
        self.vanished: set[tuple[str, int]] = set()
        self.stops: dict[str, int] = {}
        """By job that was asked to end: the last attempt that it may have begun."""

        self.ended: dict[str, State] = {}
        self.pids = iter(range(100, 10_000_000))
        self.patches: list[Any] = [
            mock.patch.object(ticket, "started_ticks", self._ticks),
            mock.patch.object(recovery, "started_ticks", self._ticks),
            mock.patch.object(family, "traces", return_value=family.Traces({}, {}, set())),
            mock.patch.object(attach, "Wire", self._wire),
            mock.patch.object(attach, "_again", return_value=self),
        ]
        for patch in self.patches:
            patch.start()

    def _ticks(self, pid: int) -> int | None:
        return 1 if pid in self.processes or pid == os.getpid() else None

    # Callers --------------------------------------------------------------------------

    def _wire(self, _home: Home) -> "Machine":
        """A connection; this machine is its other end."""
        if not self.up:
            raise DaemonNotRunning
        return self

    def send(self, _kind: int, asked: dict[str, Any], _fds: object) -> None:
        self.asked = asked

    def answer(self) -> tuple[int, dict[str, Any]]:
        fate, job_id = self.fates.pop(0), self.asked["id"]
        if fate == "refused":
            return frames.REFUSED, {"code": "refused", "message": "stopping"}
        if fate == "late":
            self.late.append(job_id)
        elif fate == "killed":
            self.up = False
        elif fate != "request lost":
            refused = self._accept(job_id)
            self.up = fate != "killed after"
            if fate == "reply" and refused is not None:
                return frames.REFUSED, {"code": "conflict", "message": refused}
            if fate == "reply":
                return frames.ACCEPTED, {"id": job_id}
        raise TimeoutError

    def close(self) -> None:
        """As a wire."""

    def _accept(self, job_id: str) -> str | None:
        try:
            self.desk.write(
                queue.accept, now=self.now, job_id=job_id, name="n", app="a", command=None,
                argv=[], cwd="/", invocation=INVOCATION.body(), timeout_s=None,
            )  # fmt: skip
        except MCLIError as error:
            return str(error)
        return None

    @rule(fates=st.tuples(st.sampled_from(FATES), st.sampled_from(FATES)), locked=st.booleans())
    def submit(self, fates: tuple[str, str], locked: bool) -> None:
        """A caller, from its first word to what it knows in the end."""
        self._call(fates, locked)

    def _call(self, fates: tuple[str, str], locked: bool) -> None:
        self.now += 1
        self.fates = list(fates)
        job_id = new_id()
        invocation = {
            "stdio": ["null", "pipe", "pipe"], "name": "n", "app": {"target": "a"},
            "argv": [], "cwd": "/",
        }  # fmt: skip
        try:
            with self._locked(locked and fates[0] != "reply"):
                wire, _ = attach.submit(
                    invocation, home=self.home, job_id=job_id, detach=True, here=True
                )
        except OutcomeUnknown:
            self.told[job_id] = "unknown"
        except MCLIError:  # refused, or nobody there: it falls back
            self._run_here(job_id)
        else:
            self.told[job_id] = "daemon"
            if wire is None:
                self._run_here(job_id)

    def _run_here(self, job_id: str) -> None:
        self.told[job_id] = "here"
        self.begun[job_id, 0] += 1

    @contextmanager
    def _locked(self, locked: bool) -> Iterator[None]:
        """The store cannot be asked: a daemon that stands still is in a transaction."""
        away = f"{self.home.database}.away"
        gone = mock.patch.object(Home, "database", property(lambda _: away))
        with gone if locked else nullcontext():
            yield

    @precondition(lambda self: self.up and self.late)
    @rule(data=st.data())
    def come_late(self, data: st.DataObject) -> None:
        """A submission comes that its caller has given up."""
        self._accept(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    @precondition(lambda self: self.up)
    @rule(data=st.data(), withdrawn=st.booleans())
    def cancel(self, data: st.DataObject, withdrawn: bool) -> None:
        """Somebody asks for the end of some. An order that nobody has obeyed may be withdrawn."""
        self.now += 1
        remote = [job.id for job in self.desk.read(queue.live) if job.route == "daemon"]
        some = st.lists(st.sampled_from(remote), min_size=1, unique=True)
        for job_id in data.draw(some) if remote else ():
            self._cancel(job_id, withdrawn)

    def _cancel(self, job_id: str, withdrawn: bool) -> None:
        job = self.desk.write(queue.request_stop, now=self.now, job_id=job_id).result()
        self.stops.setdefault(job_id, job.attempt)
        order, folder = (job_id, job.attempt), self.home.job(job_id)
        if withdrawn and order in self.orders and ticket.revoke(folder, job.attempt):
            self.orders.remove(order)
            self._end(job, Outcome(reached=False, reason="user"))

    # Daemons --------------------------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        """Attempts are begun in the store; the daemon may die before a worker is told."""
        self.now += 1
        jobs = self.desk.write(queue.claim, now=self.now, limit=limit).result()
        self.orders += [(job.id, job.attempt) for job in jobs]

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def forget_order(self, data: st.DataObject) -> None:
        """The daemon dies with an order in its hand."""
        self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1)))
        self.up = False

    @rule()
    def kill_daemon(self) -> None:
        self.up = False

    @rule()
    def restart(self) -> None:
        """The next daemon settles what the one before has left."""
        self.now += 1
        recovery.recover(cast(Store, self.desk), self.home)
        self.up = True

    @precondition(lambda self: self.up)
    @rule()
    def finish(self) -> None:
        """The daemon writes down each end that it can see."""
        self.now += 1
        for job in self.desk.read(queue.live, states=BEGUN):
            here = (job.id, job.attempt)
            if job.route == "local" or here in self.processes.values() or here in self.orders:
                continue
            outcome = read_outcome(self.home.job(job.id), job.attempt)
            if outcome is not None:
                self._end(job, outcome)

    def _end(self, job: JobInfo, outcome: Outcome) -> None:
        """As the dispatcher does it: another attempt, unless that is refused."""
        told: dict[str, Any] = {"now": self.now, "job_id": job.id, "attempt": job.attempt}
        ending = ending_of(job, outcome, INVOCATION)
        if ending.again_s is not None:
            again = {"due_at": self.now, "max_attempts": ending.max_attempts, "output_end": 0}
            columns = ending.columns(result=False)
            waits = self.desk.write(queue.retry, **told, **again, **columns).result()
            if waits.state is State.SCHEDULED:
                return
        self.desk.write(queue.finish, **told, **ending.columns())

    @precondition(lambda self: self.up)
    @rule()
    def due(self) -> None:
        """What waits for another attempt is queued."""
        self.desk.write(queue.due, now=time.time(), limit=100)

    @rule(state=st.sampled_from(sorted(FINAL)), again=st.booleans())
    def report_late(self, state: State, again: bool) -> None:
        """A daemon that stood still tells how each attempt that is over ended: nothing changes."""
        again = again and state is not State.SUCCEEDED
        reason = None if state is State.SUCCEEDED else Reason.USER
        told: dict[str, Any] = {"now": self.now, "state": state, "reason": reason}
        told |= {"due_at": self.now, "max_attempts": 9, "output_end": 0} if again else {}
        verb: Callable[..., Any] = queue.retry if again else queue.finish
        for job in self.desk.read(queue.page, limit=1000):
            for attempt in range(1, job.attempt + (job.state not in BEGUN)):
                late = self.desk.write(verb, job_id=job.id, attempt=attempt, **told)
                assert late.result() == job

    # Job processes --------------------------------------------------------------------

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """A worker makes a process of an order, however late."""
        pid = next(self.pids)
        self.processes[pid] = self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1)))
        self.began[pid] = False

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), end=st.sampled_from(sorted(ENDS)))
    def go_on(self, data: st.DataObject, end: str) -> None:
        """A process takes its ticket, or does what it is for; it ends well or not."""
        pid = data.draw(st.sampled_from(sorted(self.processes)))
        if self.began[pid]:
            self._leave(pid, ENDS[end])
        elif end == "killed":
            del self.processes[pid]
        else:
            self._take(pid)

    @precondition(lambda self: self._told_to_end())
    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        """A process is told to end, and does."""
        self._leave(data.draw(st.sampled_from(self._told_to_end())), OBEYED)

    def _told_to_end(self) -> list[int]:
        return [
            pid
            for pid, (job_id, _) in self.processes.items()
            if self.began[pid] and job_id in self.stops
        ]

    def _leave(self, pid: int, outcome: Outcome | None) -> None:
        job_id, attempt = self.processes.pop(pid)
        if outcome is None:
            self.vanished.add((job_id, attempt))
        else:
            write_outcome(self.home.job(job_id), attempt, outcome)

    def _take(self, pid: int) -> None:
        """It has its ticket and begins; or it ends."""
        job_id, attempt = self.processes[pid]
        folder, own = self.home.job(job_id), ticket.identify(os.getpid())
        os.makedirs(folder, exist_ok=True)
        taken = ticket.take(folder, attempt, replace(own, pid=pid, started_ticks=1))
        if taken is None:
            del self.processes[pid]
        else:
            os.close(taken)
            self.began[pid] = True
            self.begun[job_id, attempt] += 1
            assert not self.desk.read(queue.get, job_id).is_final
            assert attempt <= self.stops.get(job_id, attempt)

    @rule()
    def all_goes_well(self) -> None:
        """All that waits begins: most of what can go wrong comes after that."""
        if not self.up:
            self.restart()
        self._call(("reply", "reply"), False)
        self.now += 1
        self.due()
        for job in self.desk.write(queue.claim, now=self.now, limit=100).result():
            pid = next(self.pids)
            self.processes[pid], self.began[pid] = (job.id, job.attempt), False
            self._take(pid)

    @precondition(lambda self: self.processes)
    @rule(end=st.sampled_from(["badly", "killed", "well"]))
    def all_end(self, end: str) -> None:
        """All that has begun ends, and it is written down: what failed may begin again."""
        for pid in [pid for pid in self.processes if self.began[pid]]:
            self._leave(pid, ENDS[end])
        self.restart()

    # What holds -----------------------------------------------------------------------

    @invariant()
    def never_twice(self) -> None:
        """P2 and P4: an attempt at most once, here and there together; and no more than allowed."""
        assert [each for each, count in self.begun.items() if count > 1] == []
        here = {job_id for job_id, attempt in self.begun if attempt == 0}
        for job_id, count in Counter(job_id for job_id, _ in self.begun).items():
            assert count <= (1 if job_id in here else 1 + RETRIES)

    @invariant()
    def one_at_a_time(self) -> None:
        """P2 and P3: the next attempt begins, and the job ends, when the one before has ended."""
        alive = [job_id for pid, (job_id, _) in self.processes.items() if self.began[pid]]
        assert len(alive) == len(set(alive))
        assert not self.ended.keys() & set(alive)

    @invariant()
    def accepted_is_kept(self) -> None:
        """P1: what a caller believes to be the daemon's is in the store."""
        for job_id, told in self.told.items():
            if told == "daemon":
                assert self.desk.read(queue.get, job_id).route == "daemon"

    @invariant()
    def ends_are_final_and_true(self) -> None:
        """P3: a final state never changes, and is what happened."""
        for job in self.desk.read(queue.page, states=FINAL, limit=1000):
            assert self.ended.setdefault(job.id, job.state) is job.state
            assert job.route == "local" or self._has_ended_so(job), job

    def _has_ended_so(self, job: JobInfo) -> bool:
        outcome = read_outcome(self.home.job(job.id), job.attempt)
        if job.state is State.CANCELLED:
            return job.id in self.stops
        if job.state is State.LOST:
            return (job.id, job.attempt) in self.vanished
        if outcome is None:
            return False
        if job.state is State.SUCCEEDED:
            return outcome.exit_code == 0
        tried = sum(job_id == job.id for job_id, _ in self.begun)
        return outcome.exit_code != 0 and (tried > RETRIES or job.id in self.stops)

    def teardown(self) -> None:
        """No more faults: everything comes to its end, once."""
        try:
            self._come_to_rest()
        finally:
            for patch in self.patches:
                patch.stop()
            self.desk.close()
            shutil.rmtree(self.home.root)

    def _come_to_rest(self) -> None:
        self.restart()
        for job_id in self.late:
            self._accept(job_id)
        for _ in range(10):
            self.orders = []  # whoever had them is gone
            self.restart()
            self.due()
            self.orders += [
                (job.id, job.attempt)
                for job in self.desk.write(queue.claim, now=self.now, limit=1000).result()
            ]
            for job_id, attempt in self.orders:
                pid = next(self.pids)
                self.processes[pid], self.began[pid] = (job_id, attempt), False
            self.orders = []
            self._let_all_end()
            self.finish()
        self.never_twice()
        self.accepted_is_kept()
        self.ends_are_final_and_true()
        begun = {job_id for job_id, _ in self.begun}
        for job in self.desk.read(queue.page, limit=1000):
            if job.route == "daemon":
                assert job.is_final, job
                assert job.id in begun or job.id in self.stops, job

    def _let_all_end(self) -> None:
        for pid in list(self.processes):
            if not self.began[pid]:
                self._take(pid)
            if pid in self.processes:
                self._leave(pid, ENDS["well"])
