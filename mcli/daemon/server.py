"""
The daemon's life: take the lock, open the store, recover, listen, serve, stop.

One event loop serves callers and workers (unix sockets) and HTTP (uvicorn). Whoever started
the daemon is told on ``$MCLI_READY_FD``, in one line of JSON, that it is ready or why not.
"""

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from mcli import failpoint
from mcli.appbook import Entry
from mcli.daemon import early, removal, signals
from mcli.daemon.api import create_app
from mcli.daemon.apps import Apps, preloaded
from mcli.daemon.attach import TOO_MANY, Caller
from mcli.daemon.auth import make_token
from mcli.daemon.ballast import Ballast
from mcli.daemon.bind import Bound, bind
from mcli.daemon.calls import Calls
from mcli.daemon.crash import CRASHED, crash, watch_for_bugs
from mcli.daemon.dispatch import Dispatcher
from mcli.daemon.endpoints import Endpoints
from mcli.daemon.limits import Limits
from mcli.daemon.link import Listener
from mcli.daemon.rebuild import rebuild
from mcli.daemon.recovery import recover
from mcli.daemon.retention import Retention
from mcli.daemon.rounds import Rounds
from mcli.daemon.signing import make_secret
from mcli.daemon.sources import found
from mcli.daemon.systemd import Notices
from mcli.daemon.watchdog import Watchdog
from mcli.daemon.web import WebServer, web_server
from mcli.daemon.webhooks import Webhooks
from mcli.errors import MCLIError
from mcli.filesystem import check_local
from mcli.home import Home
from mcli.outcome import write_durably
from mcli.settings import Settings
from mcli.store.store import Store
from mcli.ticket import lock_holder
from mcli.version import PROTOCOL, __version__

log = logging.getLogger("mcli.daemon")

_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER
OTHER_S: Final = 30.0
"""Seconds that another daemon, which holds the lock, gets to say where it listens."""


class AlreadyRunning(Exception):
    """Another daemon holds the lock."""


def main(words: Sequence[str]) -> int:
    """Run the daemon with the options of ``mcli daemon start``; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mcli.daemon")
    for setting in fields(Settings):
        if setting.metadata["option"]:
            parser.add_argument(setting.metadata["option"], dest=setting.name)
    parser.add_argument("--app", action="append", dest="apps", default=[])
    parser.add_argument("--apps-from", default=_here())
    parser.add_argument("--i-know", action="store_true")
    options = vars(parser.parse_args(words))
    apps, i_know, apps_from = (options.pop(name) for name in ("apps", "i_know", "apps_from"))
    try:
        settings, home = Settings.load(options), Home.find()
    except MCLIError as error:
        _report_failure(error)
        return error.exit_code
    return serve(settings, home, apps, options, i_know=i_know, apps_from=apps_from)


def serve(
    settings: Settings,
    home: Home,
    apps: list[str],
    options: Mapping[str, str | None],
    *,
    i_know: bool = False,
    apps_from: str | None = None,
) -> int:
    """Be the daemon of *home* until told to stop; the exit code.

    Args:
        apps: Those that the command line names.
        options: By the names of their settings, what it says of those; None is nothing.
        apps_from: The directory that they are named from, and run in; the current one if None.
        i_know: Others than this machine may be served, see ``bind``.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        check_local(home.root)
        home.create()
        lock = _lock(home)
    except AlreadyRunning:
        _report_other(home)
        return 0
    except MCLIError as error:
        _report_failure(error)
        return error.exit_code
    try:
        entries = found(apps, _here(), apps_from)
        given = {name: str(getattr(settings, name)) for name, text in options.items() if text}
        return asyncio.run(_Server(settings, home, entries, given, i_know).run())
    except MCLIError as error:
        _report_failure(error)
        return error.exit_code
    except Exception:
        log.critical("daemon.crashed", exc_info=True)
        return CRASHED
    finally:
        os.close(lock)


def _here() -> str:
    """The current directory; the root if it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _lock(home: Home) -> int:
    """Hold the lock for as long as this process lives. A file's mere presence means nothing."""
    fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AlreadyRunning from None
    return fd


class _Server:
    def __init__(
        self,
        settings: Settings,
        home: Home,
        apps: list[Entry],
        given: dict[str, str],
        i_know: bool,
    ) -> None:
        self._settings = settings
        self._home = home
        self._entries = apps
        self._given = given
        self._i_know = i_know
        self._stop = asyncio.Event()
        self._notices = Notices()

    async def run(self) -> int:
        """Start, serve, stop."""
        os.chdir("/")
        watch_for_bugs(asyncio.get_running_loop())
        _become_subreaper()
        token = make_token(self._home.token)
        secret = make_secret(self._home.webhook_secret)
        bound = bind(self._settings, i_know=self._i_know)
        Ballast(self._home.ballast).look()
        store = Store.open(self._home.database)
        try:
            webhooks = Webhooks(store, secret, retry_s=self._settings.webhook_retry_s)
            await self._serve(store, bound, token, webhooks)
        finally:
            store.close()
            self._clear()
        log.info("daemon.stopped")
        return 0

    async def _serve(self, store: Store, bound: Bound, token: str, webhooks: Webhooks) -> None:
        dispatcher = Dispatcher(self._home, self._settings, store)
        dispatcher.stop_requested = self._stop.set
        dispatcher.url = bound.url
        left = removal.settle(self._home.jobs, store)
        rebuild(store, self._home)
        adopted = recover(store, self._home)
        failpoint.reach("recovered")
        self._handle_signals(dispatcher)
        listeners = [
            Listener(self._home.worker_socket, dispatcher.pool.accept),
            Listener(
                self._home.attach_socket,
                lambda connection: _greet(dispatcher, connection),
                refusal=TOO_MANY,
            ),
        ]
        for job in adopted:
            dispatcher.adopt(job)
        apps = Apps(self._home, self._settings, store, dispatcher.pool)
        server = _http_server(dispatcher, apps, bound, token)
        dispatcher.ended.append(lambda _job: webhooks.wake())
        retention = Retention(self._home, self._settings, store, dispatcher.readers)
        dispatcher.ended.append(lambda _job: retention.wake())
        web = self._begin(server.serve(sockets=[bound.socket]))
        tasks = [
            self._begin(self._look(dispatcher, apps)),
            self._begin(Rounds(self._home, store, listeners, dispatcher.troubles).run()),
            self._begin(webhooks.run()),
            self._begin(retention.run(left)),
        ]
        watchdog = self._watch()
        apps.begin(self._entries)
        _report_ready(dispatcher, self._home, bound, apps.count, self._entries, self._given)
        for entry in self._entries:
            if entry.origin == "start":
                dispatcher.pool.warm(preloaded(entry))
        dispatcher.pump()
        early.load()
        _keep_what_is_there()
        self._notices.tell("READY=1")
        await self._stop.wait()
        self._notices.tell("STOPPING=1")
        log.info("daemon.stopping")
        watchdog.close()
        dispatcher.drain()
        for listener in listeners:
            listener.close()
        for task in tasks:
            task.cancel()
        apps.close()
        dispatcher.pool.close()
        server.stop()
        await web

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something to the end of the daemon's life. If it ends before, so does the daemon."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not self._stop.is_set() and not task.cancelled():
            name = getattr(task.get_coro(), "__qualname__", "a task")
            crash(f"{name} has ended", task.exception())

    def _watch(self) -> Watchdog:
        patience_s = self._settings.watchdog_s
        watchdog = Watchdog(asyncio.get_running_loop(), patience_s or 0)
        if patience_s is not None:
            watchdog.start()
        return watchdog

    def _handle_signals(self, dispatcher: Dispatcher) -> None:
        signals.obey(self._stop.set, self._clear)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, _reap, dispatcher)

    def _clear(self) -> None:
        """Remove what says that a daemon is here. It holds the lock: this is nobody else's."""
        home = self._home
        for path in (home.address, home.address + ".tmp", home.attach_socket, home.worker_socket):
            with contextlib.suppress(OSError):
                os.unlink(path)

    async def _look(self, dispatcher: Dispatcher, apps: Apps) -> None:
        """The back-stop: what events should have done is done again now and then."""
        while True:
            await asyncio.sleep(self._settings.worker_check_interval_s)
            dispatcher.look()
            dispatcher.pool.trim()
            apps.trim()


def _greet(dispatcher: Dispatcher, connection: socket.socket) -> None:
    Caller(dispatcher, connection)


def _reap(dispatcher: Dispatcher) -> None:
    """All children that have ended: workers, and jobs whose worker has gone before them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            dispatcher.reaped(pid, status)


def _keep_what_is_there() -> None:
    """What has been made until now stays to the end, when it need not be looked through either."""
    gc.freeze()
    gc.enable()


def _become_subreaper() -> None:
    """Orphans of workers become our children, so that somebody waits for them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_SUBREAPER, 1, 0, 0, 0)


def _http_server(dispatcher: Dispatcher, apps: Apps, bound: Bound, token: str) -> WebServer:
    limits = Limits(body_max=dispatcher.settings.body_max)
    app = create_app(
        dispatcher,
        token=token,
        allowed_hosts=bound.hosts,
        apps=apps,
        endpoints=Endpoints(apps, Calls(dispatcher, apps)),
        limits=limits,
    )
    return web_server(app, limits, bound.tls)


# Reports ------------------------------------------------------------------------------


def _report_ready(
    dispatcher: Dispatcher,
    home: Home,
    bound: Bound,
    apps: int,
    entries: Sequence[Entry],
    given: dict[str, str],
) -> None:
    """Tell the starter; and, in ``daemon.json``, everybody, and the restart what to keep."""
    told = {
        "pid": os.getpid(),
        "url": dispatcher.url,
        "fingerprint": bound.fingerprint,
        "version": __version__,
        "protocol": PROTOCOL,
        "started_at": dispatcher.status()["started_at"],
    }
    named = [entry for entry in entries if entry.origin == "start"]
    start = {
        "apps": [entry.target for entry in named],
        "cwd": named[0].cwd if named else "",
        "options": given,
    }
    write_durably(home.address, json.dumps(told | start).encode())
    log.info("daemon.ready pid=%d url=%s home=%s", os.getpid(), dispatcher.url, home.root)
    _report({"ok": True, "apps": apps, **told})


def _report_other(home: Home) -> None:
    """Somebody else is the daemon: say where it is, as soon as it says so itself."""
    told = _wait_for_address(home)
    _report({"ok": True, "already": True, **told})
    if "MCLI_READY_FD" not in os.environ:
        sys.stderr.write(f"mcli daemon already running: {told['url']} (pid {told['pid']})\n")


def _wait_for_address(home: Home) -> dict[str, Any]:
    deadline = time.monotonic() + OTHER_S
    while True:
        told = _told(home)
        if told.get("pid") == lock_holder(home.lock) or time.monotonic() > deadline:
            return {"url": "", "pid": lock_holder(home.lock), **told}
        time.sleep(0.05)  # it tells its own starter when it is ready, not us


def _told(home: Home) -> dict[str, Any]:
    try:
        with open(home.address, encoding="utf-8") as file:
            told: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return told


def _report_failure(error: MCLIError) -> None:
    log.error("daemon.failed %s", error)
    _report({"ok": False, "code": error.code, "exit_code": error.exit_code, "message": str(error)})


def _report(line: dict[str, Any]) -> None:
    fd = os.environ.pop("MCLI_READY_FD", None)
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(int(fd), json.dumps(line).encode() + b"\n")
            os.close(int(fd))
