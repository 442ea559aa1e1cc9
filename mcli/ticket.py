"""
The right to begin an attempt, as a file that only one process can create.

``<attempt>.start`` is made by ``link(2)`` of a complete file: by the job process before any
of the user's code, or by a recovering daemon to revoke the attempt. The job process keeps a
POSIX lock on it as long as nothing closes its descriptors, for people to see who has it; whether
it lives is told by its identity.
"""

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Final

from mcli.errors import UnsafeHome
from mcli.lock import locker

HIGH_FD: Final = 240

REVOKED_CODE: Final = 121
"""Exit code of a job process that could not have its ticket: it has not begun."""

_REACHED: Final = b"\n"
"""At the end of a ticket: its holder has reached the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process, told apart from any other that had or will have its number."""

    pid: int
    boot_id: str
    pid_namespace: int
    started_ticks: int
    """Clock ticks after boot."""

    def alive(self) -> bool:
        """Whether that very process still exists (a zombie does not)."""
        if self.boot_id != boot_id() or self.pid_namespace != pid_namespace():
            return False
        return started_ticks(self.pid) == self.started_ticks


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def started_ticks(pid: int) -> int | None:
    """When *pid* started, or None if there is no such process, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def now_ticks() -> int:
    """This moment, in clock ticks after boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def identify(pid: int) -> Identity:
    """The identity of a living process.

    Raises:
        ProcessLookupError: There is none of that number.
    """
    ticks = started_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"no process {pid}")
    return Identity(pid=pid, boot_id=boot_id(), pid_namespace=pid_namespace(), started_ticks=ticks)


def ticket_path(folder: str, attempt: int) -> str:
    return os.path.join(folder, f"{attempt}.start")


def take(folder: str, attempt: int, holder: Identity | None) -> int | None:
    """Create the ticket: for *holder*, which is the calling process, or as a revocation (None).

    Returns:
        A locked descriptor that the holder keeps open, or None if the ticket was taken.

    Raises:
        OSError: The disk is full, say; nothing is left of the try.
    """
    path = ticket_path(folder, attempt)
    draft = f"{path}.{os.getpid()}"
    with contextlib.ExitStack() as always, contextlib.ExitStack() as undo:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        always.callback(os.close, directory)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fd = out_of_the_way(fd)
            undo.callback(os.close, fd)
            os.write(fd, json.dumps(asdict(holder) if holder else None).encode())
            if holder:
                fcntl.lockf(fd, fcntl.LOCK_EX)
            os.link(draft, path)
        except FileExistsError:
            return None
        finally:
            os.unlink(draft)
        undo.callback(os.unlink, path)
        os.fsync(directory)  # that it exists must survive a power cut; what it says is moot then
        undo.pop_all()
    return fd


def out_of_the_way(fd: int) -> int:
    """*fd* under a high number: programs count on the next free one being 3."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    except OSError:  # the limit is that low
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def note_reached(fd: int) -> None:
    """Its holder notes on the ticket that the body is next."""
    with contextlib.suppress(OSError):  # a full disk
        os.write(fd, _REACHED)


def has_reached(folder: str, attempt: int) -> bool:
    """Whether that is noted."""
    try:
        with open(ticket_path(folder, attempt), "rb") as file:
            return file.read().endswith(_REACHED)
    except FileNotFoundError:
        return False


def is_taken(folder: str, attempt: int) -> bool:
    """Whether somebody has the ticket."""
    return os.path.exists(ticket_path(folder, attempt))


def is_held(folder: str, attempt: int) -> bool:
    """Whether a process has it, or had: it is neither free nor taken away."""
    try:
        return holder(folder, attempt) is not None
    except FileNotFoundError:
        return False


def is_over(folder: str, attempt: int) -> bool:
    """Whether a process had it, and has ended."""
    try:
        owner = holder(folder, attempt)
    except FileNotFoundError:
        return False  # nobody has begun: its worker is about to
    return owner is not None and not owner.alive()


def newest(folder: str) -> int:
    """The highest attempt whose ticket was taken, or revoked; 0 if none was."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    numbers = [name.removesuffix(".start") for name in names if name.endswith(".start")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def revoke(folder: str, attempt: int) -> bool:
    """Take the ticket away from whoever might still come for it; False if somebody has it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    fd = take(folder, attempt, None)
    if fd is None:
        return holder(folder, attempt) is None  # taken away before, by who could not go on
    os.close(fd)
    return True


def clear(folder: str) -> None:
    """Remove what those have left in the making who were killed, once an attempt is over."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if ".start." in name or ".json." in name or name.endswith(".tmp"):
                os.unlink(os.path.join(folder, name))


def holder(folder: str, attempt: int) -> Identity | None:
    """Who took the ticket; None if it was revoked.

    Raises:
        FileNotFoundError: Nobody has.
    """
    with open(ticket_path(folder, attempt), "rb") as file:
        text = file.read().strip(b"\0" + _REACHED)
    if not text:  # written just before a power cut
        return Identity(pid=0, boot_id="", pid_namespace=0, started_ticks=0)
    content = json.loads(text)
    return Identity(**content) if content else None


def lock_holder(path: str) -> int | None:
    """The pid that holds a POSIX lock on *path*, or None. Asks the kernel; takes nothing.

    Raises:
        UnsafeHome: There is no way to that file for us.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsafeHome(
            f"cannot use the state directory {os.path.dirname(path)}: {error.strerror}; "
            "set MCLI_HOME to a directory that you can write to"
        ) from error
    try:
        return locker(fd)
    finally:
        os.close(fd)
