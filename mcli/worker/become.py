"""
The forked child becoming the caller, and running the program to its end.

``Job.become`` sets up the process; ``Job.run`` is called with nothing of the worker left on
the stack, so that the interpreter itself does the rest: the exit code of ``SystemExit``,
waiting for threads, exit handlers, flushing, and death by an uncaught Ctrl-C.
"""

import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import CodeType, ModuleType, TracebackType
from typing import Any, Final, NamedTuple, NoReturn

from mcli import failpoint, replay
from mcli.capture import Capture
from mcli.errors import JobTimeout
from mcli.family import MARK_NAME
from mcli.invocation import App, Invocation
from mcli.mask import mask_text
from mcli.outcome import (
    RESERVED_BYTES,
    Outcome,
    give_back_reserved,
    read_back,
    reserve_outcome,
    write_outcome,
)
from mcli.output import is_written, log_size, waiting
from mcli.pipe import is_gripped, is_read, open_end
from mcli.policy import TIMEOUT_CODE, USUAL
from mcli.scarcity import is_full
from mcli.standard_input import unread
from mcli.stream import Stream
from mcli.ticket import identify, is_held, note_reached, out_of_the_way, take
from mcli.worker.attempt import REACHED
from mcli.worker.load import load_command
from mcli.worker.mark import Mark
from mcli.worker.plugs import close_plugs, plug_in
from mcli.worker.preload import compiled
from mcli.worker.spare import receive

ERROR_BYTES: Final = 1 << 16
FIRST_LOOK_S: Final = 0.0001
LOOK_S: Final = 0.05
"""Seconds between two looks, at most: whether what was printed has been read, say."""

SHORT_S: Final = 0.0005
CALLER_S: Final = 0.2
"""Seconds in which a caller comes to hold the pipes of its job, if it can at all."""

PRINTS_ON_BYTES: Final = 1 << 18
"""With so many more than its own stored, what still comes is a child's."""

RESULT_BYTES: Final = 1 << 20
_OOM_SCORE: Final = "500"
_EXEC_DEPTH: Final = 2
"""What ``exec`` takes of the recursion limit beside the frames on the stack (CPython 3.11)."""


class Pipe(NamedTuple):
    """One that the worker reads from, as long as that lives."""

    stream: Stream
    inode: int


class Revoked(Exception):
    """Somebody else holds the ticket: this attempt must not begin."""


class Job:
    """The job process, from the inside."""

    def __init__(self, connection: socket.socket, code: CodeType | None, mark: Mark) -> None:
        self._connection = connection
        self._code = code
        self._mark = mark
        self.pid = os.getpid()
        self._ticket: int | None = None
        self._input: int | None = None
        """The caller's standard input, while it is withheld."""

        self._worker_pid = os.getppid()
        self._pipes: dict[int, Pipe] = {}
        """Those that it prints to, by descriptor."""

        self._held: dict[int, int] = {}
        """Their other ends, and by what they are known."""

        self._outcome = Outcome(reached=False)
        self._replaying: replay.Replaying | None = None
        self._detach_from_worker()

    # Becoming -------------------------------------------------------------------------

    def _detach_from_worker(self) -> None:
        """All that can be done before it is known which job this will be."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # An inherited socket or lock would keep a dead daemon's port and lock alive.
        kept = self._connection.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(_OOM_SCORE)
        _warm_up()

    def become(self) -> None:
        """Wait for the order, and turn into the caller's process.

        Raises:
            Revoked: The attempt is not, or no longer, ours to begin; nothing has been run.
        """
        order = receive(self._connection)
        del self._connection  # closed, and not to be found by ``nothing_left``
        if order is None:  # no job: its worker is gone, or does not need it any more
            os._exit(0)
        payload, (control, *fds) = order
        self._control = out_of_the_way(control)
        self._id, self._attempt = payload["job"], payload["attempt"]
        self._folder, self._unmute = payload["folder"], payload["unmute"].encode()
        self._deadline: float | None = payload["deadline"]
        self._invocation = Invocation.parse(payload["invocation"])
        plug_in(self._invocation.stdio, fds)
        os.closerange(3, self._control)
        failpoint.reach("received")
        self._ticket = self._take_ticket()
        failpoint.reach("ticketed")
        for number in self._invocation.ignored_signals:
            signal.signal(number, signal.SIG_IGN)
        self._take_environment()
        os.umask(self._invocation.umask)
        os.nice(self._invocation.policy.nice)
        self._renew_streams()
        self._hold_output()
        close_plugs(self._invocation.stdio)

    def _take_ticket(self) -> int:
        try:
            reserve_outcome(self._folder, self._attempt)
            ticket = take(self._folder, self._attempt, identify(self.pid))
        except OSError as error:  # a full disk: it may be begun later
            raise Revoked from error
        if ticket is None:
            if not is_held(self._folder, self._attempt):
                give_back_reserved(self._folder, self._attempt)
            raise Revoked
        return ticket

    def _take_environment(self) -> None:
        os.environ.clear()
        os.environ.update(self._invocation.env)
        os.environ[MARK_NAME] = self._id
        self._mark.write(self._id)
        os.environ["MCLI_ATTEMPT"] = str(self._attempt)
        time.tzset()

    def _renew_streams(self) -> None:
        """Python's streams over the new descriptors, as the interpreter makes them at its start.

        stdout and stderr stay the same objects, since modules may have kept them.
        """
        stdio = self._invocation.stdio
        for fd, name in ((1, "stdout"), (2, "stderr")):
            if stdio[fd] == "closed":
                _set_stream(name, None)
        if sys.stdout is not None and not sys.stdout.write_through:  # type: ignore[union-attr]
            lines = stdio[1] == "tty" or self._invocation.by_line
            sys.stdout.reconfigure(line_buffering=lines)  # type: ignore[union-attr]
        encoding, errors = sys.stdin.encoding, sys.stdin.errors
        _set_stream("stdin", None)
        if stdio[0] != "closed":
            raw = open(0, "rb", closefd=False)  # noqa: SIM115 - open for as long as the process lives
            raw.raw.name = "<stdin>"  # type: ignore[attr-defined]
            _set_stream("stdin", io.TextIOWrapper(raw, encoding, errors, "\n", os.isatty(0)))
        if stdio[0] == "fd" and self._invocation.replay is not None:
            self._withhold_input()

    def _hold_output(self) -> None:
        """Know its own pipes, and keep their reading ends too.

        With worker and daemon dead at once a write would fail for want of a reader; so it waits
        for the next daemon, which opens them again.
        """
        for fd, stream in ((1, Stream.STDOUT), (2, Stream.STDERR)):
            if self._invocation.stdio[fd] == "pipe":
                self._pipes[fd] = Pipe(stream, os.fstat(fd).st_ino)
                with contextlib.suppress(OSError):  # too many files are open
                    self._held[out_of_the_way(_reader(fd))] = self._pipes[fd].inode
        if self._held:
            os.register_at_fork(after_in_child=self._let_go_of_output)

    def _own_pipes(self) -> list[int]:
        return [fd for fd, pipe in self._pipes.items() if _is(fd, pipe.inode)]

    def _await_caller(self) -> None:
        """Before the body: stay until whoever waits for this job holds its pipes, too.

        From then on his going has to be noticed, as it would be at a pipe of his own. Who is late
        is waited for no longer if somebody looks after this job; else worker and daemon have been
        killed, and the next daemon comes.
        """
        late = time.monotonic() + CALLER_S
        while (pipes := self._own_pipes()) and not any(map(is_gripped, pipes)):
            if time.monotonic() < late:
                time.sleep(SHORT_S)
            elif self._is_looked_after():
                break
            else:
                time.sleep(LOOK_S)

    def _is_looked_after(self) -> bool:
        try:
            return is_written(self._folder)
        except OSError:  # too many files are open, say
            return False

    def _let_go_of_output(self) -> None:
        """The reading ends. In a child too: for it nothing is different from any other program."""
        while self._held:
            fd, inode = self._held.popitem()
            if _is(fd, inode):  # the program may have closed it
                os.close(fd)

    def _see_output_stored(self) -> None:
        """Stay until all that was printed is in the record log; nobody could get at it later.

        Whoever reads the pipes may be killed before it has read the last of them, and they end
        with this process. When nobody reads them any more, it does that itself.
        """
        for name in ("stdout", "stderr") if self._pipes else ():
            with contextlib.suppress(OSError, ValueError, AttributeError):
                getattr(sys, name).flush()
        if not self._invocation.by_line:  # it may not have come to its body
            self._let_go_of_output()
        unread = self._own_pipes()
        ours = log_size(self._folder) + sum(map(waiting, unread)) + PRINTS_ON_BYTES
        pause_s = FIRST_LOOK_S
        while unread := [fd for fd in unread if waiting(fd)]:
            if log_size(self._folder) > ours:
                return  # a child prints on
            try:
                muted = [pipe.stream for pipe in self._pipes.values()] if self._unmute else []
                capture = Capture(self._folder, muted=muted, unmute=self._unmute, reached=True)
            except BlockingIOError:  # somebody reads; but nobody what the caller has closed
                closed = [fd for fd in unread if not is_read(fd)]
                unread = [fd for fd in unread if fd not in closed]
                self._outcome.unstored = self._outcome.unstored or bool(closed)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S)
            except OSError as error:
                if not is_full(error):  # it is gone, say: it is not kept anyway
                    return
                time.sleep(LOOK_S)
            else:
                self._save_output(capture, unread)

    def _save_output(self, capture: Capture, unread: list[int]) -> None:
        """Store what waits, if need be when the disk has room again."""
        told: str | None = None
        try:
            while True:
                for fd in unread:
                    with open(_reader(fd), "rb", buffering=0) as reader:
                        capture.catch_up(self._pipes[fd].stream, reader.fileno())
                if not capture.full:
                    capture.release()
                if capture.again_at is None:
                    break
                time.sleep(max(0.0, capture.again_at - time.monotonic()))
                capture.try_again()
            told = capture.missing()
        except OSError as error:
            told = f"output is missing: {error.strerror}"
        finally:
            capture.close()
        self._outcome.error = self._outcome.error or told

    def _withhold_input(self) -> None:
        """What the caller has not read is for the body: the program that leads there gets none."""
        self._input = out_of_the_way(os.dup(0))
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)

    def _give_input(self) -> None:
        if self._input is not None:
            os.dup2(self._input, 0)
            os.close(self._input)
        unread(self._invocation.ahead)

    # Running --------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Run the program; the process ends as it would have ended at the caller's."""
        global _job
        _job = self
        try:
            os.chdir(self._invocation.cwd)
            if self._invocation.app.kind == "exec":
                self._execute()
            self._replaying = replay.current = replay.Replaying(
                self._invocation.replay, self._reach, self._agree
            )
            self._program()
        except replay.Diverged as error:
            self._outcome.error = str(error)
            code = 125
        except SystemExit as error:
            self._outcome.exit_code = _exit_code(error.code)
            raise
        except JobTimeout as error:  # whoever waits is told in a line, and where it was is kept
            self._keep(error)
            code = TIMEOUT_CODE
        except BaseException as error:
            self._keep(error)
            sys.excepthook(type(error), error, error.__traceback__)
            if isinstance(error, KeyboardInterrupt):
                sys.excepthook = lambda *_: None  # it has been told; the interpreter does the rest
                raise
            code = 1
        else:
            code = 0
        self._outcome.exit_code = code
        sys.exit(code)

    def _keep(self, error: BaseException) -> None:
        import traceback

        error.__traceback__ = _strip(error.__traceback__)
        told = "".join(traceback.format_exception(error))
        # What it printed is its user's own; what is kept beside that names no secrets.
        self._outcome.error = mask_text(told, self._invocation.known_secrets())[-ERROR_BYTES:]

    def _execute(self) -> NoReturn:
        target = self._invocation.app.target
        self._reach()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; others do not
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(target, [target, *self._invocation.argv])
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            what = "no such program" if missing else (error.strerror or str(error))
            os.write(2, os.fsencode(f"mcli: cannot run {target}: {what}\n"))
            self._outcome.error = f"cannot run {target}: {what}"
            self._outcome.reason = "spawn_error"
            sys.exit(127 if missing else 126)

    def _program(self) -> None:
        app, argv = self._invocation.app, self._invocation.argv
        sys.setrecursionlimit(sys.getrecursionlimit() + _depth() + _EXEC_DEPTH)
        main = ModuleType("__main__")
        main.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={})
        sys.modules["__main__"] = main
        sys.orig_argv = [app.python, *app.flags, *_words(app, self._invocation.argv0), *argv]
        if app.kind == "module":
            sys.argv = ["-m", *argv]
            runpy._run_module_as_main(app.target)  # type: ignore[attr-defined]
        elif app.kind == "script":
            sys.argv = [self._invocation.argv0 or app.target, *argv]
            main.__dict__.update(_script_globals(app.target))
            code = self._code or compiled(app.target)  # what could not be read fails as in Python
            exec(code, main.__dict__)  # noqa: S102 - running the user's program is the point
        else:
            sys.argv = [self._invocation.argv0 or app.target, *argv]
            command = load_command(app.target)
            command.main(args=argv, prog_name=self._invocation.argv0 or None)

    def _reach(self) -> None:
        """The body is next: let the program be heard, and give it its input."""
        waited_for = bool(self._pipes) and not self._invocation.by_line
        if waited_for:
            self._await_caller()
        self._outcome.reached = True
        if self._unmute:
            self._forget_typed()
            self._give_input()
            for fd in self._streams():
                os.write(fd, self._unmute)
            failpoint.reach("marked")
            assert self._ticket is not None
            note_reached(self._ticket)  # for whoever comes after a worker that has read the marks
        if waited_for:
            self._let_go_of_output()
        self._watch_the_clock()
        self._tell_worker(REACHED)

    def _agree(self, timeout_s: float | None, policy: dict[str, Any]) -> None:
        """What the command says of itself counts where nobody has said anything before."""
        limit_s = self._invocation.timeout_s or timeout_s
        if limit_s is not None and self._deadline is None:
            self._deadline = time.monotonic() + limit_s
        self._watch_the_clock()
        if self._invocation.policy == USUAL:
            self._outcome.policy = policy
            os.nice(policy.get("nice", 0))
        self._tell_worker({"deadline": self._deadline, "policy": self._outcome.policy})

    def _tell_worker(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # it is gone; the daemon looks after this job
            os.write(self._control, json.dumps(message).encode("ascii") + b"\n")

    def _watch_the_clock(self) -> None:
        """Let the body end well when its time is up, unless it has its own way with SIGTERM."""
        if self._deadline is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # the body runs in a thread
                signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, number: int, _frame: object) -> None:
        """Raise if it is the timeout that has sent this; else end as anybody would."""
        assert self._deadline is not None
        if os.getpid() == self.pid and time.monotonic() >= self._deadline:
            raise JobTimeout("it has run as long as it may")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _forget_typed(self) -> None:
        """The ends of input that the replay was given instead of its user's."""
        if "tty" in self._invocation.stdio:
            import termios

            termios.tcflush(self._invocation.stdio.index("tty"), termios.TCIFLUSH)

    def _streams(self) -> Sequence[int]:
        """One descriptor for each stream that the worker reads from."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        out, err = self._invocation.stdio[1:]
        found = [1] if out != "closed" else []
        if err == "pipe" or (err == "tty" and out != "tty"):
            found.append(2)
        return found

    # The end --------------------------------------------------------------------------

    def record(self) -> None:
        """Write down how it ended. The last of the exit handlers."""
        outcome, replaying = self._outcome, self._replaying
        if signal.getsignal(signal.SIGTERM) == self._terminated:  # it has ended in time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if replaying is not None:
            outcome.named = replaying.named
            if replaying.returned:
                outcome.returned = True
                _keep_result(outcome, replaying.value)
        self._see_output_stored()
        outcome.complete = True
        outcome.pid, outcome.worker_pid = self.pid, os.getppid()
        self._write_outcome()
        failpoint.reach("outcome-written")
        if outcome.exit_code is not None and nothing_left():
            os._exit(outcome.exit_code)

    def _write_outcome(self) -> None:
        """On a full disk without what the command returned: how it ended matters more."""
        try:
            write_outcome(self._folder, self._attempt, self._outcome)
        except OSError as error:
            self._outcome.result, self._outcome.has_result = None, False
            self._outcome.error = self._outcome.error or f"what it returned is lost: {error}"
            self._outcome.error = self._outcome.error[-RESERVED_BYTES // 4 :]
            with contextlib.suppress(OSError):
                write_outcome(self._folder, self._attempt, self._outcome)


def _reader(pipe: int) -> int:
    """The other end of a pipe that this process writes to."""
    return open_end(pipe, os.O_RDONLY)


def _is(fd: int, inode: int) -> bool:
    """Whether that is still what it was: the program may have put another file there."""
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


def nothing_left() -> bool:
    """Whether the interpreter's own last steps would change nothing that anybody can see.

    They take some milliseconds, for which the caller would wait: every page that is shared
    with the worker is touched. They matter only for objects that act when they are dropped:
    files are flushed here; a ``__del__`` or a suspended generator gets the long way.
    """
    from types import AsyncGeneratorType, CoroutineType, GeneratorType

    suspended = (GeneratorType, CoroutineType, AsyncGeneratorType)
    living = gc.get_objects()  # without what the worker had when it was frozen
    for kind in set(map(type, living)):
        if kind in suspended:
            return False
        if hasattr(kind, "__del__") and not issubclass(kind, io.IOBase):
            return False
    try:
        for file in living:
            if isinstance(file, io.IOBase) and not file.closed and file.writable():
                file.flush()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except Exception:  # noqa: BLE001 - a repr of the user's own may raise anything
        return False
    return True


_job: Job | None = None


def _record() -> None:
    if _job is not None and _job.pid == os.getpid():  # a child it forked runs this too
        _job.record()


def record_at_exit() -> None:
    """In the worker, before the app registers anything: exit handlers run last to first."""
    atexit.register(_record)


def _warm_up() -> None:
    """Go through what every job goes through, while nobody waits.

    A forked process copies each page that it writes to, and Python writes to whatever it
    reads: most of the cost of a small job is that. So the paths are walked once here.
    """
    click = sys.modules.get("click")
    if click is not None:
        option = click.Option(["--number"], type=int, default=1)
        command = click.Command("warm", params=[option], callback=lambda number: number)
        with contextlib.suppress(Exception):
            command.main(["--number=2"], prog_name="warm", standalone_mode=False)


def _depth() -> int:
    """How many frames of ours the program stands on: it has to get as deep as it would alone."""
    frame, count = sys._getframe(1), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1  # type: ignore[assignment]
    return count


def _set_stream(name: str, stream: io.TextIOWrapper | None) -> None:
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _keep_result(outcome: Outcome, value: Any) -> None:
    """As whoever reads it will find it; a value may be of the program's own classes."""
    try:
        text = json.dumps(value, allow_nan=False)
        if len(text) > RESULT_BYTES:
            outcome.result = {"repr": text[:1000], "truncated": True}
        else:
            outcome.result = read_back(text)
            outcome.has_result = True
    except (TypeError, ValueError, RecursionError):
        outcome.result = {"repr": _describe(value), "truncated": False}


def _describe(value: Any) -> str:
    try:
        return repr(value)[:1000]
    except Exception:  # noqa: BLE001 - a repr of the user's own may raise anything
        return f"<{type(value).__qualname__}>"


_LONG_MIN: Final = -(1 << 63)
_LONG_MAX: Final = (1 << 63) - 1


def _exit_code(code: Any) -> int:
    """As the interpreter takes ``SystemExit.code``."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if _LONG_MIN <= code <= _LONG_MAX else 0xFF  # no C long: -1


def _words(app: App, argv0: str) -> list[str]:
    return ["-m", app.target] if app.kind == "module" else [argv0 or app.target]


def _script_globals(path: str) -> dict[str, Any]:
    from importlib.machinery import SourceFileLoader

    return {
        "__file__": path,
        "__loader__": SourceFileLoader("__main__", path),
        "__package__": None,
        "__spec__": None,
        "__cached__": None,
        "__doc__": None,
    }


def _strip(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this file: the caller's had none."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
