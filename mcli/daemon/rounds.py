"""
The round that the daemon makes through what it stands on, two times a second.

Nobody tells when a file has been removed, a disk is full, or a process stands still. Sockets that
are gone are made again; without directory, lock or database the daemon ends; a worker that does
not answer is ended; all else is a trouble, or a note, and told.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from mcli import filesystem
from mcli.daemon.clock import Clock
from mcli.daemon.crash import crash
from mcli.daemon.link import Listener
from mcli.daemon.place import Place
from mcli.daemon.troubles import Troubles
from mcli.errors import UnsafeHome
from mcli.home import Home
from mcli.store.store import Store

LOOK_S: Final = 0.4
"""Seconds between two looks; within a second all is known."""


class Rounds:
    """Made from the time that the daemon listens, for as long as ``run`` runs."""

    def __init__(
        self,
        home: Home,
        store: Store,
        listeners: Sequence[Listener],
        troubles: Troubles,
        look_at_workers: Callable[[], None],
    ) -> None:
        self._home = home
        self._place = Place(home)
        self._clock = Clock()
        self._store = store
        self._listeners = listeners
        self._troubles = troubles
        self._look_at_workers = look_at_workers

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        lost = self._place.lost()
        if lost is not None:
            crash(f"{lost} was removed or replaced; start another daemon")
        self._troubles.tell("store", self._store.trouble)
        self._troubles.tell("space", filesystem.shortage(self._home.root))
        self._troubles.tell("sockets", self._look_at_sockets())
        self._look_at_workers()
        jump_s = self._clock.jump_s()
        if jump_s is not None:
            told = (
                f"it was set by {jump_s:+.0f} s; what is due at a date goes by it, no timeout does"
            )
            self._troubles.note("clock", told)

    def _look_at_sockets(self) -> str | None:
        for listener in self._listeners:
            try:
                if not os.path.isdir(os.path.dirname(listener.path)):
                    self._home.create()
                listener.look()
            except (OSError, UnsafeHome) as error:
                return f"cannot listen at {listener.path}: {error}"
            if listener.paused:
                return "no descriptors are left for those who come; they have to wait"
        return None
