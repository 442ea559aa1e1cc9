"""The daemon as a service: the files for systemd and launchd, and what installing them does."""

import getpass
import os
import plistlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mcli.cli.install import LINGER

from .daemon import Daemon

ODD = 'a b%c"d\\e$f é'
"""A directory whose name has everything that a unit file reads in its own way."""

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "{said}"
if [ "$2" = "{fails}" ]; then
    echo "Failed to connect to bus: No medium found" >&2
    exit 1
fi
"""
"""In the place of systemd: it says what it was told, and perhaps refuses."""

UNIT = ".config/systemd/user/mcli.service"


def systemctl(daemon: Daemon, fails: str = "") -> Path:
    """Have the verbs find that one first; where it says what it was told."""
    programs, said = daemon.cwd / "bin", daemon.cwd / "said"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL.format(said=said, fails=fails or "nothing"))
    (programs / "systemctl").chmod(0o700)
    daemon.env["PATH"] = f"{programs}:{os.environ['PATH']}"
    daemon.env.pop("XDG_CONFIG_HOME", None)
    said.write_text("")
    return said


def printed(daemon: Daemon, *words: str, **env: str) -> str:
    """The file that would be written, and nothing else."""
    done = daemon.mcli("daemon", "install", "--print", *words, env=env)
    assert done.stderr == ""
    return done.stdout


def test_unit_has_what_the_caller_has(stopped: Daemon) -> None:
    """
    Its interpreter, its state directory, its settings and its options; nothing that is secret,
    and nothing is written.
    """
    home = str(stopped.cwd / ODD)
    secret = {"MCLI_BACKGROUND_TOKEN": "sesame", "MCLI_JOB_ID": "x", "MCLI_DETACH": "1"}
    given = {"MCLI_HOME": home, "MCLI_GRACE": "3", "MCLI_TLS_KEY": "key.pem"} | secret
    text = printed(stopped, "--for", "systemd", "--port", "0", "--app", "shop.py", **given)
    lines = text.splitlines()
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.startswith(f'ExecStart="{sys.executable}" "-m" "mcli.daemon" "--port=0"')
    assert start.endswith(f' "--app=shop.py" "--apps-from={stopped.cwd}"')
    assert 'Environment="MCLI_GRACE=3"' in lines
    assert f'Environment="MCLI_TLS_KEY={stopped.cwd}/key.pem"' in lines
    assert f'Environment="PYTHONPATH={stopped.env["PYTHONPATH"]}"' in lines
    (place,) = [line for line in lines if "MCLI_HOME=" in line]
    assert place.endswith('/a b%%c\\"d\\\\e$f \\xc3\\xa9"')
    assert not any(name in text for name in secret)
    assert {"Type=notify", "KillMode=process", "OOMPolicy=continue"} <= set(lines)
    assert {"Restart=on-failure", "TimeoutStopSec=20", "UMask=0077"} <= set(lines)
    assert not os.path.exists(home)
    assert not (stopped.cwd / ".config").exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_unit_is_one_to_systemd(stopped: Daemon, tmp_path: Path) -> None:
    """
    systemd finds nothing to complain of, whatever stands in the paths.
    """
    text = printed(stopped, "--for", "systemd", MCLI_HOME=str(stopped.cwd / ODD), MCLI_GRACE="1")
    (tmp_path / "mcli.service").write_text(text)
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(tmp_path / "mcli.service")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze does not work here")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_property_list_is_one(stopped: Daemon) -> None:
    """
    launchd's file says the same.
    """
    home = str(stopped.cwd / ODD)
    text = printed(stopped, "--for", "launchd", "--port", "0", MCLI_HOME=home)
    told = plistlib.loads(text.encode())
    assert told["ProgramArguments"] == [sys.executable, "-m", "mcli.daemon", "--port=0"]
    assert told["EnvironmentVariables"]["MCLI_HOME"] == home
    assert told["StandardErrorPath"] == f"{home}/daemon.log"
    assert told["AbandonProcessGroup"] is told["RunAtLoad"] is True
    assert told["KeepAlive"] == {"SuccessfulExit": False}


def test_install_and_uninstall(daemon: Daemon) -> None:
    """
    The unit is written for its owner alone, a daemon that runs makes way, systemd is told;
    and all of it the other way round.
    """
    said = systemctl(daemon)
    unit = daemon.cwd / UNIT
    done = daemon.mcli("daemon", "install", "--for", "systemd")
    assert done.stdout == f"mcli daemon installed: {unit}\n"
    assert "the daemon that ran was stopped; the new one takes over its jobs" in done.stderr
    lingers = os.path.exists(os.path.join(LINGER, getpass.getuser()))
    assert ("loginctl enable-linger" in done.stderr) is not lingers
    assert stat.S_IMODE(unit.stat().st_mode) == 0o600
    assert unit.read_text() == printed(daemon, "--for", "systemd")
    told = said.read_text().splitlines()
    assert told == [
        "--user show-environment",
        "--user daemon-reload",
        "--user enable --now mcli.service",
    ]
    assert not os.path.exists(daemon.home.address)
    done = daemon.mcli("daemon", "uninstall")
    assert done.stdout == f"mcli daemon uninstalled: {unit}; running jobs run on\n"
    assert not unit.exists()
    assert said.read_text().splitlines()[3:] == [
        "--user show-environment",
        "--user disable --now mcli.service",
        "--user daemon-reload",
    ]
    done = daemon.mcli("daemon", "uninstall")
    assert done.stderr == f"mcli: there is no {unit}: nothing to uninstall\n"


def test_where_systemd_is_not(daemon: Daemon) -> None:
    """
    One line that says what to do instead; nothing is written, and the daemon runs on.
    """
    systemctl(daemon, fails="show-environment")
    pid = daemon.pid
    done = daemon.mcli("daemon", "install", "--for", "systemd", code=125)
    assert done.stderr == (
        "mcli: systemd does not look after your services here (systemctl --user show-environment: "
        "Failed to connect to bus: No medium found); start the daemon with mcli daemon start, or "
        "see mcli daemon install --print\n"
    )
    assert not (daemon.cwd / UNIT).exists()
    assert daemon.pid == pid


def test_where_systemd_refuses(stopped: Daemon) -> None:
    """
    Its own words, and exit 125.
    """
    systemctl(stopped, fails="enable")
    done = stopped.mcli("daemon", "install", "--for", "systemd", code=125)
    assert done.stderr == (
        "mcli: systemctl --user enable --now mcli.service: "
        "Failed to connect to bus: No medium found\n"
    )


def test_bad_setting_is_not_installed(stopped: Daemon) -> None:
    """
    What no daemon would start with is refused, before anything is written.
    """
    systemctl(stopped)
    env = {"MCLI_WORKERS": "many"}
    assert "MCLI_WORKERS is 'many'" in stopped.mcli("daemon", "install", env=env, code=2).stderr
    assert not (stopped.cwd / UNIT).exists()
