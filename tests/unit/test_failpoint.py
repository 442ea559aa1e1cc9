"""Points at which a process fails on purpose: each action, in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mcli.failpoint import parse

PASS = """
from mcli import failpoint
for number in range(1, 4):
    try:
        failpoint.reach("recv")
        failpoint.reach("claimed")
    except Exception as error:
        print(number, type(error).__name__)
    else:
        print(number)
"""


def passing(armed: str) -> "subprocess.Popen[str]":
    """A process that passes two points, three times each."""
    env = os.environ | {"MCLI_FAILPOINT": armed}
    return subprocess.Popen(
        [sys.executable, "-uc", PASS], env=env, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("armed", "told", "code"),
    [
        ("", "1\n2\n3\n", 0),
        ("recv:kill", "", -signal.SIGKILL),
        ("claimed:kill@3", "1\n2\n", -signal.SIGKILL),
        ("recv:raise@2", "1\n2 RuntimeError\n3\n", 0),
        ("recv:eio,claimed:raise@2", "1 OSError\n2\n3 RuntimeError\n", 0),
    ],
)
def test_what_is_armed(armed: str, told: str, code: int) -> None:
    """It happens at that passage of that point, and at no other."""
    process = passing(armed)
    assert process.communicate(timeout=30)[0] == told
    assert process.returncode == code


def test_stop() -> None:
    """A process that stops itself goes on when it is told to."""
    process = passing("recv:stop@2")
    assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=30)[0] == "1\n2\n3\n"


def test_hang() -> None:
    """A process that hangs says nothing more, and can be killed."""
    process = passing("recv:hang@2")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    assert process.poll() is None
    process.kill()
    assert process.communicate(timeout=30)[0] == ""


def test_delay() -> None:
    """A process is late by so many milliseconds."""
    began = time.monotonic()
    assert passing("recv:delay=300").communicate(timeout=30)[0] == "1\n2\n3\n"
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("armed", ["nowhere:kill", "recv:explode", "recv", "recv:kill@often"])
def test_what_is_no_failpoint(armed: str) -> None:
    """A point or an action that there is none of is an error, and no test without effect."""
    with pytest.raises(ValueError):
        parse(armed)
