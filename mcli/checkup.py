"""
A checkup: what can be wrong with mcli here, looked at one by one.

Each check is a function that gives one finding, or none where there is nothing to look at. It
changes nothing and needs no network. The daemon is asked as any program would ask it, and has
to let one small job pass.
"""

import contextlib
import json
import os
import platform
import pwd
import re
import resource
import stat
import time
from collections.abc import Generator, Iterator
from enum import StrEnum
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcli import address, filesystem
from mcli.client import Client
from mcli.errors import BadSetting, DaemonError, MCLIError, UnsafeHome
from mcli.family import children, is_stopped, mark
from mcli.home import Home
from mcli.listener import owner_uid
from mcli.settings import Settings, origins
from mcli.status import ask
from mcli.store import examination
from mcli.ticket import lock_holder
from mcli.version import __version__

ANSWER_S: Final = 3.0
"""Seconds in which a daemon that is well answers."""

FILES_MIN: Final = 256
"""Descriptors that the daemon needs: some for each job, and for each who follows one."""

PROCESSES_MIN: Final = 50
"""Processes that must still be possible."""

LOG_MAX: Final = 64 * 1024 * 1024
"""Bytes that the write-ahead log has only while a reader keeps it from being emptied."""

SYSTEMD: Final = "/run/systemd/system"
"""Is there where systemd runs."""

TAIL: Final = 64 * 1024
"""Bytes of the daemon's log in which its last words are looked for."""

LAST_WORDS: Final = re.compile(r"\bdaemon\.(?:crashed|hung) (.*)")

LINGER: Final = "/var/lib/systemd/linger"
UNIT: Final = "mcli.service"


START: Final = "start it with: mcli daemon start"
RESTART: Final = "run: mcli daemon restart; running jobs run on"


class Verdict(StrEnum):
    """Of a finding."""

    OK = "ok"
    NOTE = "note"
    """As it may be; but one should know."""

    WRONG = "wrong"


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do if that is wrong."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


def checkup() -> Iterator[Finding]:
    """All findings, each when it is known."""
    home = Home.find()
    settings = yield from _settings()
    yield _directory(home)
    yield from _ground(home)
    pid = _holder(home)
    yield from _limits(pid)
    yield from _systemd()
    yield _versions()
    yield _store(home, served=pid is not None)
    yield from _daemon(home, pid, settings)


# The place ----------------------------------------------------------------------------------


def _settings() -> Generator[Finding, None, Settings]:
    """A finding; returns the settings, as far as they can be read."""
    try:
        settings, places = Settings.load(), origins()
    except BadSetting as error:
        yield _wrong("settings", str(error))
        return Settings()
    told = ", ".join(sorted(places.values())) or "all as they are by default"
    yield _ok("settings", told)
    if os.environ.get("MCLI_FAILPOINT"):
        yield _wrong("settings", "MCLI_FAILPOINT is set: mcli is to fail", "unset it")
    return settings


def _directory(home: Home) -> Finding:
    if not os.path.lexists(home.root):
        return _absent(home)
    try:
        home.check()
    except UnsafeHome as error:
        return _wrong("state directory", str(error))
    mode = stat.S_IMODE(os.stat(home.root).st_mode)
    return _ok("state directory", f"{home.root}, mode {mode:04o}, yours")


def _absent(home: Home) -> Finding:
    """Nothing is there yet; or not any more, while jobs run that were begun with it."""
    left = ", ".join(f"{job_id} (pid {pid})" for pid, job_id in _running(home))
    there = _existing(home.root)
    if not left and not os.access(there, os.W_OK | os.X_OK):
        told = f"{home.root} is not there, and {there} is not writable for you"
        return _wrong("state directory", told, "set MCLI_HOME to a directory that you can write to")
    if not left:
        return _note("state directory", f"{home.root} is not there yet; the first start makes it")
    return _wrong(
        "state directory",
        f"{home.root} was removed while jobs ran: {left}; nobody keeps what they print",
        "put it back, or let them end",
    )


def _running(home: Home) -> list[tuple[int, str]]:
    """Processes of jobs that workers of this directory have begun, and the jobs' ids."""
    config = b"\0mcli.worker\0" + json.dumps({"home": home.root})[:-1].encode()
    found: dict[int, str | None] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if config in Path(f"/proc/{pid}/cmdline").read_bytes():
                found[pid] = mark(pid)
                if found[pid] is None:  # a worker: any program may be its child
                    found |= {child: mark(child) for child in children(pid)}
    return sorted((pid, job_id) for pid, job_id in found.items() if job_id is not None)


def _existing(path: str) -> str:
    """The directory, or the nearest one above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _ground(home: Home) -> Iterator[Finding]:
    there = _existing(home.root)
    kind = filesystem.kind(there)
    if kind is None:
        yield _note("file system", f"of which kind that of {there} is cannot be told")
    elif filesystem.is_network(kind):
        yield _wrong(
            "file system",
            f"{there} is on {kind}, where locks and shared memory are not to be trusted",
            "set MCLI_HOME to a directory on a disk of this machine",
        )
    else:
        yield _ok("file system", f"{kind}, on this machine")
    shortage = filesystem.shortage(there)
    if shortage is not None:
        yield _wrong("space", shortage, "make room, or set MCLI_HOME to a directory elsewhere")
    else:
        found = os.statvfs(there)
        yield _ok("space", f"{_size(found.f_bavail * found.f_frsize)} free")


def _limits(pid: int | None) -> Iterator[Finding]:
    whose = "the daemon" if pid and pid > 0 else "this shell"
    files = _limit(pid, resource.RLIMIT_NOFILE)
    if files is not None and files < FILES_MIN:
        advice = f"run: ulimit -n {FILES_MIN * 4}; then: mcli daemon restart"
        yield _wrong("open files", f"{whose} may have {files} open files", advice)
    else:
        yield _ok("open files", f"{whose} may have {_number(files)}{_used(pid)}")
    processes = _limit(pid, resource.RLIMIT_NPROC)
    if processes is None or os.geteuid() == 0:
        yield _ok("processes", "no limit binds this user")
        return
    used = _tasks()
    told = f"{used} of {processes} that this user may have"
    if processes - used < PROCESSES_MIN:
        yield _wrong("processes", told, "end some, or raise the limit: ulimit -u")
    else:
        yield _ok("processes", told)


def _limit(pid: int | None, which: int) -> int | None:
    """The soft limit of the daemon, or of this process; None: there is none."""
    try:
        soft, _ = resource.prlimit(pid if pid and pid > 0 else 0, which)
    except OSError:
        soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft


def _used(pid: int | None) -> str:
    try:
        return f", and has {len(os.listdir(f'/proc/{pid}/fd'))} open"
    except OSError:
        return ""


def _tasks() -> int:
    """Threads of all processes of this user: what the limit counts."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it has just ended
            continue
    return count


def _systemd() -> Iterator[Finding]:
    """Where there is systemd: whether the daemon is its service, and outlives the session."""
    if not os.path.isdir(SYSTEMD):
        return
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    unit = os.path.join(folder, "systemd", "user", UNIT)
    if os.path.exists(unit):
        yield _ok("service", unit)
    else:
        yield _note("service", "no unit of systemd: nobody starts the daemon after a boot")
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # nobody of that uid is known, so nobody can linger
        return
    if os.path.exists(os.path.join(LINGER, name)):
        yield _ok("lingering", "on: what runs outlives the last session")
    else:
        told = f"off: systemd may end all at logout; to prevent that: loginctl enable-linger {name}"
        yield _note("lingering", told)


def _versions() -> Finding:
    sqlite = examination.version()
    told = (
        f"mcli {__version__}, Python {platform.python_version()}, Click {version_of('click')}, "
        f"SQLite {sqlite}"
    )
    if not examination.has_reset_bug():
        return _ok("versions", told)
    first, last = (".".join(map(str, bound)) for bound in examination.RESET_BUG)
    return _note(
        "versions",
        f"{told}; SQLite {first} to {last} can damage a store that two connections write at once: "
        "here only the daemon writes, and a caller only where a daemon does not answer",
    )


def _has_jobs(home: Home) -> bool:
    try:
        return bool(os.listdir(home.jobs))
    except OSError:  # there are none, or ``_directory`` tells of it
        return False


def _store(home: Home, *, served: bool) -> Finding:
    found = examination.examine(home.database, served=served)
    if found is None and _has_jobs(home):
        told = f"{home.database} is gone, although there are jobs; the next start makes a new one"
        return _wrong("store", told, f"put it back, or start with what {home.jobs} tells")
    if found is None:
        return _note("store", f"{home.database} is not there yet; the first start makes it")
    told = f"{_size(found.size)}, write-ahead log {_size(found.log_size)}"
    if found.wrong is not None:
        return _wrong("store", f"{home.database}: {found.wrong}", "see: mcli daemon logs")
    if found.unchecked is not None:
        return _note("store", f"{told}; {found.unchecked}")
    if found.log_size > LOG_MAX:
        advice = "end whoever else reads it, or run: mcli daemon restart"
        return _wrong("store", f"{told}: a reader keeps it from being emptied", advice)
    return _ok("store", f"sound, {told}")


# The daemon ---------------------------------------------------------------------------------


def _holder(home: Home) -> int | None:
    try:
        return lock_holder(home.lock)
    except UnsafeHome:
        return None


def _daemon(home: Home, pid: int | None, settings: Settings) -> Iterator[Finding]:
    if not address.is_here(settings.host):
        told = f"MCLI_BACKGROUND_HOST is {settings.host}: that daemon is not asked from here"
        yield _note("daemon", f"{told}; run mcli doctor there")
        return
    if pid is None and not _can_be_known(home):
        yield _note("daemon", "it is not known whether one runs in that state directory")
        return
    if pid is None:
        yield _wrong("daemon", f"{_absence(home)}: commands run in the caller", START)
        yield from _port(settings)
        return
    if pid <= 0:
        yield _wrong("daemon", "it runs in another container", "run mcli doctor there")
        return
    status = yield from _answers(home, pid)
    yield from _sockets(home)
    if status is not None:
        yield from _http(home)
        yield from _outcomes(status["jobs"]["lost"])
        for trouble in status.get("troubles", ()):
            text = f"{trouble['name']}: {trouble['text']} (since {trouble['since']})"
            yield _wrong("trouble", text, "see: mcli daemon logs")
        for note in status.get("notes", ()):
            yield _note(note["name"], f"{note['text']} ({note['at']})")


def _can_be_known(home: Home) -> bool:
    """Whether one holds the lock: another user's directory does not tell."""
    try:
        lock_holder(home.lock)
    except UnsafeHome:
        return False
    return True


def _absence(home: Home) -> str:
    """That no daemon is there, and why, if it did not stop but died and has said so."""
    try:
        pid = json.loads(Path(home.address).read_text())["pid"]
    except (OSError, ValueError, KeyError):  # who stops takes it away
        return "not running"
    said = ""
    with contextlib.suppress(OSError), open(home.log, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL))
        said = log.read().decode(errors="replace")
    _, is_its, life = said.rpartition(f" daemon.ready pid={pid} ")  # else it wrote elsewhere
    last_words = LAST_WORDS.findall(life) if is_its else []
    return f"it has died: {last_words[-1]}" if last_words else "it has died"


def _answers(home: Home, pid: int) -> Generator[Finding, None, dict[str, Any] | None]:
    """A finding; returns what the daemon tells of itself, if it does."""
    began = time.monotonic()
    try:
        status = ask(home, ANSWER_S)
    except TimeoutError:
        yield _silent(pid)
        return None
    except (MCLIError, OSError, ValueError) as error:
        yield _wrong("daemon", f"pid {pid}: {error}", RESTART)
        return None
    told = f"pid {pid}, mcli {status['version']}, {_program(pid)}, answers in {_ms(began)}"
    if status["version"] == __version__:
        yield _ok("daemon", told)
    else:
        yield _wrong("daemon", f"{told}; this is mcli {__version__}", RESTART)
    return status


def _outcomes(lost: int) -> Iterator[Finding]:
    if lost:
        told = f"how {lost} of the jobs ended cannot be known; see: mcli ps --state lost"
        yield _note("outcomes", told)


def _silent(pid: int) -> Finding:
    if is_stopped(pid):
        advice = f"run: kill -CONT {pid}"
        return _wrong("daemon", f"pid {pid} was stopped by a signal, and answers nobody", advice)
    return _wrong(
        "daemon",
        f"pid {pid} hangs: no answer in {ANSWER_S:g} s",
        f"run: kill -9 {pid} && mcli daemon start; running jobs run on",
    )


def _program(pid: int) -> str:
    """The interpreter that the daemon runs with: it may be another one than here."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return "of an unknown interpreter"


def _sockets(home: Home) -> Iterator[Finding]:
    paths = (home.attach_socket, home.worker_socket)
    wrong = [f"{path} {why}" for path in paths if (why := _wrong_socket(path))]
    if wrong:
        yield _wrong("sockets", "; ".join(wrong), RESTART)
    else:
        yield _ok("sockets", f"yours alone, in {os.path.dirname(paths[0])}")


def _wrong_socket(path: str) -> str | None:
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    if not stat.S_ISSOCK(found.st_mode):
        return "is no socket"
    if found.st_uid != os.geteuid():
        return f"belongs to uid {found.st_uid}"
    if found.st_mode & 0o077:
        return f"can be used by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def _http(home: Home) -> Iterator[Finding]:
    """Its port, whose it is; and a job that passes through everything."""
    try:
        with Client.connect(home) as client:
            began = time.monotonic()
            client.status()
            yield _ok("http", f"{client.url}, yours, answers in {_ms(began)}")
            began = time.monotonic()
            try:
                client.ready()
            except MCLIError as error:
                yield _wrong("job", str(error), "see: mcli ps; mcli daemon logs")
            else:
                yield _ok("job", f"a small one came through in {_ms(began)}")
    except DaemonError as error:
        yield _wrong("http", str(error))


def _port(settings: Settings) -> Iterator[Finding]:
    """Whether a daemon could listen there."""
    uid = owner_uid(settings.bind_host, settings.port)
    if uid is None or settings.port == 0:
        yield _ok("port", f"{settings.port} is free" if settings.port else "any free one is taken")
        return
    advice = "start the daemon with --port 0, or set MCLI_BACKGROUND_PORT"
    yield _wrong("port", f"{settings.port} is taken by a process of uid {uid}", advice)


# Words --------------------------------------------------------------------------------------


def _ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def _note(check: str, text: str) -> Finding:
    return Finding(check, Verdict.NOTE, text)


def _wrong(check: str, text: str, advice: str = "") -> Finding:
    return Finding(check, Verdict.WRONG, text, advice)


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def _number(count: int | None) -> str:
    return "any number" if count is None else str(count)


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes" if count else "empty"
