"""
The daemon's life: open the store, recover, listen, serve, stop.

One event loop serves callers and workers (unix sockets) and HTTP (uvicorn).
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NoReturn

from mcli import failpoint
from mcli.appbook import Entry
from mcli.daemon import early, removal, report, signals
from mcli.daemon.api import create_app
from mcli.daemon.apps import Apps, preloaded
from mcli.daemon.attach import TOO_MANY, Caller
from mcli.daemon.auth import make_token
from mcli.daemon.ballast import Ballast
from mcli.daemon.bind import Bound, bind
from mcli.daemon.calls import Calls
from mcli.daemon.crash import crash, watch_for_bugs
from mcli.daemon.dispatch import Dispatcher
from mcli.daemon.endpoints import Endpoints
from mcli.daemon.limits import Limits
from mcli.daemon.link import Listener
from mcli.daemon.rebuild import rebuild
from mcli.daemon.recovery import recover
from mcli.daemon.retention import Retention
from mcli.daemon.rounds import Rounds
from mcli.daemon.signing import make_secret
from mcli.daemon.systemd import Notices
from mcli.daemon.watchdog import Watchdog
from mcli.daemon.web import WebServer, web_server
from mcli.daemon.webhooks import Webhooks
from mcli.home import Home
from mcli.outcome import write_durably
from mcli.settings import Settings
from mcli.store.store import Store
from mcli.version import PROTOCOL, __version__

log = logging.getLogger("mcli.daemon")

_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER


def run(
    settings: Settings, home: Home, apps: list[Entry], given: dict[str, str], *, i_know: bool
) -> NoReturn:
    """Be the daemon of *home*, whose lock is ours, until told to stop: that ends this process.

    Args:
        apps: Those that it has from its start on.
        given: By the names of their settings, what the command line said of those.
        i_know: Others than this machine may be served, see ``bind``.

    Raises:
        MCLIError: It cannot be.
    """
    asyncio.run(_Server(settings, home, apps, given, i_know).run())


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

    async def run(self) -> NoReturn:
        """Start, serve, stop; and end the process, whatever tasks and threads are still about.

        What they have not written the next daemon does again. Here they would be in the way: they
        find the store closed.
        """
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
        logging.shutdown()
        os._exit(0)

    async def _serve(self, store: Store, bound: Bound, token: str, webhooks: Webhooks) -> None:
        dispatcher = Dispatcher(self._home, self._settings, store)
        dispatcher.stop_requested = self._stop.set
        dispatcher.url = bound.url
        left = removal.settle(self._home.jobs, store)
        rebuilt = rebuild(store, self._home)
        if rebuilt is not None:
            dispatcher.troubles.note("rebuilt", rebuilt)
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
            self._begin(self._rounds(store, listeners, dispatcher).run()),
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

    def _rounds(
        self, store: Store, listeners: Sequence[Listener], dispatcher: Dispatcher
    ) -> Rounds:
        troubles, look = dispatcher.troubles, dispatcher.look_at_workers
        return Rounds(self._home, store, listeners, troubles, look)

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
    """All children that have ended or stopped: workers, and jobs whose worker has gone first."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
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
    notes = [note["text"] for note in dispatcher.troubles.notes()]
    report.tell({"ok": True, "apps": apps, "notes": notes, **told})
