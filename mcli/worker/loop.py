"""
The worker: one thread, one loop, a child process for each attempt.

Told by the daemon what to start, and tells it what happens. When the daemon goes away it
carries on, and comes back to the next one. ``run`` returns in the worker when it retires,
and in each child that it forks with the job to run.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time
from dataclasses import asdict
from typing import Any, Final

from mcli import failpoint, frames
from mcli.card import write_card
from mcli.home import Home
from mcli.invocation import App, Invocation, interpreter_environment
from mcli.scarcity import is_failing, is_scarce
from mcli.version import PROTOCOL
from mcli.worker import become
from mcli.worker.attempt import Attempt, Order
from mcli.worker.mark import Mark
from mcli.worker.preload import Preload
from mcli.worker.spare import Spare
from mcli.worker.strays import Strays

RECONNECT_S: Final = 0.25
LONGEST_S: Final = 86400.0
"""Seconds that are waited for at most at once: ``epoll`` cannot wait for a month."""

QUIET_S: Final = 0.05
"""Seconds without an event after which the next child is forked in advance."""

ALONE_S: Final = 5.0
"""Seconds that a worker without a daemon and without a job waits for either."""


class Worker:
    """Runs the attempts of one app."""

    def __init__(self, home: Home, key: str, app: App, preload: Preload, mark: Mark) -> None:
        self._home = home
        self._key = key
        self._app = app
        self._preload = preload
        self._mark = mark
        self._selector = selectors.DefaultSelector()
        self._attempts: dict[str, Attempt] = {}
        self._retiring = False
        self._socket: socket.socket | None = None
        self._decoder = frames.Decoder()
        self._outbox = bytearray()
        self._fds: list[int] = []
        self._alone_since = time.monotonic()
        self._wakeup, self._wakeup_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._grew: set[str] = set()
        self._spare: Spare | None = None
        self._strays = Strays()

    def run(self) -> become.Job | None:
        """Serve until retired; the job, in a child."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._reap)
        while not self._done():
            if self._socket is None:
                self._connect()
            job = self._turn()
            if job is not None:
                return job
        return None

    def _done(self) -> bool:
        if self._attempts:
            return False
        if self._socket is None:
            return self._retiring or time.monotonic() - self._alone_since > ALONE_S
        return self._retiring and not self._outbox

    def _turn(self) -> become.Job | None:
        ready = self._selector.select(self._patience_s())
        if not ready and self._spare is None and not self._retiring:
            with contextlib.suppress(OSError):  # whoever needs one will be told
                return self._fork()  # nobody is waiting just now
        for key, _ in ready:
            now = self._selector.get_map().get(key.fd)  # an event before it may have closed it
            job: become.Job | None = now.data(key.fd) if now is not None else None
            if job is not None:
                return job
        for attempt in list(self._attempts.values()):
            self._tend(attempt)
        self._tell_growth()
        self._send()
        return None

    def _patience_s(self) -> float:
        times = [at for a in self._attempts.values() if (at := a.due_s()) is not None]
        if self._socket is None:
            times.append(RECONNECT_S)
        if self._spare is None and not self._retiring:
            times.append(QUIET_S)
        return min([*times, LONGEST_S])

    # The daemon -----------------------------------------------------------------------

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._home.worker_socket)
        except OSError:
            connection.close()
            return
        connection.setblocking(False)
        self._socket, self._decoder, self._outbox = connection, frames.Decoder(), bytearray()
        self._selector.register(connection, selectors.EVENT_READ, self._receive)
        failpoint.reach("connected")
        self._tell(
            frames.READY,
            protocol=PROTOCOL,
            pid=os.getpid(),
            key=self._key,
            app=asdict(self._app),
            reads=self._preload.reads(),
            failed=self._preload.failed,
            cwd=os.getcwd() if self._preload.uses_cwd else None,
            env=interpreter_environment(dict(os.environ)),
            jobs=[attempt.facts() for attempt in self._attempts.values()],
        )
        for attempt in self._attempts.values():
            self._tell_forked(attempt)
        self._send()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
            for fd in self._fds:  # of an order that has not come in full
                os.close(fd)
            self._fds = []
            self._alone_since = time.monotonic()

    def _tell(self, kind: int, **payload: Any) -> None:
        if self._socket is not None:
            self._outbox += frames.encode(kind, payload)

    def _tell_forked(self, attempt: Attempt) -> None:
        """Tell of a process, and share what it prints: if this worker dies, the daemon reads on."""
        self._send()
        facts = {**attempt.facts(), "unmute": attempt.unmute.decode()}
        readers = attempt.plugs.readers
        if readers and self._socket is not None and not self._outbox:
            frame = frames.encode(frames.FORKED, facts | {"streams": list(readers.values())})
            with contextlib.suppress(OSError):  # if the daemon is gone, the next receipt tells
                self._outbox += frame[socket.send_fds(self._socket, [frame], list(readers)) :]
                return
        self._tell(frames.FORKED, **facts, streams=[])  # it knows where to find them

    def _send(self) -> None:
        if self._socket is None:
            return
        try:
            while self._outbox:
                del self._outbox[: self._socket.send(self._outbox)]
            events = selectors.EVENT_READ
        except BlockingIOError:
            events = selectors.EVENT_READ | selectors.EVENT_WRITE
        except OSError:
            self._disconnect()
            return
        if self._selector.get_key(self._socket).events != events:
            self._selector.modify(self._socket, events, self._receive)

    def _receive(self, _fd: int) -> become.Job | None:
        assert self._socket is not None
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, 16)
        except BlockingIOError:
            return None
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data:
            self._disconnect()
            return None
        for kind, payload in list(self._decoder.feed(data)):
            job = self._obey(kind, json.loads(payload))
            if job is not None:
                return job
        return None

    def _obey(self, kind: int, payload: dict[str, Any]) -> become.Job | None:
        if kind == frames.START:
            return self._start(payload)
        if kind == frames.RETIRE:
            self._retire()
            return None
        if kind == frames.PING:
            self._tell(frames.PONG)
            return None
        attempt = self._attempts.get(payload.get("job", ""))
        if attempt is None:
            return None
        if kind == frames.SIGNAL:
            attempt.signal(payload["signal"], group=payload["group"])
        elif kind == frames.STOP:
            attempt.stop(payload["grace_s"])
        elif kind == frames.WINDOW:
            attempt.resize(payload["rows"], payload["cols"])
        elif kind == frames.KEYS:
            self._type(attempt, payload["data"].encode("latin-1"))
        elif kind == frames.CLOSED:
            for fd, stream in list(attempt.plugs.readers.items()):
                if stream == payload["stream"]:
                    attempt.catch_up(fd)  # what the kernel has taken of it is kept
                    attempt.capture.anchors.keep(stream, fd)
                    self._close(attempt, fd)
        return None

    def _type(self, attempt: Attempt, data: bytes) -> None:
        for number in attempt.type(data):
            self._tell(frames.TYPED, job=attempt.order.job, signal=number)
        self._watch_master(attempt)

    def _watch_master(self, attempt: Attempt) -> None:
        master, keyboard = attempt.plugs.master, attempt.plugs.keyboard
        if master is not None and keyboard is not None and not attempt.capture.full:
            more = keyboard.write()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
            if self._selector.get_key(master).events != events:
                self._selector.modify(master, events, self._selector.get_key(master).data)

    # Attempts -------------------------------------------------------------------------

    def _start(self, payload: dict[str, Any]) -> become.Job | None:
        failpoint.reach("ordered")
        fds, self._fds = self._fds[: payload["fds"]], self._fds[payload["fds"] :]
        order = Order(
            job=payload["job"],
            attempt=payload["attempt"],
            folder=self._home.job(payload["job"]),
            invocation=Invocation.parse(payload["invocation"]),
            timeout_s=payload["timeout_s"],
            grace_s=payload["grace_s"],
            output_max=payload["output_max"],
            card=payload["card"],
            fds=fds,
        )
        stale = self._preload.stale()
        why = f"{stale} has changed" if stale else None
        again = False
        if len(fds) < payload["fds"]:
            why = "too many files are open to take its standard input"
        if why is None:
            try:
                return self._begin(order)
            except OSError as error:
                why = f"cannot start a process: {error.strerror}"
                again = is_scarce(error) or is_failing(error)
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._tell(
            frames.RETURNED,
            job=order.job,
            attempt=order.attempt,
            why=why,
            stale=bool(stale),
            again=again,
        )
        if stale:
            self._retire()
        return None

    def _retire(self) -> None:
        self._retiring = True
        if self._spare is not None:
            self._spare.dismiss()
            self._spare = None

    def _begin(self, order: Order) -> become.Job | None:
        if self._spare is None:
            job = self._fork()
            if job is not None:
                return job
        assert self._spare is not None
        os.makedirs(order.folder, mode=0o700, exist_ok=True)
        attempt = Attempt(order, self._spare.pid)
        try:
            # Without it nobody could tell this directory from one that was made anew.
            write_card(order.folder, order.card, attempt.known_pipes(), now_s=time.monotonic())
            failpoint.reach("forked")
            self._tell_forked(attempt)  # before it can print: from now on somebody reads that
            failpoint.reach("shared")
            spare, self._spare = self._spare, None
            attempt.begin(spare)
        except OSError:
            attempt.discard()
            raise
        failpoint.reach("begun")
        self._attempts[order.job] = attempt
        self._watch(attempt)
        self._selector.register(
            attempt.control, selectors.EVENT_READ, lambda _f, a=attempt: self._listen(a)
        )
        return None

    def _fork(self) -> become.Job | None:
        """Make the spare; in the child, the job that it will be."""
        ours, its = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._let_go()
            return become.Job(its, self._preload.code, self._mark)
        its.close()
        self._spare = Spare(pid, ours)
        self._strays.know(pid)
        return None

    def _let_go(self) -> None:
        """In the child: nothing of the worker's may close a descriptor later on."""
        self._selector.close()
        if self._socket is not None:
            self._socket.close()
        self._attempts.clear()

    def _watch(self, attempt: Attempt) -> None:
        """Read what it prints from now on."""
        unwatched = [fd for fd in attempt.plugs.readers if fd not in self._selector.get_map()]
        for fd in unwatched:
            self._selector.register(fd, selectors.EVENT_READ, lambda f, a=attempt: self._read(a, f))
        if unwatched:
            self._watch_master(attempt)

    def _tend(self, attempt: Attempt) -> None:
        """What is due for it by now."""
        due_s = attempt.due_s()
        if due_s is not None and due_s <= 0:
            with contextlib.suppress(OSError):  # too many files are open: again when it is due
                attempt.tick()
            if attempt.status is not None:
                self._settle(attempt)
        if attempt.capture.full:  # nobody reads: the job waits in its next write
            for fd in attempt.plugs.readers:
                if fd in self._selector.get_map():
                    self._selector.unregister(fd)
        elif self._attempts.get(attempt.order.job) is attempt:
            self._watch(attempt)

    def _read(self, attempt: Attempt, fd: int) -> None:
        if fd == attempt.plugs.master:
            self._watch_master(attempt)
            raw = attempt.mode_changed()
            if raw is not None:
                self._tell(
                    frames.MODE, job=attempt.order.job, raw=raw, size=attempt.capture.log.size
                )
        if attempt.read(fd):
            self._grew.add(attempt.order.job)
        else:
            self._close(attempt, fd)

    def _tell_growth(self) -> None:
        for job in self._grew:
            attempt = self._attempts.get(job)
            if attempt is not None:
                self._tell(frames.GREW, job=job, size=attempt.capture.log.size)
        self._grew.clear()

    def _close(self, attempt: Attempt, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)
        attempt.close(fd)

    def _listen(self, attempt: Attempt) -> None:
        """The job has something to say, or its end of the pipe is closed."""
        with contextlib.suppress(BlockingIOError):
            told = os.read(attempt.control, 4096)
            if attempt.hear(told):
                failpoint.reach("heard")
                self._tell(frames.REACHED, job=attempt.order.job)
            if not told:
                self._close_control(attempt)

    def _close_control(self, attempt: Attempt) -> None:
        self._selector.unregister(attempt.control)
        os.close(attempt.control)
        attempt.control = -1

    def _reap(self, _fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    break
                self._child(pid, status)
        for attempt in list(self._attempts.values()):
            if attempt.status is not None:
                self._settle(attempt)  # the last of its strays, perhaps

    def _child(self, pid: int, status: int) -> None:
        """A child has stopped or ended: a job, or a spare that was dismissed or killed."""
        attempt = next((a for a in self._attempts.values() if a.pid == pid), None)
        if not os.WIFSTOPPED(status):
            self._strays.forget(pid)
        if attempt is None:
            if self._spare is not None and self._spare.pid == pid and not os.WIFSTOPPED(status):
                self._spare.dismiss()
                self._spare = None
        elif os.WIFSTOPPED(status):
            attempt.catch_up()
            size = attempt.capture.log.size
            self._tell(frames.GREW, job=attempt.order.job, size=size)
            self._tell(frames.PAUSED, job=attempt.order.job, size=size)
        else:
            self._end(attempt, status)

    def _end(self, attempt: Attempt, status: int) -> None:
        if attempt.control >= 0:
            self._listen(attempt)
        if attempt.control >= 0:  # a child that it forked may hold the other end
            self._close_control(attempt)
        failpoint.reach("reaped")
        attempt.ended(status)

    def _settle(self, attempt: Attempt) -> None:
        """Tell its end, once nothing that it has left lives, and all that it printed is stored."""
        try:
            if attempt.complete():
                failpoint.reach("outcome-kept")
            over = self._has_ended_strays(attempt)
        except OSError:  # too many files are open to see what there is
            attempt.hunt_later()
            return
        if over and attempt.drain():
            self._tell_end(attempt)

    def _has_ended_strays(self, attempt: Attempt) -> bool:
        """Whether nothing is left of it that is to be ended."""
        strays = self._strays.of(attempt, list(self._attempts.values()))
        if attempt.leaves_children:
            for pid in strays:
                self._strays.know(pid)
            strays = set()
        return attempt.hunt(strays)

    def _tell_end(self, attempt: Attempt) -> None:
        outcome = attempt.outcome()
        del self._attempts[attempt.order.job]
        for fd in list(attempt.plugs.readers):
            self._close(attempt, fd)
        attempt.capture.close()
        self._tell(
            frames.ENDED,
            job=attempt.order.job,
            attempt=attempt.order.attempt,
            outcome=outcome.document(),
            size=attempt.capture.log.size,
        )


def start(home: Home, key: str, app: App, *, cold: bool) -> Worker | None:
    """Import what the app imports; a worker, ready to connect. None: it has to start cold."""
    mark = Mark()
    become.record_at_exit()
    preload = Preload(app)
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        preload.run(imports=not cold)
    # A fork would inherit the locks of other threads, and what was seen of other arguments.
    if not cold and (threading.active_count() > 1 or preload.uses_argv):
        return None
    return Worker(home, key, app, preload, mark)
