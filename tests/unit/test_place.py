"""Which file systems are another machine's too, and on which one a path is."""

import os

import pytest

from mcli.store.place import MOUNTS, NETWORK, kind_of

LINES = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
22 21 0:5 / /dev rw - devtmpfs none rw
30 21 0:40 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/ada/local rw shared:7 master:2 - xfs /dev/sdb1 rw
32 21 0:42 / /mnt/with\\040blank rw - fuse.sshfs ada@there:/ rw
33 21 0:43 / /twice rw - ext4 /dev/sdc1 rw
34 21 0:44 / /twice rw - cifs //server/share rw
damaged line
""".splitlines()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/.local/state/mcli", "nfs4"),
        ("/home/ada/local/mcli", "xfs"),
        ("/homes/ada", "ext4"),
        ("/mnt/with blank/mcli", "fuse.sshfs"),
        ("/twice/mcli", "cifs"),
    ],
)
def test_kind_of(path: str, kind: str) -> None:
    """S6: the innermost mount counts, and of two at one place the later."""
    assert kind_of(path, LINES) == kind


def test_kind_that_is_not_known() -> None:
    """S6: without a table there is no kind, and no harm is seen in that."""
    assert kind_of("/home", []) == ""
    assert "" not in NETWORK


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("nfs", True),
        ("nfs4", True),
        ("cifs", True),
        ("smb3", True),
        ("9p", True),
        ("ceph", True),
        ("fuse.sshfs", True),
        ("fuse.glusterfs", True),
        ("fuse.rclone", True),
        ("ext4", False),
        ("xfs", False),
        ("btrfs", False),
        ("zfs", False),
        ("tmpfs", False),
        ("overlay", False),
        ("fuse.ntfs-3g", False),
        ("fuse.bindfs", False),
        ("fuse", False),
        ("apfs", False),
        ("virtiofs", False),
    ],
)
def test_is_network(kind: str, network: bool) -> None:
    """S6: the store is refused where another machine may change it, and nowhere else."""
    assert (kind in NETWORK) is network


@pytest.mark.skipif(not os.path.exists(MOUNTS), reason="only Linux has this table")
def test_kind_of_proc() -> None:
    """S6: the kernel's own table is read as it is."""
    with open(MOUNTS, encoding="utf-8") as mounts:
        assert kind_of("/proc/self", mounts) == "proc"
