"""
Which kind of file system a path is on, whether it comes over a network, and its room.

Locks and shared memory between processes, on which the store is built, are not to be trusted
where another machine keeps the files.
"""

import os
import re
from typing import Final

from mcli.errors import StoreError

FREE_MIN: Final = 64 * 1024 * 1024
"""Bytes that have to be free: the store and the output of jobs need room at any moment."""

FILES_MIN: Final = 1000
"""Files that have to be possible: each job has a few."""

MOUNTS: Final = "/proc/self/mountinfo"

_OF_A_KERNEL: Final = """
    9p acfs afpfs afs beegfs ceph cifs coda davfs drvfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs
    nfs4 ocfs2 orangefs panfs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf vmhgfs wekafs
"""
_OF_A_PROCESS: Final = """
    ceph ceph-fuse curlftpfs davfs davfs2 gcsfuse glusterfs goofys gvfsd-fuse juicefs mfs moosefs
    nfs rclone s3fs seaweedfs smbnetfs sshfs vmhgfs-fuse
"""
NETWORK: Final = frozenset(_OF_A_KERNEL.split()) | {
    f"fuse.{kind}" for kind in _OF_A_PROCESS.split()
}
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
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _plain(fields[4])
        if len(point) >= length and _is_below(place, point):  # of two at one point the later
            found, length = after.split(" ")[0], len(point)
    return found


def check_local(folder: str) -> None:
    """See to it that a store can be in *folder*, which need not exist yet.

    Raises:
        StoreError: It is on a network file system.
    """
    found = kind(folder)
    if found is not None and is_network(found):
        raise StoreError(
            f"the state directory {folder} is on a network file system ({found}), where jobs "
            "could get lost; set MCLI_HOME to a directory on a disk of this machine"
        )


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
