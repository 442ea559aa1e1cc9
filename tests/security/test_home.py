"""R14: the state directory is in nobody else's hands."""

import os
import stat
from pathlib import Path

import pytest
from acceptance.daemon import Daemon

from mcli.errors import UnsafeHome
from mcli.home import Home

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to others")
ADA = 4242


def owned_by_root(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.lstat().st_uid != ADA]


@NEEDS_ROOT
def test_r14_root_with_the_home_of_a_user(tmp_path: Path) -> None:
    """Under sudo that kept HOME nothing starts, and nothing of root's is left there."""
    ada = tmp_path / "ada"
    ada.mkdir(0o700)
    os.chown(ada, ADA, ADA)
    daemon = Daemon(tmp_path, HOME=str(ada), MCLI_HOME="", XDG_STATE_HOME="")
    for verb in ("start", "restart"):
        done = daemon.mcli("daemon", verb, "--port", "0", code=None)
        daemon.mcli("daemon", "stop", code=None)  # should it have started after all
        assert done.returncode == 125
        assert "sudo -H" in done.stderr
    assert "is not running" in daemon.mcli("ps", code=125).stderr
    assert owned_by_root(ada) == []
    assert list(ada.iterdir()) == []


@NEEDS_ROOT
def test_r14_state_directory_of_a_user(tmp_path: Path) -> None:
    """Root does not use a state directory that a user has made."""
    home = tmp_path / "state"
    home.mkdir(0o700)
    os.chown(home, ADA, ADA)
    with pytest.raises(UnsafeHome, match="belongs to uid 4242, not to you"):
        Home(str(home)).create()
    assert list(home.iterdir()) == []


def test_r14_directory_that_all_can_change(tmp_path: Path) -> None:
    """Where everybody can rename everything no state directory is made, nor used."""
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeHome, match="others can replace what is in"):
        Home(str(tmp_path / "a" / "home")).create()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "home").mkdir(0o700)
    with pytest.raises(UnsafeHome, match=r"run: chmod \+t"):
        Home(str(tmp_path / "home")).create()
    tmp_path.chmod(0o1777)
    Home(str(tmp_path / "home")).create()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722, 0o777])
def test_r14_directory_that_others_write_to(tmp_path: Path, mode: int) -> None:
    """A state directory that others can write to is refused, and left as it is."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(UnsafeHome, match="others can write"):
        Home(str(home)).create()
    assert list(home.iterdir()) == []


def test_r14_made_for_the_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask, what is made is nobody else's to look into."""
    before = os.umask(0)
    try:
        home = Home(str(tmp_path / "home"))
        home.create()
    finally:
        os.umask(before)
    for folder in (home.root, home.jobs):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_r14_files_are_the_owners(stopped: Daemon) -> None:
    """In a state directory that others may look into, none of the files is theirs to read."""
    os.makedirs(stopped.home.root, 0o755)
    os.chmod(stopped.home.root, 0o755)
    stopped.start()
    job = stopped.submit("tell")
    stopped.final(job)
    root = Path(stopped.home.root)
    paths = [path for path in root.rglob("*") if not path.is_dir()]
    paths += [path for path in root.iterdir() if path.is_dir()]
    assert {
        str(path): oct(path.stat().st_mode) for path in paths if path.stat().st_mode & 0o077
    } == {}
