"""
A running job whose worker has gone: the daemon does for it what its worker did.

The worker has shared the reading ends of the job's streams in time, so that the job's output
goes on, and the daemon, as the subreaper, is told how its process ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from mcli import family, frames, memory
from mcli.anchors import Anchors
from mcli.capture import Capture, translates
from mcli.card import Pipes, has_begun, read_began, read_began_ticks, read_pipes
from mcli.daemon.headroom import is_beyond
from mcli.daemon.patience import AGAIN_S
from mcli.daemon.verdict import policy_of
from mcli.invocation import Invocation
from mcli.job import JobInfo
from mcli.keyboard import Keyboard
from mcli.outcome import Outcome, read_outcome, write_outcome
from mcli.scarcity import is_scarce
from mcli.stream import Stream
from mcli.ticket import Identity, has_reached

log = logging.getLogger("mcli.jobs")

LOOK_S = 0.05
"""Seconds between two looks for what a job has left behind."""


class Streams:
    """The reading ends of a job's streams, kept in case its worker goes."""

    def __init__(self, fds: list[int], streams: list[int], unmute: bytes) -> None:
        shared = dict(zip(fds, streams, strict=False))
        self.fds = {fd: stream for fd, stream in shared.items() if not is_beyond(fd)}
        for fd in shared.keys() - self.fds.keys():
            os.close(fd)
        self.missing = set(streams).difference(self.fds.values())
        """Not held: the daemon has had no descriptors left to take them, or was another one."""

        self.unmute = unmute
        self.anchors = Anchors()
        """Of streams that were closed: their worker may die, too."""

    def take(self, stream: int, fd: int) -> bool:
        """Whether that one was missing, and is held now."""
        if stream not in self.missing:
            return False
        self.missing.discard(stream)
        self.fds[fd] = stream
        return True

    def reopen(self, pipes: Pipes, pids: Iterable[int]) -> None:
        """Take what is missing from processes that have it still.

        Raises:
            OSError: Too many files are open.
        """
        wanted = {inode: stream for stream, inode in pipes.inodes.items() if stream in self.missing}
        for pid in pids:
            with _others_matter_not():
                for name in os.listdir(f"/proc/{pid}/fd") if wanted else ():
                    with _others_matter_not():
                        path = f"/proc/{pid}/fd/{name}"
                        told = os.stat(path)
                        if stat.S_ISFIFO(told.st_mode) and told.st_ino in wanted:
                            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                            self.take(wanted.pop(told.st_ino), fd)

    def shut(self, stream: int) -> None:
        """Read no more of one stream; what is in its pipe by then is kept."""
        for fd, each in self.fds.items():
            if each == stream:
                self.anchors.keep(stream, fd)
        self.close(stream)

    def close(self, stream: int | None = None) -> None:
        """Let go of one stream, or of all."""
        if stream is None:
            self.anchors.close()
        else:
            self.missing.discard(stream)
        for fd, each in list(self.fds.items()):
            if stream in (None, each):
                del self.fds[fd]
                asyncio.get_running_loop().remove_reader(fd)
                asyncio.get_running_loop().remove_writer(fd)
                os.close(fd)


@contextlib.contextmanager
def _others_matter_not() -> Iterator[None]:
    """Pass over what has ended, or is somebody else's."""
    try:
        yield
    except OSError as error:
        if is_scarce(error):
            raise


def _left_s(folder: str, timeout_s: float) -> float:
    """How long the attempt may still run; all of it anew, if it is not known when it began."""
    began_s = read_began(folder)
    return timeout_s if began_s is None else max(0.0, began_s + timeout_s - time.monotonic())


class Orphan:
    """Looks after one such job. *grew* is called with the size of its record log."""

    def __init__(
        self,
        info: JobInfo,
        folder: str,
        process: Identity | None,
        streams: Streams,
        reached: bool,
        size: int,
        grace_s: float,
        grew: Callable[[int], None],
        reach: Callable[[], None],
        tell: Callable[[int, dict[str, Any]], None],
        invocation: Invocation,
        output_max: int | None,
    ) -> None:
        assert info.pid is not None
        self._info = info
        self._pid = info.pid
        self._process = process
        """None: it has ended, and nothing tells which it was."""

        self._over = False
        self._seen = self._lives()
        """Its end is seen here, so that its session is nobody else's."""

        self.ours = self._pid in family.children(os.getpid())
        """Whether the daemon is told how its process ends, as its parent."""

        self._folder = folder
        self._streams = streams
        self._grew = grew
        self._reach = reach
        self._tell = tell
        self._reason: str | None = None
        self._grace_s = grace_s
        self._invocation = invocation
        shared = (fd for fd, stream in streams.fds.items() if stream != Stream.TTY)
        told = read_pipes(folder).inodes.values()
        self._pipes = {os.fstat(fd).st_ino for fd in shared}.union(told)
        self._began_ticks = read_began_ticks(folder)
        self._memory_max = invocation.policy.memory_bytes
        self._oom_kills = memory.oom_kills()
        self._killed = False
        """SIGKILL has been sent on purpose."""

        self._error: str | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._terminal: int | None = None
        self._keyboard: Keyboard | None = None
        self._looks_whether_stopped = False
        self._left_s = _left_s(folder, info.timeout_s) if info.timeout_s is not None else None
        self._noted = reached
        """All marks that the body is reached were written; its worker may have read one."""

        self._told = reached
        self._capture = Capture(
            folder,
            whole=size,
            most=output_max,
            muted={*streams.fds.values(), *streams.missing} if streams.unmute else (),
            unmute=streams.unmute,
            reached=reached,
            anchors=streams.anchors,
        )
        self._gone = False
        """What it printed last is nowhere any more."""

    def start(self) -> None:
        """Read what it prints, and see to its limits.

        Raises:
            OSError: The system does not allow it now; it is to be closed.
        """
        for fd in list(self._streams.fds):
            self.hear(fd)
        self._await_body()
        self._look()
        if self._left_s is not None:
            stop = partial(self.stop, self._grace_s, "timeout")
            self._after(self._left_s, stop)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            try:
                act()
            except OSError as error:  # too many files are open, say
                log.error("job.waits job_id=%s: %s", self._info.id, error)
                self._after(AGAIN_S, act)

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

    def hear(self, fd: int) -> None:
        """Read one of its streams from now on."""
        self._listen(fd)
        self._unmute(fd)

    def _unmute(self, fd: int) -> None:
        """Where no mark is any more, though it was written, somebody has read it before."""
        if self._noted and self._capture.muted:
            with self._growing(fd) as stream:
                self._capture.unmute(stream, fd)

    def _await_body(self) -> None:
        """Look whether the body is reached, as long as that is not known: nobody tells."""
        self._look_for_note()
        if self._capture.muted and not self._noted and not self._over:
            self._after(LOOK_S, self._await_body)

    def _look_for_note(self) -> None:
        if self._capture.muted and not self._noted:
            with contextlib.suppress(OSError):  # too many files are open: at the next look
                self._noted = has_reached(self._folder, self._info.attempt)
            if self._noted:
                self._capture.hold_all = True
                for fd in list(self._streams.fds):
                    self._unmute(fd)
                self._tell_reached()

    def _tell_reached(self) -> None:
        if not self._told and (self._noted or self._capture.heard):
            self._told = True
            self._reach()

    def _listen(self, fd: int) -> None:
        if self._streams.fds[fd] == Stream.TTY and self._terminal != fd:
            self._terminal, self._keyboard = fd, Keyboard(fd)
            self._capture.line_ends = translates(fd)
        if not self._capture.full:
            asyncio.get_running_loop().add_reader(fd, self._read, fd)

    def _read(self, fd: int) -> None:
        """Move what a stream has into the log, once."""
        self._look_for_note()
        with self._growing(fd) as stream:
            try:
                self._capture.read(stream, fd)
            except EOFError:
                self._streams.close(stream)

    def _catch_up(self, fd: int) -> None:
        with self._growing(fd) as stream:
            self._capture.catch_up(stream, fd)

    @contextlib.contextmanager
    def _growing(self, fd: int) -> Iterator[int]:
        """Tell what has come of a stream, and wait if there was no room for it."""
        stream, size, full = self._streams.fds[fd], self._capture.log.size, self._capture.full
        if stream == Stream.TTY and self._capture.line_ends != translates(fd):
            self._capture.line_ends = not self._capture.line_ends
            self._tell(frames.MODE, {"raw": not self._capture.line_ends, "size": size})
        yield stream
        if self._capture.log.size != size:
            self._grew(self._capture.log.size)
        if self._capture.full and not full:
            self._wait_for_room()
        self._tell_reached()

    def _wait_for_room(self) -> None:
        """Read nothing for now: who writes waits, as on a slow disk."""
        loop = asyncio.get_running_loop()
        for fd in self._streams.fds:
            loop.remove_reader(fd)
        if not self._over:  # else ``_drained`` tries again
            assert self._capture.again_at is not None
            self._after(self._capture.again_at - time.monotonic(), self._try_again)

    def _try_again(self) -> None:
        if self._over:
            return
        self._capture.try_again()
        self._grew(self._capture.log.size)
        if self._capture.full:
            self._wait_for_room()
        else:
            for fd in list(self._streams.fds):
                self.hear(fd)

    def type(self, data: bytes) -> None:
        """Give keys to the job's terminal."""
        if self._keyboard is not None and self._terminal in self._streams.fds and self._lives():
            made = self._keyboard.type(self._pid, data)
            for number in made:
                self._tell(frames.TYPED, {"signal": number})
            self._write_keys()
            if signal.SIGTSTP in made:
                self._see_stopped()

    def _write_keys(self) -> None:
        """What the terminal does not take now it will take when its reader has read."""
        assert self._keyboard is not None
        assert self._terminal is not None
        loop = asyncio.get_running_loop()
        if self._keyboard.write():
            loop.add_writer(self._terminal, self._write_keys)
        else:
            loop.remove_writer(self._terminal)

    def resize(self, rows: int, cols: int) -> None:
        """Its terminal has another size."""
        if self._keyboard is not None and self._terminal in self._streams.fds:
            self._keyboard.resize(rows, cols)
        if self._invocation.stdio[0] != "tty":  # it may have no terminal that would tell it
            self.signal(signal.SIGWINCH)

    def _see_stopped(self) -> None:
        """Only its parent is told by the kernel that it stands still."""
        if not self.ours and not self._looks_whether_stopped:
            self._looks_whether_stopped = True
            self._after(LOOK_S, self.tell_paused)

    def tell_paused(self) -> None:
        """Tell that its process stands still, if it does."""
        self._looks_whether_stopped = False
        if self._lives() and family.is_stopped(self._pid):
            for fd in list(self._streams.fds):
                self._catch_up(fd)
            self._tell(frames.PAUSED, {"size": self._capture.log.size})

    def signal(self, number: int, *, group: bool = True) -> None:
        """To its process, or its process group, while its number is its own."""
        if self._lives():
            if number == signal.SIGTSTP and not family.catches(self._pid, number):
                number = signal.SIGSTOP
            self._killed = self._killed or number == signal.SIGKILL
            if group:
                family.signal_group(self._pid, number)
            else:
                family.signal_each({self._pid}, number)
            if number == signal.SIGSTOP:
                self._see_stopped()

    def _lives(self) -> bool:
        return not self._over and self._process is not None and self._process.alive()

    def stop(self, grace_s: float, reason: str = "user") -> None:
        """SIGTERM now, SIGKILL to all that is left after *grace_s* seconds."""
        if self._reason is None and self._lives():
            self._reason = reason
            late = time.monotonic() + grace_s + family.UNKILLABLE_S
            self._after(grace_s, partial(self._kill, late))
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)

    def _kill(self, late: float) -> None:
        """SIGKILL to all of it, again and again until *late*: one may fork meanwhile."""
        if not self._lives():
            return
        self._killed = True
        family.kill(self._pid, self._info.id)
        if time.monotonic() >= late:
            log.warning("job.unkillable job_id=%s pids=%s", self._info.id, [self._pid])
        else:
            self._after(family.KILL_AGAIN_S, partial(self._kill, late))

    def _look(self) -> None:
        """End it if it has more memory than it may."""
        most = self._memory_max
        if most is None or self._reason is not None or not self._lives():
            return
        if memory.used(family.descendants({self._pid}), most) > most:
            self._reason = "memory"
            self._error = f"needed more than its {memory.shown(most)} of memory"
            self._kill(time.monotonic() + family.UNKILLABLE_S)
        else:
            self._after(memory.LOOK_S, self._look)

    async def end(self, status: int | None) -> Outcome | None:
        """Its process is gone, with *status* of ``waitpid`` if that is known: what it came to.

        Told when nothing of it lives any more, and all that it has printed is stored.
        """
        self._over = True
        stored = self._drained()  # first: whoever reads an outcome believes that all is stored
        outcome = self._complete(status)
        # Where it tells that there was no room, and nobody has held the pipes, the rest is gone.
        if outcome is not None:
            self._gone = self._gone or (outcome.unstored and bool(self._streams.missing))
            outcome.unstored = self._gone or not stored
            await self._keep(outcome)  # nobody could find out again
        if not policy_of(self._invocation, outcome).leave_children:
            await self._hunt()
        while not self._drained():
            await asyncio.sleep(LOOK_S)
        told = self._capture.missing()
        self.close()  # when nothing can fail any more: all this may have to be done again
        if outcome is not None:
            outcome.unstored = self._gone
            if told and outcome.exit_code == 0:
                outcome.error = told
            await self._keep(outcome)
        return outcome

    def _complete(self, status: int | None) -> Outcome | None:
        """What it has written of its end, and what is known here; None: nothing tells."""
        outcome = read_outcome(self._folder, self._info.attempt)
        if outcome is None and status is None and self._reason is None:
            return None
        outcome = outcome or Outcome(reached=self._has_reached())
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGKILL and not self._killed:
                found = memory.out_of_memory(self._oom_kills)
                self._reason, self._error = found or (self._reason, None)
            outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
            if self._invocation.app.kind == "exec":  # it writes none, and may end with any code
                outcome.complete = has_begun(self._folder, self._info.attempt, code)
        outcome.reason = self._reason or outcome.reason
        outcome.error = self._error or outcome.error
        return outcome

    def _has_reached(self) -> bool:
        return (
            self._noted
            or self._capture.heard
            or not self._streams.unmute
            or has_reached(self._folder, self._info.attempt)
        )

    async def _keep(self, outcome: Outcome) -> None:
        """Write it down, if it is that of an attempt which has begun, and not what that wrote."""
        folder, attempt = self._folder, self._info.attempt
        outcome.pid = self._pid
        with contextlib.suppress(OSError):  # the store is told as well
            written = read_outcome(folder, attempt)
            if outcome != written and has_begun(folder, attempt, outcome.exit_code):
                await asyncio.to_thread(write_outcome, folder, attempt, outcome)

    async def _hunt(self) -> None:
        """End what it has left behind."""
        plan = family.hunts(time.monotonic(), self._grace_s)
        while strays := await asyncio.to_thread(self._strays):
            if not plan:
                log.warning("job.unkillable job_id=%s pids=%s", self._info.id, sorted(strays))
                return
            if time.monotonic() >= plan[0][0]:
                number = plan.pop(0)[1]
                if number == signal.SIGKILL:
                    await asyncio.to_thread(family.kill_all, self._strays)
                else:
                    family.end(strays, number)
            await asyncio.sleep(LOOK_S)  # nobody tells of the end of those that are not ours

    def _strays(self) -> set[int]:
        roots = family.traces().of(self._info.id, self._pipes, self._began_ticks)
        if self._seen:
            roots |= family.strays(self._pid, self._info.id)
        return {pid for pid in family.descendants(roots) if family.lives(pid)}

    def close_stream(self, stream: int) -> None:
        """Nobody wants more of it: what it has is kept, and who writes on is told."""
        for fd, each in list(self._streams.fds.items()):
            if each == stream:
                self._catch_up(fd)
        self._streams.shut(stream)

    def _drained(self) -> bool:
        """Whether all that was in the streams at its end is stored."""
        if self._capture.again_at is not None and time.monotonic() >= self._capture.again_at:
            self._capture.try_again()
        for fd in list(self._streams.fds):
            self._catch_up(fd)
        size = self._capture.log.size
        self._capture.gather()
        if self._capture.log.size != size:
            self._grew(self._capture.log.size)
        if not self._capture.full:
            self._capture.finish()
            self._capture.release()  # unheard: its worker may have had the mark
        if self._capture.full:
            self._wait_for_room()
        return not self._capture.full and not self._streams.anchors.ends

    def close(self) -> None:
        """Do no more for it: it has ended, or its worker is back."""
        for timer in self._timers:
            timer.cancel()
        for fd in self._streams.fds:
            asyncio.get_running_loop().remove_reader(fd)
            asyncio.get_running_loop().remove_writer(fd)
        self._capture.close()
