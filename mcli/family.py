"""
Finding and signalling all processes of a job: its group, its descendants, its strays.

A stray is what a job has left behind: its parent has ended, so that it is a child of the
nearest subreaper (the job's worker, else the daemon). It is known by its session, by the job's
id in its environment (which what is forked has, too: ``worker.mark``), or by a pipe of the job
that it holds open.
"""

import contextlib
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from mcli.states import Condition
from mcli.ticket import started_ticks

PART_S: Final = 0.1
"""Seconds in which what a job has left may end by itself, as what reads its output does."""

STRAY_S: Final = 1.0
"""Seconds that a stray gets between SIGTERM and SIGKILL, unless a job gets less."""

KILL_AGAIN_S: Final = 1.0
"""Seconds until a job gets SIGKILL again that lives on."""

UNKILLABLE_S: Final = 60.0
"""Seconds after SIGKILL when it is noted that a job lives on, and left at that."""

_AGAIN_S: Final = (0.0, 0.1, 0.5, 1.0, 2.0)
"""Seconds after the first SIGKILL to strays at which they get one: some may fork meanwhile."""

_ROUNDS: Final = 10
"""How often it is looked for more before all that was found is killed."""

MARK_NAME: Final = "MCLI_JOB_ID"
"""The variable by which the environment of a process says of which job it is."""

BLANK_MARK: Final = "-" * 36
"""What a worker has there, as long an id, for its jobs to write theirs over it."""

LOADED_S: Final = 0.25
"""Seconds that a process gets which shows no environment because its program is being loaded."""

_LOOK_S: Final = 0.001

_MARK: Final = MARK_NAME.encode() + b"="
_VSIZE: Final = 20
_ENV_END: Final = 48
"""Where ``/proc/PID/stat`` has them after the name (proc_pid_stat(5)): fields 23 and 51."""

_DAEMON: Final = b"\0-m\0mcli.daemon\0"


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _stat(pid: int) -> list[bytes]:
    """What ``/proc/PID/stat`` tells after the name; nothing of a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    return int((_stat(pid) or (b"", b"0"))[1])


def session(pid: int) -> int:
    """The session that *pid* belongs to; 0 if there is no such process."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def mark(pid: int) -> str | None:
    """The job whose id *pid* has in its environment, as the kernel shows that."""
    found = [word[len(_MARK) :] for word in environment(pid) if word.startswith(_MARK)]
    return (os.fsdecode(found[0]).strip("-") or None) if found else None


def environment(pid: int) -> list[bytes]:
    """What *pid* was executed with, as soon as it shows that."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            if not (shown := file.read()):
                late = time.monotonic() + LOADED_S
                while _is_loading(pid) and time.monotonic() < late:
                    time.sleep(_LOOK_S)  # nobody tells
                shown = file.read()
    except OSError:
        return []
    return shown.split(b"\0")


def _is_loading(pid: int) -> bool:
    """Whether *pid* has called ``execve``, and what it was called with is not in place yet."""
    fields = _stat(pid)
    return len(fields) > _ENV_END and fields[_ENV_END] == b"0" != fields[_VSIZE]


def holds(pid: int, pipes: Collection[int]) -> bool:
    """Whether *pid* has one of the pipes open, which are named by their inodes."""
    if not pipes:
        return False
    wanted = {f"pipe:[{inode}]" for inode in pipes}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") in wanted:
                    return True
    except OSError:
        pass
    return False


def holding(pipes: Collection[int]) -> set[int]:
    """Processes that have one of the pipes open; who waits for the job is among them."""
    return {pid for pid in _processes() if holds(pid, pipes)}


def _pipes(pid: int) -> tuple[set[int], set[int]]:
    """The pipes, by their inodes, that *pid* can read from, and those that it can write to."""
    read, written = set[int](), set[int]()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = f"/proc/{pid}/fd/{name}"
                kind, _, inode = os.readlink(path).partition(":")
                if kind == "pipe":
                    ends = written if os.lstat(path).st_mode & stat.S_IWUSR else read
                    ends.add(int(inode[1:-1]))
    return read, written


def children(pid: int) -> set[int]:
    """The children of *pid*, those that have ended and are not reaped among them."""
    found: set[int] = set()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.update(map(int, file.read().split()))
    except ProcessLookupError:
        pass
    except FileNotFoundError:  # it has ended, or this kernel does not tell
        return {each for each in _processes() if _parent(each) == pid}
    return found


def descendants(roots: Iterable[int]) -> set[int]:
    """*roots* and all that descends from them, but no daemon that a job has started."""
    found: set[int] = set()
    edge = set(roots)
    while edge:
        found |= edge
        edge = {each for pid in edge for each in children(pid) if not is_daemon(each)} - found
    return found


def is_daemon(pid: int) -> bool:
    """Whether *pid* is a daemon of mcli, which a job may have started: it is no part of the job."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return _DAEMON in file.read()
    except OSError:
        return False


def _state(pid: int) -> bytes:
    """The letter for what it does; that of a process that is gone if there is none."""
    return (_stat(pid) or (b"X",))[0]


def lives(pid: int) -> bool:
    """Whether *pid* is a process that has not ended; one that nobody has reaped has."""
    return _state(pid) not in (b"Z", b"X")


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped *pid*."""
    return _state(pid) in (b"T", b"t")


def catches(pid: int, number: int) -> bool:
    """Whether *pid* has a handler for that signal."""
    return _has_signal(pid, "SigCgt", number)


def condition(pid: int) -> Condition | None:
    """What keeps *pid* from going on, or from its end; None: nothing does."""
    if is_stopped(pid):
        return "stopped"
    if _has_signal(pid, "(?:Sig|Shd)Pnd", signal.SIGKILL):
        return "unkillable"
    return None


def _has_signal(pid: int, field: str, number: int) -> bool:
    """Whether it is in one of the masks that the kernel shows of *pid* under that name."""
    try:
        with open(f"/proc/{pid}/status") as file:
            masks = re.findall(rf"^{field}:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:  # it has ended
        return False
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def strays(leader: int, job_id: str) -> set[int]:
    """What is known to be of the job by session or mark, wherever it is, but for its leader.

    Looks at every process there is: for when nobody is their parent who could tell them. To be
    asked while the leader lives, or has just ended: later its session may be a stranger's.
    """
    ours = os.getpid()
    return {
        pid
        for pid in _processes()
        if pid not in (ours, leader)
        and (session(pid) == leader or mark(pid) == job_id)
        and lives(pid)
        and not is_daemon(pid)
    }


class Traces(NamedTuple):
    """By what living processes are known to be of some job, whoever their parent is."""

    marks: dict[str, set[int]]
    """Processes by the id of the job that they are marked with."""

    pipes: dict[int, set[int]]
    """Processes without a mark by the pipe that they can write to."""

    read: set[int]
    """Pipes from which some process can read."""

    def of(self, job_id: str, pipes: Collection[int], since: int | None = None) -> set[int]:
        """Those of a job that has these pipes.

        Args:
            since: When it began, in clock ticks after boot. What is older may have been handed
                a pipe, as one that connects for others is, and is nobody's child here.
        """
        found = self.marks.get(job_id, set()).union(*(self.pipes.get(i, set()) for i in pipes))
        return {pid for pid in found if since is None or (started_ticks(pid) or 0) >= since}


def traces() -> Traces:
    """One look at every process there is, for any number of jobs."""
    found = Traces({}, {}, set())
    for pid in _processes():
        job_id, (read, pipes) = mark(pid), _pipes(pid)
        found.read.update(read)
        if (job_id or pipes) and pid != os.getpid() and lives(pid) and not is_daemon(pid):
            if job_id:
                found.marks.setdefault(job_id, set()).add(pid)
            else:  # else it is of that job, whatever it was handed by others
                for inode in pipes:
                    found.pipes.setdefault(inode, set()).add(pid)
    return found


def members(leader: int, job_id: str) -> set[int]:
    """Every process of the job but its leader: descendants, and strays known as its own."""
    return descendants({leader, *strays(leader, job_id)}) - {leader}


def signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def signal_each(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end(pids: Iterable[int], number: int) -> None:
    """A signal that ends, to processes that may be stopped."""
    pids = list(pids)
    signal_each(pids, number)
    signal_each(pids, signal.SIGCONT)


def hunts(now: float, grace_s: float) -> list[tuple[float, int]]:
    """The signals for strays that do not end by themselves, each with the time for it.

    Args:
        now: When their job's process has ended.
        grace_s: What a job gets between SIGTERM and SIGKILL.
    """
    kill_at = now + PART_S + min(STRAY_S, grace_s)
    kills: list[tuple[float, int]] = [(kill_at + later, signal.SIGKILL) for later in _AGAIN_S]
    return [(now + PART_S, signal.SIGTERM), *kills]


def kill_all(find: Callable[[], set[int]]) -> None:
    """SIGKILL to what *find* finds, when all of it has been stopped: it could fork meanwhile."""
    found: set[int] = set()
    for _ in range(_ROUNDS):
        more = find() - found
        if not more:
            break
        signal_each(more, signal.SIGSTOP)
        found |= more
    signal_each(found, signal.SIGKILL)


def kill(leader: int, job_id: str) -> None:
    """SIGKILL to the group and to everything that descends from it."""
    signal_group(leader, signal.SIGSTOP)
    kill_all(lambda: members(leader, job_id))
    signal_group(leader, signal.SIGKILL)
