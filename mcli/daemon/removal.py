"""
The files of a job that is removed: put away, and erased when its row is gone.

A job goes whole or not at all. Its folder is renamed first, ``<id>`` to ``<id>.removed``;
then its row is removed; then what was put away is erased. Whatever a daemon was killed in the
middle of, the next one undoes (the row is there) or completes (it is not): ``settle``.

Everything is done by descriptor, and following no link: a job may have planted one.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from typing import Final

from mcli import queue
from mcli.ids import is_id
from mcli.store.store import Store

AWAY: Final = ".removed"


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def put_away(jobs: str, job_ids: Collection[str]) -> list[str]:
    """Rename the folders of these jobs in the folder *jobs*; the ids of those that had one."""
    moved = []
    with _opened(jobs) as fd:
        for job_id in job_ids:
            _erase(fd, job_id + AWAY)  # of a job that had this id before
            with contextlib.suppress(FileNotFoundError):
                os.rename(job_id, job_id + AWAY, src_dir_fd=fd, dst_dir_fd=fd)
                moved.append(job_id)
    return moved


def put_back(jobs: str, job_ids: Collection[str]) -> None:
    """Undo ``put_away``."""
    with _opened(jobs) as fd:
        for job_id in job_ids:
            with contextlib.suppress(FileNotFoundError):
                os.rename(job_id + AWAY, job_id, src_dir_fd=fd, dst_dir_fd=fd)


def erase(jobs: str, job_ids: Collection[str]) -> None:
    """Remove what was put away of these jobs."""
    with _opened(jobs) as fd:
        for job_id in job_ids:
            _erase(fd, job_id + AWAY)


def _erase(fd: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)


def away(jobs: str) -> list[str]:
    """The jobs of which something is put away."""
    names = [name.removesuffix(AWAY) for name in os.listdir(jobs) if name.endswith(AWAY)]
    return [name for name in names if is_id(name)]


def settle(jobs: str, store: Store) -> list[str]:
    """Before anything is accepted: put back what was put away of jobs that are still known.

    Returns:
        The jobs of which the rest is to be erased.
    """
    left = away(jobs)
    there = store.read(queue.known, left) if left else set()
    back = [each for each in there if not os.path.lexists(os.path.join(jobs, each))]
    put_back(jobs, back)
    return [each for each in left if each not in back]
