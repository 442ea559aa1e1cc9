"""Bodies that start threads and processes, or look at the process they are in."""

from .case import Case, python
from .conftest import Twins


def app(*args: str) -> list[str | bytes]:
    return python("bodies.py", *args)


CASES = [
    Case(id="threads", argv=app("threads")),
    Case(id="late-thread", argv=app("late-thread")),
    Case(id="multiprocessing-fork", argv=app("processes", "fork")),
    Case(id="multiprocessing-spawn", argv=app("processes", "spawn")),
    Case(id="multiprocessing-forkserver", argv=app("processes", "forkserver")),
    Case(id="process-pool", argv=app("pool")),
    Case(id="fork", argv=app("forked")),
    Case(id="subprocess", argv=app("subprocesses")),
    Case(id="asyncio", argv=app("coroutine")),
    Case(id="atexit", argv=app("exit-handlers")),
    Case(id="main-thread", argv=app("main-thread")),
    Case(id="process-leader", argv=app("processes-around")),
    Case(id="main-module", argv=app("itself")),
    Case(id="temporary-file", argv=app("temporary")),
    Case(id="descriptors", argv=app("descriptors")),
]


def test_bodies(twins: Twins, case: Case, stage: str) -> None:
    """A body may do whatever a program may do, up to its last breath."""
    twins.check(case, stage)
