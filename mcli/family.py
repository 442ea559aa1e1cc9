"""Finding and signalling all processes of a job: its group, its descendants, its strays."""

import contextlib
import os
import signal
from collections.abc import Iterator


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _marked(pid: int, mark: bytes) -> bool:
    """Whether *pid* was executed with the job's id in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in b"\0" + file.read()
    except OSError:
        return False


def members(leader: int, job_id: str) -> set[int]:
    """Every process of the job but its leader: descendants, and strays known by their mark."""
    parents = {pid: _parent(pid) for pid in _processes()}
    found: set[int] = set()
    edge = {leader}
    while edge:
        edge = {pid for pid, parent in parents.items() if parent in edge} - found
        found |= edge
    mark = f"\0MCLI_JOB_ID={job_id}\0".encode()
    return found | {pid for pid in parents if pid != os.getpid() and _marked(pid, mark)} - {leader}


def signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill(leader: int, job_id: str) -> None:
    """SIGKILL to the group and to everything that descends from it."""
    rest = members(leader, job_id)
    signal_group(leader, signal.SIGKILL)
    for pid in rest:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
