"""
The apps of a daemon: which there are, what each offers, and whether that is still so.

An app is described by a process of its own, see ``describe``; what it depends on is looked at
before a request that may need it, and it is described again when something has changed. One
that cannot be loaded any more keeps the endpoints it had, and is broken until it is mended.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mcli import appbook
from mcli.appbook import Entry
from mcli.daemon.describe import Describer
from mcli.daemon.workers import Pool
from mcli.endpoint import Checked, Command, Description
from mcli.endpoints.mount import Mount, refusal
from mcli.errors import AppBroken, BadApp, BadParameters, UnknownApp, UnknownCommand
from mcli.home import Home
from mcli.invocation import App, Invocation
from mcli.output import last_line
from mcli.settings import Settings
from mcli.store.store import Store

log = logging.getLogger("mcli.apps")

ROUNDS: Final = 3
"""How often an app is described again that changes while it is described."""

AT_ONCE: Final = 4
"""How many apps are loaded at the same time."""

Stamp = tuple[int, int]
"""``mtime_ns`` and size of a file."""


class Hosted:
    """One app, as far as it is known."""

    def __init__(self, entry: Entry, describer: Describer) -> None:
        self.entry = entry
        self.describer = describer
        self.mounted = Description()
        """What its endpoints and commands are."""

        self.offered: Description | None = None
        """What it offers now, if that cannot be mounted."""

        self.failure: str | None = None
        """Why it cannot be loaded: a traceback, or a line."""

        self.clash: str | None = None
        """Why what it offers cannot be mounted, in a line."""

        self.watched: dict[str, Stamp] | None = None
        """What it depends on, as it was when it was described; None until then."""

        self.loading: asyncio.Task[None] | None = None

    @property
    def error(self) -> str | None:
        """Why it is broken."""
        return self.failure or self.clash

    @property
    def state(self) -> str:
        if self.watched is None:
            return "loading"
        return "ready" if self.error is None else "broken"

    def is_fresh(self) -> bool:
        """Whether nothing that it depends on has changed since it was described."""
        if self.watched is None or self.loading is not None:
            return False
        return all(_stamp(path) == stamp for path, stamp in self.watched.items())

    def watch(self, told: Description) -> None:
        """Remember what *told* depends on; of what is broken, also what it did before.

        A module that is missing may come: the directory tells.
        """
        found = {path: (mtime, size) for path, mtime, size in told.sources}
        if told.error is not None:
            for path in (*(self.watched or ()), *_around(self.entry)):
                found.setdefault(path, _stamp(path))
        self.watched = found

    def check_whole(self) -> None:
        """Raise AppBroken if it is broken."""
        if self.error is not None:
            raise AppBroken(
                f"the app {self.entry.name} is broken: {_said(self.error)}; "
                "all of it: mcli apps list",
                self.failure or "",
            )

    def document(self) -> dict[str, Any]:
        """As ``/v1/apps`` shows it."""
        entry = self.entry
        commands = [
            {"name": command.name, "endpoints": [f"{e.method} {e.path}" for e in command.endpoints]}
            for command in self.mounted.commands
        ]
        return {
            "name": entry.name,
            "target": entry.target,
            "python": entry.python,
            "cwd": entry.cwd,
            "origin": entry.origin,
            "state": self.state,
            "error": self.error,
            "commands": commands,
        }


class Apps:
    """All of them, in the order in which they came."""

    def __init__(self, home: Home, settings: Settings, store: Store, pool: Pool) -> None:
        self._home = home
        self._settings = settings
        self._store = store
        self._pool = pool
        self._env = _environment()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._hosted: list[Hosted] = []
        self._room = asyncio.Semaphore(AT_ONCE)
        self._changing = asyncio.Lock()
        self.on_change: Callable[[list[Mount]], None] = lambda _mounts: None
        """Told of all endpoints when they have changed."""

    # The list -------------------------------------------------------------------------

    def begin(self, entries: Iterable[Entry]) -> None:
        """Take *entries*, and those that were added earlier, and have them described.

        The first of several for one target counts, and of several for one endpoint.
        """
        for entry in [*self._store.read(appbook.kept), *entries]:
            if all(entry.target != known.entry.target for known in self._hosted):
                self._hosted.append(self._host(entry.named(self._free(entry.name))))
        before: asyncio.Task[None] | None = None
        for hosted in self._hosted:
            before = self._load(hosted, after=before)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._hosted)

    def _free(self, name: str) -> str:
        taken = {hosted.entry.name for hosted in self._hosted}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        return free

    def _host(self, entry: Entry) -> Hosted:
        return Hosted(entry, Describer(entry, self._env, self._home.log))

    async def add(self, entry: Entry) -> Hosted:
        """Take one more app, or another interpreter for one that is there; it is kept.

        Raises:
            BadApp: It cannot be loaded, has no commands, or clashes with another.
        """
        async with self._changing:
            known = next((h for h in self._hosted if h.entry.target == entry.target), None)
            name = known.entry.name if known else self._free(entry.name)
            hosted = self._host(entry.named(name))
            try:
                await self._take(hosted, known)
            except BaseException:
                hosted.describer.close()
                raise
            return hosted

    async def _take(self, hosted: Hosted, known: Hosted | None) -> None:
        told = await self._described(hosted)
        why = self._unusable(hosted, told, known)
        if why is not None:
            raise BadApp(f"{hosted.entry.target} is not added: {why}")
        kept = self._store.write(appbook.keep, hosted.entry, now=time.time())
        await asyncio.wrap_future(kept)
        if known is None:
            self._hosted.append(hosted)
        else:
            self._hosted[self._hosted.index(known)] = hosted
            self._drop(known)
        self._settle(hosted, told)

    def _unusable(self, hosted: Hosted, told: Description, known: Hosted | None) -> str | None:
        if told.error is not None:
            return _said(told.error)
        if not told.commands:
            return "it has no command with @mcli.background or @mcli.api"
        return _clash(_mounts(hosted.entry, told), self._mounts(but=(hosted, known)))

    async def remove(self, name: str) -> None:
        """Take an app away that was added.

        Raises:
            UnknownApp: There is none of that name.
            BadApp: It was not added, but named elsewhere.
        """
        async with self._changing:
            hosted = self._named(name)
            if hosted is None:
                raise UnknownApp(f"there is no app {name!a}; see: mcli apps list")
            if hosted.entry.origin != "added":
                raise BadApp(
                    f"the app {name} was not added, but named by {_NAMED_BY[hosted.entry.origin]}; "
                    "take it away there, and restart the daemon"
                )
            await asyncio.wrap_future(self._store.write(appbook.forget, hosted.entry.target))
            self._hosted.remove(hosted)
            self._drop(hosted)
            self._mount_all()

    def _drop(self, hosted: Hosted) -> None:
        if hosted.loading is not None:
            hosted.loading.cancel()
        hosted.describer.close()

    def _named(self, name: str) -> Hosted | None:
        return next((hosted for hosted in self._hosted if hosted.entry.name == name), None)

    async def documents(self, patience_s: float) -> list[dict[str, Any]]:
        """All apps, after up to *patience_s* seconds for those that are being described."""
        tasks = self._refresh(self._hosted)
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        return [hosted.document() for hosted in self._hosted]

    # Being up to date -----------------------------------------------------------------

    def is_fresh(self, name: str) -> bool:
        """Whether that app is described, and as it is now."""
        hosted = self._named(name)
        return hosted is not None and hosted.is_fresh()

    async def fresh(self, name: str | None = None) -> None:
        """Wait until what is known is what the files say: of one app, or of all."""
        for _ in range(ROUNDS):
            tasks = self._refresh(h for h in self._hosted if name in (None, h.entry.name))
            if not tasks:
                return
            await asyncio.wait(tasks)

    def _refresh(self, wanted: Iterable[Hosted]) -> list["asyncio.Task[None]"]:
        return [hosted.loading or self._load(hosted) for hosted in wanted if not hosted.is_fresh()]

    def _load(
        self, hosted: Hosted, *, after: "asyncio.Task[None] | None" = None
    ) -> "asyncio.Task[None]":
        task = hosted.loading = asyncio.get_running_loop().create_task(self._loaded(hosted, after))
        return task

    async def _loaded(self, hosted: Hosted, after: "asyncio.Task[None] | None") -> None:
        try:
            told = await self._described(hosted)
            if after is not None:  # of two that clash, the first in the list has the endpoint
                await asyncio.wait([after])
            self._settle(hosted, told)
        finally:
            hosted.loading = None

    async def _described(self, hosted: Hosted) -> Description:
        async with self._room:
            try:
                return await hosted.describer.describe()
            except AppBroken as error:
                return Description(error=str(error))

    def _settle(self, hosted: Hosted, told: Description) -> None:
        """What *told* changes, for this app and for those that it stood in the way of."""
        hosted.watch(told)
        hosted.failure, hosted.clash = told.error, None
        hosted.offered = told if told.error is None else None
        self._mount_all()
        if hosted.error is None:
            log.info("app.ready name=%s commands=%d", hosted.entry.name, len(told.commands))
        else:
            log.warning("app.broken name=%s error=%r", hosted.entry.name, _said(hosted.error))

    def _mount_all(self) -> None:
        """Let every app have what it offers, as far as it does not clash with what stands."""
        while any(self._mount(hosted) for hosted in self._hosted):
            pass
        self.on_change(self._mounts())

    def _mount(self, hosted: Hosted) -> bool:
        """Whether something has come, or has made room."""
        if hosted.offered is None:
            return False
        mounts = _mounts(hosted.entry, hosted.offered)
        hosted.clash = _clash(mounts, self._mounts(but=(hosted,)))
        if hosted.clash is not None:
            return False
        hosted.mounted, hosted.offered = hosted.offered, None
        self._warm(hosted)
        return True

    def _mounts(self, but: Sequence[Hosted | None] = ()) -> list[Mount]:
        return [
            mount
            for hosted in self._hosted
            if hosted not in but
            for mount in _mounts(hosted.entry, hosted.mounted)
        ]

    # Workers --------------------------------------------------------------------------

    def _warm(self, hosted: Hosted) -> None:
        """Have workers ready for its endpoints, with the code as it is now."""
        if self._settings.workers_warm_max == 0 or self._settings.worker_idle_s == 0:
            return
        commands = [command for command in hosted.mounted.commands if command.endpoints]
        calls = [self.invocation(hosted.entry, each, Checked()) for each in commands]
        for key, call in {call.app.key(): call for call in calls}.items():
            for worker in self._pool:
                if worker.key == key:
                    self._pool.retire(worker)
            self._pool.warm(call)

    def trim(self) -> None:
        """End describers that nobody has asked for long."""
        for hosted in self._hosted:
            hosted.describer.trim(self._settings.worker_idle_s)

    def close(self) -> None:
        """The daemon ends."""
        for hosted in self._hosted:
            self._drop(hosted)

    # Calls ----------------------------------------------------------------------------

    async def checked(self, app: str, command: str, params: Mapping[str, Any]) -> Invocation:
        """One call of a command by name, complete.

        Raises:
            UnknownCommand: There is no such app, or it has no such command.
            BadParameters: The command does not take these values.
            AppBroken: The app cannot be loaded.
        """
        await self.fresh(app)
        hosted = self._named(app)
        if hosted is None:
            raise UnknownCommand(f"there is no app {app!a}; see: mcli apps list")
        hosted.check_whole()
        known = {each.name: each for each in hosted.mounted.commands}
        if command not in known:
            names = ", ".join(known) or "none"
            raise UnknownCommand(f"the app {app} has no command {command!a}; it has: {names}")
        checked = await hosted.describer.check(command, params, {})
        if checked.errors:
            raise BadParameters(checked.errors)
        return self.invocation(hosted.entry, known[command], checked)

    async def check(
        self, mount: Mount, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]
    ) -> Checked:
        """The words for the parameters of a request to *mount*, or what is wrong with each.

        Raises:
            AppBroken: The app cannot be loaded, or is there no more.
        """
        hosted = self._of(mount)
        hosted.check_whole()
        return await hosted.describer.check(mount.command.name, values, texts)

    def called(self, mount: Mount, checked: Checked) -> Invocation:
        """One call of an endpoint, complete.

        Raises:
            AppBroken: The app is there no more.
        """
        call = self.invocation(self._of(mount).entry, mount.command, checked)
        timeout_s = mount.endpoint.timeout_s
        return call if timeout_s is None else replace(call, timeout_s=timeout_s)

    def _of(self, mount: Mount) -> Hosted:
        hosted = self._named(mount.app)
        if hosted is None:
            raise AppBroken(f"the app {mount.app} is there no more; see: mcli apps list")
        return hosted

    def invocation(self, entry: Entry, command: Command, checked: Checked) -> Invocation:
        """A job of *command* with the daemon's own variables, in the app's directory."""
        app = App(
            kind="object",
            target=command.target,
            python=entry.python,
            mcli_root=entry.mcli_root,
            cwd="" if entry.place.endswith(".py") else entry.cwd,
        )
        return Invocation(
            name=command.shown or command.name,
            app=app,
            argv=checked.words,
            cwd=entry.cwd,
            env=self._env,
            umask=self._umask,
            argv0=entry.name if command.path else command.name,
            by_line=True,
            timeout_s=command.timeout_s,
            policy=command.policy,
            source="http",
            command=command.name,
            secrets=checked.secrets,
            on_finish=command.on_finish,
        )


_NAMED_BY: Final = {
    "start": "mcli daemon start --app",
    "project": "[tool.mcli] apps in pyproject.toml",
    "package": "an installed package",
}


def preloaded(entry: Entry) -> Invocation:
    """What a worker is started with for those who call the app *entry* from a command line."""
    attribute = ":" in entry.target
    script = entry.place.endswith(".py")
    app = App(
        kind="object" if attribute else "script" if script else "module",
        target=entry.target,
        python=entry.python,
        mcli_root=entry.mcli_root,
        cwd="" if script else entry.cwd,
    )
    return Invocation(name=entry.name, app=app, argv=[], cwd=entry.cwd, env=_environment())


def _said(error: str) -> str:
    """What a traceback ends with."""
    return last_line(error) or "it says nothing"


def _environment() -> dict[str, str]:
    """The daemon's own variables, without what opens a door and what is only its own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("MCLI_") and "TOKEN" in name) and name != "MCLI_READY_FD"
    }


def _mounts(entry: Entry, told: Description) -> list[Mount]:
    return [
        Mount(entry.name, command, endpoint)
        for command in told.commands
        for endpoint in command.endpoints
    ]


def _clash(mounts: Iterable[Mount], standing: list[Mount]) -> str | None:
    """Why *mounts* cannot be added to those that stand; None if they can."""
    for mount in mounts:
        why = refusal(mount, standing)
        if why is not None:
            return why
        standing.append(mount)
    return None


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _around(entry: Entry) -> list[str]:
    if entry.place.endswith(".py"):
        return [entry.python, entry.place, os.path.dirname(entry.place)]
    return [entry.python, entry.cwd]
