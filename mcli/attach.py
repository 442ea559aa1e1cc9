"""
A caller's process and its job: send the invocation, show the output, pass signals and keys.

The only part of mcli that runs in the caller's process while a job runs. Speaks
``frames`` over the daemon's unix socket. ``run`` returns when the job has ended (or, with
``detach``, when it is accepted), and says how; the caller then ends the same way.
"""

import _socket as socket  # what ``socket`` is made of, 2 ms sooner: every routed call pays it
import contextlib
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from mcli import failpoint, frames, stdio
from mcli.errors import (
    AmbiguousJob,
    DaemonDied,
    DaemonError,
    DaemonNotRunning,
    OutcomeUnknown,
    ProtocolMismatch,
    Refused,
    UnknownJob,
)
from mcli.home import Home
from mcli.ids import new_id
from mcli.stream import Stream, gap
from mcli.version import PROTOCOL

ACCEPT_S: Final = 5.0
"""Seconds after which an answer to a submission is not awaited any longer."""

SILENT: Final = f"the daemon has not answered in {ACCEPT_S:g} s"

AGAIN_S: Final = 0.1
"""Seconds until a daemon that has gone away is looked for again."""

LEAVE_PRESSES: Final = 3
LEAVE_WITHIN_S: Final = 2.0
"""So many Ctrl-C in so many seconds leave a job that does not end."""

CTRL_C: Final = b"\x03"

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""Signals that ask a job to end."""

_PASSED_ON: Final = (
    *ENDING,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
)


class End:
    """How a job ended, for the process that waited for it.

    ``reached`` is False when its body has not been run, and ``why`` says why: the caller has to
    do it. ``settled``: and has taken it from the daemon, where it is to note how it ended.
    """

    __slots__ = ("exit_code", "job_id", "reached", "settled", "signal", "why")

    def __init__(
        self,
        job_id: str,
        exit_code: int = 0,
        signal: int | None = None,
        reached: bool = True,
        settled: bool = False,
        why: str = "",
    ) -> None:
        self.job_id = job_id
        self.exit_code = exit_code
        self.signal = signal
        self.reached = reached
        self.settled = settled
        self.why = why

    def leave(self) -> NoReturn:
        """End this process as the job's did. Its exit handlers were run there, not here."""
        stdio.flush()
        if self.signal is not None:
            _die_by(self.signal)
        os._exit(self.exit_code)


_CORE_SIGNALS: Final = (
    signal.SIGQUIT,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGSEGV,
    signal.SIGSYS,
)


def _leave_no_core() -> None:
    """The job's own core is the one to look at."""
    sys.path = sys.path[1:]  # a program may have a module of this name beside it
    with contextlib.suppress(Exception):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _die_by(number: int) -> NoReturn:
    if number in _CORE_SIGNALS:
        _leave_no_core()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


_FD: Final = struct.Struct("i")


class Wire:
    """One connection to the daemon."""

    def __init__(self, home: Home, timeout_s: float = ACCEPT_S) -> None:
        self.deadline: float | None = None
        """When (``time.monotonic``) to stop waiting for an answer, however it dribbles in."""
        self._decoder = frames.Decoder()
        self._ready: list[tuple[int, bytes]] = []
        self._fds: list[int] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(home.attach_socket)
        except FileNotFoundError as error:
            self.socket.close()
            raise DaemonNotRunning from error
        except ConnectionRefusedError as error:  # one that stops takes its socket away
            self.socket.close()
            raise DaemonDied from error
        except OSError as error:
            self.socket.close()
            raise DaemonError(f"cannot reach the daemon: {error}") from error
        self.peer, uid = _peer(self.socket)
        """The process that listens."""

        if uid != os.geteuid():
            self.socket.close()
            raise DaemonError(f"another user's process listens at {home.attach_socket}; not used")

    def send(self, kind: int, payload: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        data = frames.encode(kind, payload)
        if fds:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
            sent = self.socket.sendmsg([data], [rights])
            data = data[sent:]
        if data:
            self.socket.sendall(data)

    def receive(self) -> list[tuple[int, bytes]]:
        """Frames that have come, at least one; [] at the end of the connection.

        Raises:
            TimeoutError: The deadline has passed.
        """
        while True:
            if self.deadline is not None:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the daemon has not answered in time")
                self.socket.settimeout(left)
            room = socket.CMSG_SPACE(_FD.size)
            data, rights, _, _ = self.socket.recvmsg(1 << 18, room, socket.MSG_CMSG_CLOEXEC)
            for _, kind, fd in rights:
                if kind == socket.SCM_RIGHTS:  # there is room for more than one
                    self._fds += (number for (number,) in _FD.iter_unpack(fd))
            if not data:
                return []
            found = list(self._decoder.feed(data))
            if found:
                return found

    def answer(self) -> tuple[int, dict[str, Any]]:
        """The next frame, which has a JSON payload.

        Raises:
            OSError: None came in time, or the connection ended.
        """
        if not self._ready:
            self._ready = self.receive()
        if not self._ready:
            raise ConnectionResetError("the daemon closed the connection")
        kind, payload = self._ready.pop(0)
        return kind, json.loads(payload)

    def waiting(self) -> list[tuple[int, bytes]]:
        """Frames that came together with the last answer."""
        ready, self._ready = self._ready, []
        return ready

    def take_fds(self) -> list[int]:
        """Descriptors that have come: whoever takes them closes them."""
        fds, self._fds = self._fds, []
        return fds

    def close(self) -> None:
        for fd in self.take_fds():
            os.close(fd)
        self.socket.close()


def _peer(connection: socket.socket) -> tuple[int, int]:
    """The process at the other end, and its user; (0, ours) where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, os.geteuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    return pid, uid


def refusal(payload: dict[str, Any]) -> DaemonError:
    """The error that a ``REFUSED`` frame speaks of."""
    message = payload["message"]
    return ProtocolMismatch(message) if payload["code"] == "protocol_mismatch" else Refused(message)


def submit(
    invocation: dict[str, Any], *, home: Home, job_id: str, detach: bool, here: bool
) -> tuple[Wire | None, str]:
    """Have the job accepted, exactly once.

    Returns:
        The connection that follows it, and its id; without one this process has won the right to
        run it, and is told why.

    Args:
        here: Whether this process would run it.

    Raises:
        DaemonNotRunning, Refused, ProtocolMismatch: Not accepted, and it will not be.
        OutcomeUnknown: It may have been accepted.
    """
    fds = (0,) if invocation["stdio"][0] == "fd" else ()
    asked = {
        "protocol": PROTOCOL,
        "id": job_id,
        "detach": detach,
        "invocation": invocation,
        "fds": len(fds),
    }
    why = ""
    for attempt in (1, 2):
        try:
            wire = Wire(home)
        except (DaemonError, OSError):
            if attempt == 1:
                raise  # nothing was sent
            break
        try:
            with contextlib.suppress(BrokenPipeError):  # it would not hear, and may have said why
                wire.send(frames.SUBMIT, asked, fds)
            failpoint.reach("asked")
            kind, answer = wire.answer()
        except (OSError, ValueError) as error:
            silent = isinstance(error, TimeoutError)
            why = SILENT if silent else "the daemon went away before it took the job"
            wire.close()
            continue  # it may have been accepted: ask once more, with the same id
        if kind == frames.ACCEPTED:
            return wire, job_id
        wire.close()
        if kind == frames.REFUSED:
            if attempt == 1 and answer["code"] != OutcomeUnknown.code:
                raise refusal(answer)
            if answer["code"] == OutcomeUnknown.code:
                why = f"the daemon {answer['message']}"
            break  # this time, or it cannot tell itself: it may have been accepted
    settled = _settle(invocation, home, job_id, here=here)
    return settled, job_id if settled else why


def _settle(invocation: dict[str, Any], home: Home, job_id: str, *, here: bool) -> Wire | None:
    from mcli.mask import mask
    from mcli.store.arbiter import settle

    owner = settle(
        home.database,
        job_id,
        name=invocation["name"],
        app=invocation["app"]["target"],
        argv=mask(invocation["argv"], invocation.get("secrets", ())),
        cwd=invocation["cwd"],
        now=time.time(),
    )
    if owner == "here":
        failpoint.reach("settled")
        if not here:
            _withdraw(home, job_id)
            raise Refused(f"job {job_id} was not accepted, and not run; submit it again")
        _hold_room(home.job(job_id))
        return None
    return _again(home, job_id, 0)


def _hold_room(folder: str) -> None:
    """To tell how it ends, if the store cannot be written then. Best effort."""
    from mcli.outcome import reserve_outcome

    with contextlib.suppress(OSError):
        _make(folder)
        reserve_outcome(folder, 1)


def _make(folder: str) -> None:
    """Only that one: if the state directory has been removed, it stays away."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def _withdraw(home: Home, job_id: str) -> None:
    """Note that the job that this process has taken will not run. Best effort: as ``note_end``."""
    from mcli.outcome import Outcome
    from mcli.store.arbiter import withdraw

    stored = withdraw(home.database, job_id, time.time())
    _note(home, job_id, stored, Outcome(reason="client_gone"))


def note_end(home: Home, job_id: str, exit_code: int) -> None:
    """Note how a job ended that this process has taken from the daemon.

    Where the store cannot be written it is told in the job's directory: the next daemon looks.
    Best effort: without either the job will count as lost.
    """
    from mcli.outcome import Outcome
    from mcli.store.arbiter import close_local

    stored = close_local(home.database, job_id, exit_code, time.time())
    _note(home, job_id, stored, Outcome(exit_code=exit_code, complete=True))


def _note(home: Home, job_id: str, stored: bool, outcome: Any) -> None:
    """What the store has not taken stands beside it; and the room for that is needed no more."""
    from mcli.outcome import give_back_reserved, write_outcome

    folder = home.job(job_id)
    with contextlib.suppress(OSError):
        if stored:
            give_back_reserved(folder, 1)
        else:
            _make(folder)
            write_outcome(folder, 1, outcome)


def _again(home: Home, job_id: str, offset: int, fds: tuple[int, ...] = ()) -> Wire:
    """A new connection to a job that a daemon has; waits for the daemon to come back.

    Raises:
        OutcomeUnknown: It does not.
    """
    from mcli.settings import Settings

    deadline = time.monotonic() + Settings.load().reconnect_s
    while True:
        try:
            return attach_wire(home, job_id, offset, fds)[0]
        except (DaemonError, OSError, ValueError) as error:
            # Whatever it is: the job is the daemon's, and must not be run here.
            if time.monotonic() > deadline or isinstance(error, ProtocolMismatch):
                known = not isinstance(error, UnknownJob)
                raise OutcomeUnknown(_lost_sight(home, job_id, known)) from error
            time.sleep(AGAIN_S)  # nobody tells when a daemon that is not there comes back


def _lost_sight(home: Home, job_id: str, known: bool) -> str:
    """
    Args:
        known: No daemon has said that there is no such job.
    """
    told = f"the daemon went away; it has taken job {job_id}, which was not run here"
    if known and (os.path.exists(home.database) or os.path.exists(home.job(job_id))):
        return f"{told}; look again with: mcli daemon start && mcli attach {job_id}"
    return f"{told}; {home.root} was removed or replaced, and does not know it any more"


def attach_wire(
    home: Home, job_id: str, offset: int, fds: tuple[int, ...] = ()
) -> tuple[Wire, dict[str, Any]]:
    """A connection that follows a job, and what the daemon says of it: ``id``, ``interactive``.

    Args:
        home: Whose daemon.
        job_id: A whole id, the beginning of one, or ``-`` for the newest job.
        offset: Where in the record log to begin; -1: only the end is wanted.
        fds: The master of its terminal, held meanwhile: a new daemon may have to read on there.

    Raises:
        DaemonNotRunning: Nobody is there.
        UnknownJob: No job is meant.
        AmbiguousJob: More than one is.
    """
    wire = Wire(home)
    asked = {"protocol": PROTOCOL, "id": job_id, "offset": offset, "fds": len(fds)}
    wire.send(frames.ATTACH, asked, fds)
    kind, answer = wire.answer()
    if kind == frames.REFUSED:
        wire.close()
        if answer["code"] == UnknownJob.code:
            raise UnknownJob(answer["message"])
        if answer["code"] == AmbiguousJob.code:
            raise AmbiguousJob(answer["message"])
        raise refusal(answer)
    return wire, answer


def run(
    invocation: dict[str, Any], *, detach: bool = False, here: bool, home: Home | None = None
) -> End:
    """Run *invocation* in the daemon, with this process as its face.

    Args:
        here: Whether this process can run it instead.

    Returns:
        How it ended; ``reached`` False if the body is to run here after all.

    Raises:
        DaemonError: Without *here*, it was not run.
    """
    home = home or Home.find()
    if detach:
        plugs, terminal = stdio.survey(detach=True)
        invocation = {**invocation, "stdio": plugs, "terminal": terminal, "by_line": True}
    stdio.flush()
    job_id = new_id()
    # A signal to end that comes before the answer is for the job, if it is accepted.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        wire, told = submit(invocation, home=home, job_id=job_id, detach=detach, here=here)
        if wire is None:
            if signal.sigpending() & set(ENDING):  # it will not be run here either
                note_end(home, job_id, 128 + signal.SIGINT)
            return End(job_id, reached=False, settled=True, why=told)
        if detach:
            wire.close()
            sys.stdout.write(f"{job_id}\n")
            return End(job_id)
        interactive = "tty" in invocation["stdio"]
        session = Session(home, wire, job_id, keyboard=interactive, is_caller=True)
        end = session.follow(mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if not end.reached and not here:
        raise DaemonError(f"{end.why}; see: mcli inspect {job_id}")
    return end


def _enough(presses: list[float]) -> bool:
    """Whether one more Ctrl-C, now, is one that leaves."""
    now = time.monotonic()
    presses[:] = [at for at in presses if now - at < LEAVE_WITHIN_S] + [now]
    return len(presses) >= LEAVE_PRESSES


class Session:
    """This process attached to one job, until the job or the interest in it ends."""

    def __init__(
        self,
        home: Home,
        wire: Wire,
        job_id: str,
        *,
        keyboard: bool,
        is_caller: bool = False,
        offset: int = 0,
    ) -> None:
        """Nothing is done yet.

        Args:
            home: Whose daemon.
            wire: The connection on which the job was accepted.
            job_id: Which.
            keyboard: What is typed here is for it.
            is_caller: The job prints to this process, and is to notice when nobody reads that;
                whoever else looks on is no concern of its.
            offset: Bytes of its record log that were shown.
        """
        self._home = home
        self._wire = wire
        self._job_id = job_id
        self._offset = offset
        self._keyboard = stdio.Keyboard.find() if keyboard else None
        self._terminal = stdio.find_terminal()
        self._is_caller = is_caller
        self._held: dict[int, int] = {}
        """The job's pipes by stream, and the master of its terminal, open here too."""

        self._closed: set[int] = set()
        self._started = False
        self._end: End | None = None
        self._presses: list[float] = []
        self._unanswered: list[float] = []
        """When Ctrl-C was typed, since anything came from the daemon."""

        self._asked: int | None = None
        """The last signal to end that was passed on: a job that has not begun will not."""

        self._stopping = False
        """Whether we were told to stop, and have told the job."""

        self._connected_at = 0.0
        """When it was last tried anew."""

        self._signals: list[int] = []
        self._before: dict[int, Any] = {}

    def follow(self, mask: Iterable[int] | None = None) -> End:
        """Show and pass on everything until the job has ended.

        Args:
            mask: The signals to be blocked once all others are passed on. None: as now.
        """
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._listen()
        try:
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._wire.socket.settimeout(None)
            self._take(self._wire.waiting())
            while self._end is None:
                self._turn(reader)
            return self._end
        finally:
            if self._keyboard:
                self._keyboard.release()
            self._let_go(*self._held)
            self._unlisten()
            signal.set_wakeup_fd(wakeup)
            os.close(reader)
            os.close(writer)
            self._wire.close()

    def _listen(self) -> None:
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                handler = signal.signal(number, lambda got, _frame: self._signals.append(got))
                self._before[number] = handler

    def _unlisten(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _turn(self, reader: int) -> None:
        poll = select.poll()
        poll.register(self._wire.socket, select.POLLIN)
        poll.register(reader, select.POLLIN)
        if self._keyboard and self._keyboard.held:
            poll.register(self._keyboard, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        try:
            if reader in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(reader, 4096)
            while self._signals:
                self._pass_on(self._signals.pop(0))
            if self._keyboard and self._keyboard.fileno() in ready:
                self._type()
            if self._end is None and self._wire.socket.fileno() in ready:
                found = self._wire.receive()
                if not found:
                    raise ConnectionResetError
                self._unanswered.clear()
                self._take(found)
        except OSError:
            self._reconnect()

    def _reconnect(self) -> None:
        now = time.monotonic()
        if now - self._connected_at < AGAIN_S:
            time.sleep(AGAIN_S)  # a daemon that takes us, and leaves us at once
        self._connected_at = now
        self._wire.close()
        terminal = tuple(fd for stream, fd in self._held.items() if stream == Stream.TTY)
        self._wire = _again(self._home, self._job_id, self._offset, terminal)
        self._wire.socket.settimeout(None)
        for stream in self._closed:
            self._tell_closed(stream)
        self._take(self._wire.waiting())

    def _tell_closed(self, stream: int) -> None:
        if self._is_caller:
            self._let_go(stream)
            self._wire.send(frames.CLOSED, {"stream": int(stream)})
        elif stream != Stream.STDERR:  # there is nobody to show it to
            self._end = End(self._job_id, 128 + signal.SIGPIPE, signal.SIGPIPE)

    def _take(self, found: list[tuple[int, bytes]]) -> None:
        for kind, payload in found:
            if kind == frames.OUTPUT:
                self._show(*frames.decode_output(payload))
            else:
                self._obey(kind, json.loads(payload))

    def _show(self, stream: int, next_offset: int, data: bytes) -> None:
        if stream == Stream.GAP:
            stdio.say(gap(int(data)))
            data = b""
        fd = 2 if stream == Stream.STDERR else 1
        if stream == Stream.TTY and self._terminal is not None:
            fd = self._terminal
        if stream not in self._closed and not stdio.write_all(fd, data):
            self._closed.add(stream)
            self._tell_closed(stream)
        self._offset = next_offset

    def _obey(self, kind: int, payload: dict[str, Any]) -> None:
        if kind == frames.STARTED:
            self._started = True
            if self._keyboard:
                self._keyboard.grab()
        elif kind == frames.PIPES:
            self._hold(payload["pipes"], self._wire.take_fds())
        elif kind == frames.PAUSED:
            self._pause()
        elif kind == frames.MODE and self._keyboard:
            self._keyboard.translate(not payload["raw"])
        elif kind == frames.AGAIN:
            if self._keyboard:
                self._keyboard.release()
            stdio.say(payload["message"])
        elif kind == frames.TYPED:
            self._share(payload["signal"])
        elif kind == frames.FINISHED:
            self._end = self._ending(payload)

    def _hold(self, pipes: dict[str, tuple[str, int]], masters: list[int]) -> None:
        """Open the job's pipes: if daemon and worker die at once, it goes on with the next ones.

        It would find nobody at the other ends otherwise, and be killed by SIGPIPE, or by SIGHUP
        at a terminal. Nothing is read here: with the pipes full, it waits. It does not begin before
        it has seen that somebody holds them.
        """
        from mcli.pipe import grip

        if not self._is_caller or Stream.TTY in self._closed:
            while masters:
                os.close(masters.pop())
        if not self._is_caller:
            return
        for master in masters:
            self._let_go(Stream.TTY)
            self._held[Stream.TTY] = master
        for stream, (path, inode) in ((int(name), pipe) for name, pipe in pipes.items()):
            held = self._held.get(stream)
            if stream in self._closed or (held is not None and os.fstat(held).st_ino == inode):
                continue  # a daemon that is new may not have it: perhaps nobody else has
            self._let_go(stream)
            with contextlib.suppress(OSError):  # it has ended, say
                if os.stat(path).st_ino == inode:
                    self._held[stream] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        for stream in self._held.keys() - {Stream.TTY}:
            grip(self._held[stream])  # when it has them all

    def _let_go(self, *streams: int) -> None:
        for stream in streams:
            if stream in self._held:
                os.close(self._held.pop(stream))

    def _ending(self, payload: dict[str, Any]) -> End:
        """The end to make, of what the daemon says of the job."""
        not_begun = payload["state"] == "cancelled" and not payload["began"]
        if self._asked is not None and (payload["run_here"] or not_begun):
            return End(self._job_id, 128 + self._asked, self._asked)
        if payload["run_here"]:
            return End(self._job_id, reached=False, why=payload["message"])
        if payload["message"]:
            stdio.say(payload["message"])
        return End(self._job_id, payload["exit_code"], payload["die_by"])

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif number == signal.SIGCONT:
            self._resume()
        else:
            if number == signal.SIGINT and _enough(self._presses):
                self._detach()
            if number in ENDING:
                self._asked = number
            self._stopping = self._stopping or number == signal.SIGTSTP
            self._wire.send(frames.SIGNAL, {"signal": number, "group": number != signal.SIGTERM})

    def _detach(self) -> None:
        stdio.say(
            f"left job {self._job_id}, which has not ended; mcli attach | cancel | kill it",
            before="\n",
        )
        self._end = End(self._job_id, 130, signal.SIGINT)

    def _resize(self) -> None:
        if self._terminal is not None:
            size = os.get_terminal_size(self._terminal)
            self._wire.send(frames.WINDOW, {"rows": size.lines, "cols": size.columns})

    def _type(self) -> None:
        data = os.read(self._keyboard.fileno(), 4096) if self._keyboard else b""
        if data:
            self._wire.send(frames.KEYS, {"data": data.decode("latin-1")})
            if CTRL_C in data and _enough(self._unanswered):  # nobody is there to hear it
                self._detach()
        elif self._keyboard:
            self._keyboard.release()
            self._keyboard = None  # the terminal hung up

    def _share(self, number: int) -> None:
        """A key made a signal at the job's terminal: the rest of our process group had it too."""
        before = signal.signal(number, signal.SIG_IGN)
        os.killpg(0, number)
        signal.signal(number, before)
        if number == signal.SIGINT and _enough(self._presses):
            self._detach()

    def _pause(self) -> None:
        """The job was stopped: stop as well, and go on with it.

        Where there is no terminal, somebody has stopped that one process, and will continue it.
        """
        if self._terminal is None and not self._stopping:
            return
        self._stopping = False
        if self._keyboard:
            self._keyboard.release()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(0, signal.SIGTSTP)
        # Here the shell has this process; what follows happens after its SIGCONT.
        signal.signal(signal.SIGTSTP, before)
        if signal.SIGCONT not in self._signals:  # there is no shell that could stop us
            self._resume()

    def _resume(self) -> None:
        if self._keyboard and self._started:
            self._keyboard.grab()
        self._resize()
        self._wire.send(frames.SIGNAL, {"signal": int(signal.SIGCONT), "group": True})
