"""``mcli verify``: the same comparison, for anybody's command."""

import json
import subprocess
from pathlib import Path

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


def verify(daemon: Daemon, *args: Arg, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the verb to its end."""
    return subprocess.run(
        [PYTHON, "-m", "mcli", "verify", *args],
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
