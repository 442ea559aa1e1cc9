"""
On what kind of file system the store would be: SQLite's log needs one of this machine's own.

Its readers and its writer share memory through a file, which others on a network do not see,
and locks there are what the server makes of them.
"""

import os
from collections.abc import Iterable
from typing import Final

from mcli.errors import StoreError

MOUNTS: Final = "/proc/self/mountinfo"

_OF_A_KERNEL: Final = """
    9p acfs afs beegfs ceph cifs coda gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs
    panfs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf vmhgfs
"""
_OF_A_PROCESS: Final = """
    ceph ceph-fuse curlftpfs davfs davfs2 gcsfuse glusterfs goofys gvfsd-fuse juicefs mfs moosefs
    nfs rclone s3fs seaweedfs smbnetfs sshfs vmhgfs-fuse
"""
NETWORK: Final = frozenset(_OF_A_KERNEL.split()) | {
    f"fuse.{kind}" for kind in _OF_A_PROCESS.split()
}
"""File systems of which another machine may change what is there."""


def kind_of(path: str, mounts: Iterable[str]) -> str:
    """The type of the file system that *path* is on, or will be; empty if that is not known.

    Args:
        path: Absolute, and without links.
        mounts: The lines of ``/proc/self/mountinfo``; where two cover the same place, the later
            one is what is seen.
    """
    found, kind = "", ""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        place = _plain(fields[4])
        if _covers(place, path) and len(place) >= len(found):
            found, kind = place, after.split(" ")[0]
    return kind


def check_place(folder: str) -> None:
    """See to it that a store can be in *folder*, which need not exist yet.

    Raises:
        StoreError: It is on a network file system.
    """
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            kind = kind_of(os.path.realpath(folder), mounts)
    except FileNotFoundError:  # not Linux
        return
    if kind in NETWORK:
        raise StoreError(
            f"the state directory {folder} is on a network file system ({kind}), where jobs "
            "could get lost; set MCLI_HOME to a directory on a disk of this machine"
        )


def _covers(place: str, path: str) -> bool:
    return place == "/" or path == place or path.startswith(place + "/")


def _plain(place: str) -> str:
    """As the kernel writes it there, blanks and the like are octal numbers."""
    first, *others = place.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in others)
