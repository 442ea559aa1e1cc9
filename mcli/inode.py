"""
Which file stands at a path: what is opened there later may be another one.
"""

import os

Inode = tuple[int, int]
"""Device and number: no other file has the same two, as long as somebody holds this one."""


def inode(path: str) -> Inode | None:
    """That of the file at *path*; None if there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
