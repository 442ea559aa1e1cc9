"""
Which kind of file system a path is on, whether it comes over a network, and its room.

Locks and shared memory between processes, on which the store is built, are not to be trusted
where another machine keeps the files.
"""

import os
import re
from typing import Final

FREE_MIN: Final = 64 * 1024 * 1024
"""Bytes that have to be free: the store and the output of jobs need room at any moment."""

FILES_MIN: Final = 1000
"""Files that have to be possible: each job has a few."""

MOUNTS: Final = "/proc/self/mountinfo"

NETWORK: Final = frozenset(
    {
        *("9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "gfs2"),
        *("glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs"),
        *("prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "vmhgfs", "wekafs"),
        *("fuse.ceph", "fuse.davfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs"),
        *("fuse.gvfsd-fuse", "fuse.juicefs", "fuse.moosefs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse"),
    }
)
"""Kinds whose files another machine keeps, or another system on this one."""


def is_network(kind: str) -> bool:
    """Whether files on that kind of file system come over a network."""
    return kind in NETWORK


def kind(path: str, mounts: str = MOUNTS) -> str | None:
    """The kind of file system that *path* is on, such as ``ext4``; None if that is not told.

    Args:
        path: It need not exist: then it is about the directory in which it would be made.
        mounts: What the kernel tells of the mounts that this process sees.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    place = os.path.realpath(path)
    found, length = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _plain(before.split(" ")[4])
        if len(point) >= length and _is_below(place, point):  # of two at one point the later
            found, length = after.split(" ")[0], len(point)
    return found


def shortage(path: str) -> str | None:
    """What there is too little of on the file system of *path*; None if of nothing."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        return f"cannot tell how much room there is: {error.strerror}"
    free = found.f_bavail * found.f_frsize
    if free < FREE_MIN:
        return f"{free >> 20} MiB are free for {path}; at least {FREE_MIN >> 20} are needed"
    if found.f_files and found.f_favail < FILES_MIN:
        return f"{found.f_favail} more files are possible for {path}; {FILES_MIN} are needed"
    return None


def _is_below(place: str, point: str) -> bool:
    return place == point or place.startswith(point.rstrip("/") + "/")


def _plain(text: str) -> str:
    """Spaces and the like are written as octal numbers there."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
