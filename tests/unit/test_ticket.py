"""The right to begin an attempt: one takes it, all others can see who, and whether he lives."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mcli.ticket import (
    Identity,
    boot_id,
    clear,
    holder,
    identify,
    lock_holder,
    revoke,
    started_ticks,
    take,
    ticket_path,
)

TAKER = """
import os, sys
from mcli.ticket import identify, take
fd = take(sys.argv[1], 1, identify(os.getpid()))
print("taken" if fd is not None else "late", flush=True)
sys.stdin.read()
"""

WITHOUT_ROOM = """
import os, resource, signal, sys
from mcli.ticket import revoke
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
tries, before = 0, len(os.listdir("/proc/self/fd"))
for _ in range(10):
    try:
        revoke(sys.argv[1], 1)
    except OSError:
        tries += 1
os.write(1, f"tries={tries} more={len(os.listdir('/proc/self/fd')) - before}\\n".encode())
"""

Child = subprocess.Popen[str]


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Callable[[], tuple[Child, str]]]:
    """Starts processes that try to take attempt 1, and live until they are killed."""
    started: list[Child] = []

    def start() -> tuple[Child, str]:
        child = subprocess.Popen(
            [sys.executable, "-c", TAKER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stdout
        return child, child.stdout.readline().strip()

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_it_is_taken_once(tmp_path: Path, taker: Callable[[], tuple[Child, str]]) -> None:
    """Of two processes one gets it; the other is told so, and leaves nothing behind."""
    first, answer = taker()
    assert answer == "taken"
    assert taker()[1] == "late"
    assert os.listdir(tmp_path) == ["1.start"]
    owner = holder(str(tmp_path), 1)
    assert owner == identify(first.pid)


def test_the_kernel_knows_the_holder(
    tmp_path: Path, taker: Callable[[], tuple[Child, str]]
) -> None:
    """The holder's lock lasts as long as the holder, and asking takes nothing away."""
    child, _ = taker()
    path = ticket_path(str(tmp_path), 1)
    assert [lock_holder(path), lock_holder(path)] == [child.pid, child.pid]
    child.kill()
    child.wait(10)
    assert lock_holder(path) is None


def test_the_holder_is_known_to_be_dead(
    tmp_path: Path, taker: Callable[[], tuple[Child, str]]
) -> None:
    """A holder lives until its process is killed; as a zombie it is dead already."""
    child, _ = taker()
    owner = holder(str(tmp_path), 1)
    assert owner
    assert owner.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert not owner.alive()
    child.wait(10)
    assert not owner.alive()


def test_a_revoked_attempt_cannot_begin(
    tmp_path: Path, taker: Callable[[], tuple[Child, str]]
) -> None:
    """Who revokes an attempt takes its ticket, for nobody."""
    fd = take(str(tmp_path), 1, None)
    assert fd is not None
    os.close(fd)
    assert holder(str(tmp_path), 1) is None
    assert taker()[1] == "late"
    assert take(str(tmp_path), 1, None) is None
    assert revoke(str(tmp_path), 1), "nobody has it"


def test_try_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a descriptor, however often it is tried on a full disk."""
    words = [sys.executable, "-c", WITHOUT_ROOM, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "tries=10 more=0\n"
    assert os.listdir(tmp_path) == []


def test_draft_of_who_was_killed_is_removed(tmp_path: Path) -> None:
    """What a process leaves that is killed while it writes; the tickets and the card stay."""
    for name in ("1.start", "2.start", "2.start.4711", "1.outcome", "job.json", "job.json.4711"):
        (tmp_path / name).touch()
    clear(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["1.outcome", "1.start", "2.start", "job.json"]
    clear(str(tmp_path / "nowhere"))


def test_nobody_has_a_ticket_that_is_not_there(tmp_path: Path) -> None:
    """An attempt that has not begun has no holder, which is an error to ask for; nor a lock."""
    with pytest.raises(FileNotFoundError):
        holder(str(tmp_path), 1)
    assert lock_holder(ticket_path(str(tmp_path), 1)) is None


def test_an_empty_ticket_is_held_by_the_dead(tmp_path: Path) -> None:
    """After a power cut the file may be there and empty: it was taken, and its taker is gone."""
    Path(ticket_path(str(tmp_path), 1)).touch()
    owner = holder(str(tmp_path), 1)
    assert owner is not None
    assert not owner.alive()


ME = identify(os.getpid())


@pytest.mark.parametrize(
    "other",
    [
        replace(ME, boot_id="another"),
        replace(ME, pid_namespace=ME.pid_namespace + 1),
        replace(ME, started_ticks=ME.started_ticks - 1),
    ],
    ids=["boot", "namespace", "start"],
)
def test_a_number_alone_is_no_identity(other: Identity) -> None:
    """Another boot, namespace or start time makes it another process, whatever its pid."""
    assert identify(os.getpid()).alive()
    assert not replace(other, pid=os.getpid()).alive()


def test_there_is_no_identity_without_a_process() -> None:
    """A number that no process has is told so."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    with pytest.raises(ProcessLookupError, match=f"no process {child.pid}"):
        identify(child.pid)
    assert started_ticks(child.pid) is None
    assert len(boot_id()) == 36
