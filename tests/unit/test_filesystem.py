"""Which file system a path is on, as the kernel's table of mounts tells."""

from pathlib import Path

import pytest

from mcli import filesystem
from mcli.filesystem import is_network

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/ada/my\040files rw - fuse.sshfs ada@far:/ rw
32 22 0:27 / /mnt rw - xfs /dev/sdb rw
33 22 0:28 / /mnt rw master:1 propagate_from:2 - tmpfs tmpfs rw
damaged line
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/srv/there/is/none", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada", "nfs4"),
        ("/home/ada/my files/state", "fuse.sshfs"),
        ("/homes", "ext4"),
        ("/mnt/x", "tmpfs"),
    ],
)
def test_the_nearest_mount_tells(tmp_path: Path, path: str, expected: str) -> None:
    """The deepest mount point above the path counts, and of several there the latest."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.lstrip())
    assert filesystem.kind(path, str(mounts)) == expected


def test_no_table(tmp_path: Path) -> None:
    """Where the kernel tells nothing, nothing is known."""
    assert filesystem.kind("/", str(tmp_path / "none")) is None


def test_of_this_machine(tmp_path: Path) -> None:
    """The real table is read."""
    assert filesystem.kind("/proc") == "proc"
    assert filesystem.kind(str(tmp_path)) is not None


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
    assert is_network(kind) is network


def test_shortage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is told with how much would be enough; a path that is not there, too."""
    assert filesystem.shortage(str(tmp_path)) is None
    monkeypatch.setattr(filesystem, "FREE_MIN", 1 << 60)
    assert "MiB are free" in (filesystem.shortage(str(tmp_path)) or "")
    assert "cannot tell" in (filesystem.shortage(str(tmp_path / "none")) or "")
