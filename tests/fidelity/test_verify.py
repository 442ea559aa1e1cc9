"""``mcli verify``: the same comparison, for anybody's command."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from mcli.cli.verify import compare
from mcli.client import Client
from mcli.errors import MCLIError
from mcli.home import Home
from mcli.stage import Program

from .case import PROGRAMS, PYTHON, Arg, python
from .conftest import Daemon

UNEQUAL = """\
import os, click, mcli

@click.command()
@mcli.background
def unequal():
    click.echo(f"local is {os.environ['MCLI_BACKGROUND_ENABLED']}")

unequal()
"""


STUCK = """\
import os, time, click, mcli

@click.command()
@mcli.background
def stuck():
    if os.environ['MCLI_BACKGROUND_ENABLED'] == os.environ['STUCK']:
        time.sleep(600)

stuck()
"""

WRITES = """\
import click, mcli

@click.command()
@click.argument("mode")
@mcli.background
def writes(mode):
    with open("left-behind", mode) as file:
        file.write("line")

writes()
"""


def verify(
    daemon: Daemon, *args: Arg, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the verb to its end."""
    return subprocess.run(
        [PYTHON, "-m", "mcli", "verify", *args],
        cwd=cwd,
        env={**daemon.env, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_equal_command_exits_0(daemon: Daemon) -> None:
    """Nothing differs: one line for each stage, exit 0."""
    done = verify(daemon, "--", *python("bare.py"))
    assert done.stdout == "pipes: equal (exit 0)\nterminal: equal (exit 0)\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_ending_is_the_commands_and_not_the_verbs(daemon: Daemon) -> None:
    """A command that fails in the same way in both is equal."""
    done = verify(daemon, "--no-tty", "--", *python("exits.py", "code", "3"))
    assert (done.returncode, done.stdout) == (0, "pipes: equal (exit 3)\n")


def test_difference_is_shown_and_exits_1(daemon: Daemon, tmp_path: Path) -> None:
    """What differs stands on stdout, local and routed."""
    script = tmp_path / "unequal.py"
    script.write_text(UNEQUAL)
    done = verify(daemon, "--no-tty", "--", PYTHON, str(script))
    assert done.returncode == 1
    assert "-local is false\\n" in done.stdout.splitlines()
    assert "+local is true\\n" in done.stdout.splitlines()


def test_local_run_that_does_not_end_exits_125(daemon: Daemon, tmp_path: Path) -> None:
    """A run here that is stuck proves nothing: one line, and nothing more is run."""
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    before = daemon.jobs()
    done = verify(daemon, "--timeout", "0.1", "--", PYTHON, str(script), STUCK="false")
    assert done.stdout == (
        "pipes: the local run did not end in time; give it longer with --timeout\n"
    )
    assert (done.returncode, done.stderr) == (125, "")
    assert daemon.jobs() == before


def test_routed_run_that_does_not_end_is_cancelled(daemon: Daemon, tmp_path: Path) -> None:
    """A routed run that is stuck proves nothing: one line, exit 125, and its job is ended."""
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    words = ["--timeout", "3", "--", PYTHON, str(script)]
    done = verify(daemon, *words, cwd=tmp_path, STUCK="true")
    assert done.stdout == (
        "pipes: the routed run did not end in time; give it longer with --timeout\n"
    )
    assert (done.returncode, done.stderr) == (125, "")
    with Client.connect(Home(str(daemon.home))) as client:
        job = client.wait("-", 30)
    assert (job["cwd"], job["state"]) == (str(tmp_path), "cancelled")


@pytest.mark.parametrize("timeout", ["0", "-1", "inf"])
def test_timeout_is_above_0(daemon: Daemon, timeout: str) -> None:
    """No time at all, and time without end, are wrong use: exit 2."""
    done = verify(daemon, "--timeout", timeout, "--", *python("bare.py"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--timeout" in done.stderr


def test_files_are_compared_when_asked_for(daemon: Daemon, tmp_path: Path) -> None:
    """With --files what is left behind counts; without, it does not."""
    script = tmp_path / "writes.py"
    script.write_text(WRITES)
    for mode, options, code in (("w", ["--files"], 0), ("a", [], 0), ("a", ["--files"], 1)):
        words = ["--no-tty", *options, "--", PYTHON, str(script), mode]
        done = verify(daemon, *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (code, "")
    assert "--- files, local" in done.stdout
    assert "left-behind" in done.stdout


def test_files_that_cannot_be_read_prove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --files, a file that cannot be read: an error of exit code 125 that names it."""

    def unreadable(folder: str) -> tuple[str, ...]:
        raise PermissionError(errno.EACCES, "Permission denied", f"{folder}/secret")

    monkeypatch.setattr("mcli.cli.verify.files_below", unreadable)
    program = Program(argv=["true"], cwd=str(tmp_path), env=os.environ)
    with pytest.raises(MCLIError, match="/secret'; make them readable") as caught:
        compare(program, terminal=False, files=True)
    assert caught.value.exit_code == 125


def test_json_names_each_stage(daemon: Daemon) -> None:
    """``--json`` prints one document, with the verdict of each stage."""
    done = verify(daemon, "--json", "--", *python("bare.py"))
    document = json.loads(done.stdout)
    assert document["equal"] is True
    assert [run["stage"] for run in document["runs"]] == ["pipes", "terminal"]


def test_command_that_is_no_job_proves_nothing(daemon: Daemon) -> None:
    """Without a routed run there is nothing to compare: exit 125."""
    done = verify(daemon, "--no-tty", "--", PYTHON, "-c", "print(1)")
    assert done.stdout == "pipes: the daemon was not asked to run it\n"
    assert done.returncode == 125


def test_without_a_daemon_exits_125(daemon: Daemon, tmp_path: Path) -> None:
    """No daemon: one line that says how to start one, and nothing is run."""
    done = verify(daemon, "--", *python("bare.py"), MCLI_HOME=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.count("\n") == 1
    assert "mcli daemon start" in done.stderr


def test_program_that_is_not_there_exits_127(daemon: Daemon) -> None:
    """No such program: one line that names it."""
    done = verify(daemon, "--", str(PROGRAMS / "nothing-here"))
    assert (done.returncode, done.stdout) == (127, "")
    assert "nothing-here: No such file or directory" in done.stderr


def test_without_a_program_is_wrong_use(daemon: Daemon) -> None:
    """Nothing to verify: exit 2, and how it is called."""
    done = verify(daemon)
    assert done.returncode == 2
    assert "mcli verify -- python app.py" in done.stderr
