"""What a body may do that is not just computing."""

import asyncio
import atexit
import concurrent.futures
import contextvars
import inspect
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading

import click

import mcli

flavour = contextvars.ContextVar("flavour", default="plain")


@click.group()
def cli() -> None:
    pass


def command(body):
    return cli.command()(mcli.background(body))


def square(number):
    return number * number


@command
def threads():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(list(pool.map(square, range(10))))
    words = queue.Queue()
    thread = threading.Thread(target=words.put, args=("from a thread",))
    thread.start()
    thread.join()
    print(words.get())


@command
def late_thread():
    """A thread that is not a daemon holds the end of the program."""
    gate = threading.Event()

    def late():
        gate.wait()
        print("late thread")

    threading.Thread(target=late).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("body is over")
    atexit.register(print, "atexit after the threads")
    gate.set()


@command
@click.argument("method")
def processes(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        print(pool.map(square, range(10)))
    sys.stdout.flush()
    child = context.Process(target=print, args=("from a process",), kwargs={"flush": True})
    child.start()
    child.join()
    print(child.exitcode)


@command
def pool():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(list(pool.map(square, range(5))))


@command
def forked():
    print("parent", flush=True)
    pid = os.fork()
    if not pid:
        print("child")
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


@command
def subprocesses():
    found = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit(5)"],
        input="given",
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.returncode, found.stdout)
    print(subprocess.check_output("echo shell $((6 * 7))", shell=True, text=True))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as cat:
        cat.communicate(b"through cat\n")


@command
def coroutine():
    async def tick(name, turns):
        for turn in range(turns):
            print(name, turn)
            await asyncio.sleep(0)
        return name

    async def main():
        found = await asyncio.gather(tick("a", 2), tick("b", 3))
        sys.stdout.flush()
        child = await asyncio.create_subprocess_exec("echo", "async child")
        await child.wait()
        return found

    print(asyncio.run(main()))


@command
def exit_handlers():
    atexit.register(print, "registered first, runs last")
    atexit.register(print, "runs first", file=sys.stderr)
    click.get_current_context().call_on_close(lambda: print("context closed"))
    print("body")


@command
def main_thread():
    print(threading.current_thread() is threading.main_thread(), threading.active_count())
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    for name in ("SIGTERM", "SIGCHLD", "SIGPIPE", "SIGHUP", "SIGUSR1", "SIGWINCH", "SIGTSTP"):
        print(name, signal.getsignal(getattr(signal, name)))
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
    os.kill(os.getpid(), signal.SIGUSR1)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no children")


@command
def processes_around():
    """Who leads what: the same in a job as in a shell."""
    print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.nice(0))
    print(sorted(os.sched_getaffinity(0)) == list(range(os.cpu_count())))


@command
def itself():
    import __main__

    print(__name__, __main__.__file__ == __file__, sys.modules["__main__"] is __main__)
    print(inspect.getsource(square), square.__module__)
    print(contextvars.copy_context().get(flavour, "unset"), flavour.get())
    print(sys.gettrace(), sys.getswitchinterval())
    print(logging.getLogger().handlers, logging.getLogger().level)


@command
def temporary():
    with tempfile.NamedTemporaryFile("w+", dir=".") as file:
        file.write("temporary")
        file.seek(0)
        print(file.read(), len(os.listdir()))
    print(os.listdir())


@command
def descriptors():
    """A child inherits the three streams and nothing else (its own listing is the fourth)."""
    sys.stdout.flush()
    subprocess.run("ls /proc/self/fd | wc -l", shell=True, check=True, close_fds=False)


if __name__ == "__main__":
    cli()
