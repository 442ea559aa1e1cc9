"""
What the daemon stands on: its state directory, its lock and its database.

Whoever removes or replaces one of them leaves the daemon with files that nobody finds any
more, and makes room for a second daemon.
"""

from mcli.home import Home
from mcli.inode import inode


class Place:
    """The three, as they are now."""

    def __init__(self, home: Home) -> None:
        self._found = {path: inode(path) for path in (home.root, home.lock, home.database)}

    def lost(self) -> str | None:
        """Which of them is not what it was, if one is not."""
        return next((path for path, it in self._found.items() if inode(path) != it), None)
