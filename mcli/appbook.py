"""
The apps that were added to a running daemon, kept over its restarts.

Each verb is given the connection of a transaction, as those of ``queue`` are.
"""

from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from sqlalchemy import Connection, delete, select

from mcli.store.schema import apps

Origin = Literal["start", "project", "package", "added"]
"""Who named an app: ``daemon start --app``, a project's pyproject.toml, the entry point of an
installed package, ``apps add``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where an app is, and what runs it."""

    name: str
    """What requests call it; unique among the apps of a daemon."""

    target: str
    """``path.py`` (absolute) or a module, either with ``:attribute`` if that alone is meant."""

    python: str
    mcli_root: str
    """Directory of the ``mcli`` that its processes import; empty: the interpreter's own."""

    cwd: str
    """Where its commands run, and where its modules are looked for."""

    origin: Origin

    @property
    def place(self) -> str:
        """The file or the module."""
        return self.target.rpartition(":")[0] or self.target

    def named(self, name: str) -> "Entry":
        return replace(self, name=name)


_ALL: Final = select(apps).order_by(apps.c.added_at)


def keep(conn: Connection, entry: Entry, *, now: float) -> None:
    """Remember an app that was added, instead of another one at the same place."""
    forget(conn, entry.target)
    row = {"target": entry.target, "app": asdict(entry), "added_at": now}
    conn.execute(apps.insert(), row)


def forget(conn: Connection, target: str) -> None:
    """Do not remember the app at *target* any longer, if it is remembered."""
    conn.execute(delete(apps).where(apps.c.target == target))


def kept(conn: Connection) -> list[Entry]:
    """All that were added, in that order."""
    return [Entry(**row.app) for row in conn.execute(_ALL)]
