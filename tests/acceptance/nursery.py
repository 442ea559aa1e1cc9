"""
Daemons that are forked from a process which has imported everything: most of a start is that.

``Nursery`` is the test's side of that process, ``Forked`` that of a daemon, with the face of
``subprocess.Popen``. Run as a program this file is the process itself: with one thread, and
no files but those by which it hears of a daemon to fork and tells how one has ended. It ends
with the process that started it; its daemons do not.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Final, NamedTuple

MESSAGE_MAX: Final = 1 << 20


def of_the_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process heeds when it begins: one that is forked has those of before."""
    prefixes = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_")
    return {name: value for name, value in env.items() if name.startswith(prefixes)}


# The test's side ----------------------------------------------------------------------


class Forked:
    """A daemon that another process is the parent of."""

    def __init__(self, pid: int, process: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._process = process
        self._status = status

    def poll(self) -> int | None:
        """How it has ended, if it has: as soon as the kernel says so, not when somebody waits."""
        if self.returncode is None and _readable(self._process, 0):
            told = os.read(self._status, 16)
            os.close(self._process)
            os.close(self._status)
            self.returncode = int(told or -signal.SIGKILL)
            assert told, "the nursery has ended before its daemon"
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ends.

        Raises:
            TimeoutExpired: It has not ended after *timeout* seconds.
        """
        if self.returncode is None:
            _readable(self._process, timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(["mcli.daemon"], timeout or 0)
        return code


def _readable(fd: int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


class Nursery:
    """The process that forks this one's daemons."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._interpreter = of_the_interpreter(env)
        self._asking = Lock()
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno())],
                env={name: env[name] for name in env if not name.startswith("MCLI_")},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def fits(self, env: Mapping[str, str]) -> bool:
        """Whether a process that begins with *env* would be as those are that are forked."""
        return of_the_interpreter(env) == self._interpreter

    def fork(
        self, words: Sequence[str], *, cwd: str, env: Mapping[str, str], ready: int, log: int
    ) -> Forked:
        """``python -m mcli.daemon WORDS``, told where to write that it is ready."""
        status, writer = os.pipe()
        order = json.dumps({"words": words, "cwd": cwd, "env": dict(env)}).encode()
        try:
            with self._asking:
                socket.send_fds(self._control, [order], [ready, log, writer])
                told, (process,), *_ = socket.recv_fds(self._control, 16, 1)
        finally:
            os.close(writer)
        return Forked(int(told), process, status)

    def close(self) -> None:
        """End it."""
        self._control.close()
        self._process.wait()


# The process --------------------------------------------------------------------------


class Child(NamedTuple):
    """A daemon that was forked and has not ended, as far as it is known."""

    pid: int
    process: int
    status: int


class Order(NamedTuple):
    """A daemon to be: what a process is given when it begins."""

    words: list[str]
    cwd: str
    env: dict[str, str]
    ready: int
    log: int
    status: int


def serve(control: socket.socket) -> Order | None:
    """Fork what is asked for, until nobody can ask any more; in the child, what it is to be."""
    children: dict[int, Child] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd != control.fileno():
                poll.unregister(fd)
                _bury(children.pop(fd))
                continue
            order = _order(control)
            if order is None:
                return None
            pid = os.fork()
            if pid == 0:
                control.close()
                return order
            process = os.pidfd_open(pid)
            children[process] = Child(pid, process, order.status)
            poll.register(process, select.POLLIN)
            os.close(order.ready)
            os.close(order.log)
            socket.send_fds(control, [str(pid).encode()], [process])


def _order(control: socket.socket) -> Order | None:
    message, fds, *_ = socket.recv_fds(control, MESSAGE_MAX, 3)
    if not message:
        return None
    told: dict[str, Any] = json.loads(message)
    ready, log, status = fds
    return Order(told["words"], told["cwd"], told["env"], ready, log, status)


def _bury(child: Child) -> None:
    """Tell how it has ended; then the kernel may forget it."""
    _, status = os.waitpid(child.pid, 0)
    os.write(child.status, str(os.waitstatus_to_exitcode(status)).encode())
    os.close(child.status)
    os.close(child.process)


def become(order: Order) -> None:
    """Be as a process that has just begun."""
    os.setsid()
    os.chdir(order.cwd)
    ready = order.ready
    os.dup2(order.log, 1)
    os.dup2(order.log, 2)
    os.closerange(3, ready)
    os.closerange(ready + 1, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order.env)
    os.environ["MCLI_READY_FD"] = str(ready)
    time.tzset()
    sys.path[0] = order.cwd
    sys.orig_argv = [sys.executable, "-m", "mcli.daemon", *order.words]
    from mcli import failpoint
    from mcli.daemon import __file__ as package

    sys.argv = [package.replace("__init__", "__main__"), *order.words]
    failpoint._armed = failpoint.parse(order.env.get("MCLI_FAILPOINT", ""))


def main() -> int:
    """This process, and each that it forks."""
    gc.disable()  # as the daemon does until it serves
    from mcli.daemon import early
    from mcli.daemon.main import main as run

    for name in ("mcli.daemon.server", *early.MODULES):
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        assert len(os.listdir("/proc/self/task")) == 1
        order = serve(control)
    if order is None:
        return 0
    become(order)
    return run(order.words)


if __name__ == "__main__":
    sys.exit(main())
