"""What a checkup says of states that a machine of tests cannot be brought into."""

import os
import pwd
import resource
from pathlib import Path

import pytest

from mcli import checkup, filesystem
from mcli.checkup import Finding, Verdict


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of a test's own, in which no daemon runs; and no systemd."""
    monkeypatch.setenv("MCLI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(checkup, "SYSTEMD", str(tmp_path / "systemd"))
    monkeypatch.setattr(checkup, "LINGER", str(tmp_path / "linger"))
    return tmp_path / "home"


def findings() -> dict[str, Finding]:
    """All that is found, by what was looked at."""
    return {finding.check: finding for finding in checkup.checkup()}


# The file system --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "verdict", "said"),
    [
        ("ext4", Verdict.OK, "ext4, on this machine"),
        ("nfs4", Verdict.WRONG, "is on nfs4, where locks"),
        ("fuse.sshfs", Verdict.WRONG, "is on fuse.sshfs, where locks"),
        (None, Verdict.NOTE, "cannot be told"),
    ],
)
def test_file_system(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, verdict: Verdict, said: str
) -> None:
    """S6: a network file system is wrong, and the finding says what would be right."""
    monkeypatch.setattr(filesystem, "kind", lambda *_: kind)
    found = findings()["file system"]
    assert found.verdict is verdict
    assert said in found.text
    assert ("MCLI_HOME" in found.advice) is (verdict is Verdict.WRONG)


def test_file_system_of_a_directory_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """What is looked at is where the first start would make it."""
    asked = []
    monkeypatch.setattr(filesystem, "kind", lambda path: asked.append(path))
    assert findings()["file system"].verdict is Verdict.NOTE
    assert asked == [str(home.parent)]


# Processes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "used", "verdict", "text"),
    [
        (1000, 950, Verdict.OK, "950 of 1000 that this user may have"),
        (1000, 951, Verdict.WRONG, "951 of 1000 that this user may have"),
        (1000, 1200, Verdict.WRONG, "1200 of 1000 that this user may have"),
        (resource.RLIM_INFINITY, 1200, Verdict.OK, "no limit binds this user"),
    ],
)
def test_processes(
    monkeypatch: pytest.MonkeyPatch, limit: int, used: int, verdict: Verdict, text: str
) -> None:
    """Z3: it is wrong when fewer than fifty more are possible; where no limit is, all is well."""
    monkeypatch.setattr(resource, "prlimit", lambda *_: (limit, limit))
    monkeypatch.setattr(checkup, "_tasks", lambda: used)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = findings()["processes"]
    assert (found.verdict, found.text) == (verdict, text)
    assert ("ulimit -u" in found.advice) is (verdict is Verdict.WRONG)


def test_processes_of_the_superuser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel holds root to no such limit, whatever it is."""
    monkeypatch.setattr(resource, "prlimit", lambda *_: (1, 1))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert findings()["processes"].text == "no limit binds this user"


def test_threads_count() -> None:
    """What the limit counts is threads of this user, of which this process has at least one."""
    assert checkup._tasks() >= len(os.listdir("/proc/self/task"))


# systemd ----------------------------------------------------------------------------------


def test_no_systemd() -> None:
    """Where there is none, nothing is said of it."""
    assert not findings().keys() & {"service", "lingering"}


@pytest.mark.parametrize("lingers", [False, True])
def test_lingering(tmp_path: Path, lingers: bool) -> None:
    """D18: whether what runs outlives the last session; if not, the line says what to run."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    (tmp_path / "systemd").mkdir()
    (tmp_path / "linger").mkdir()
    if lingers:
        (tmp_path / "linger" / user).touch()
    found = findings()["lingering"]
    assert found.verdict is (Verdict.OK if lingers else Verdict.NOTE)
    assert found.text.startswith("on: " if lingers else "off: ")
    assert found.text.endswith(f"loginctl enable-linger {user}") is not lingers


def test_somebody_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine has no name for cannot linger; the rest is looked at."""
    (tmp_path / "systemd").mkdir()

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    found = findings()
    assert "lingering" not in found
    assert "versions" in found


@pytest.mark.parametrize("installed", [False, True])
def test_service(tmp_path: Path, installed: bool) -> None:
    """Whether systemd starts the daemon: a note if not, for nobody has to want that."""
    (tmp_path / "systemd").mkdir()
    unit = tmp_path / "config" / "systemd" / "user" / "mcli.service"
    if installed:
        unit.parent.mkdir(parents=True)
        unit.touch()
    found = findings()["service"]
    assert found.verdict is (Verdict.OK if installed else Verdict.NOTE)
    assert found.text == str(unit) or not installed
