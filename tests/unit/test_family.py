"""What is a job's, of all processes there are."""

import os
import subprocess

from mcli import family


def test_mark_of_what_is_being_executed() -> None:
    """A process that is loading a program shows no environment, for some milliseconds."""
    env = {"PATH": os.environ["PATH"], family.MARK_NAME: "a"}
    for _ in range(50):
        with subprocess.Popen(["sleep", "600"], env=env) as process:
            try:
                assert family.mark(process.pid) == "a"
            finally:
                process.kill()


def test_mark_of_what_has_no_environment() -> None:
    """It is not waited for: it has been executed, and has none."""
    with subprocess.Popen(["/bin/sh", "-c", "echo; read _"], env={}, stdin=-1, stdout=-1) as shell:
        try:
            assert shell.stdout is not None
            shell.stdout.readline()
            assert family.environment(shell.pid) == [b""]
            assert not family._is_loading(shell.pid)
        finally:
            shell.kill()


def test_mark_of_a_process_that_is_gone() -> None:
    """Reaped or not, it has none."""
    process = subprocess.Popen(["true"], env={family.MARK_NAME: "a"} | os.environ)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert family.mark(process.pid) is None
    process.wait()
    assert family.mark(process.pid) is None
