"""That what is looked at after each test would be seen."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest

from .daemon import Daemon
from .ledger import at_rest


def begun_again(daemon: Daemon) -> None:
    lines = daemon.ledger.read_text().splitlines()
    daemon.ledger.write_text("\n".join([*lines, lines[0]]))


def not_ended(daemon: Daemon) -> None:
    lines = daemon.ledger.read_text().splitlines()
    daemon.ledger.write_text("\n".join(line for line in lines if not line.startswith("E ")))


def open_yet(daemon: Daemon) -> None:
    open_again = "state = 'running', finished_at = NULL, exit_code = NULL, result = NULL"
    change(daemon, f"UPDATE jobs SET {open_again}")


def run_here_too(daemon: Daemon) -> None:
    change(daemon, "UPDATE jobs SET route = 'local'")


def change(daemon: Daemon, statement: str) -> None:
    with closing(sqlite3.connect(daemon.home.database)) as store, store:
        assert store.execute(statement).rowcount == 1


@pytest.mark.parametrize("wrong", [begun_again, not_ended, open_yet, run_here_too])
def test_what_is_wrong_is_seen(stopped: Daemon, wrong: Callable[[Daemon], None]) -> None:
    """Begun twice, or here as well; done, and has not come to its end; stuck."""
    stopped.start().final(stopped.submit("tell"))
    stopped.close()
    at_rest(stopped)
    wrong(stopped)
    with pytest.raises(AssertionError):
        at_rest(stopped)
    os.unlink(stopped.home.database)
    stopped.ledger.unlink()


def test_a_process_that_is_left_is_seen(stopped: Daemon) -> None:
    """By its mark, whatever it is."""
    job_id = stopped.start().submit("tell")
    stopped.final(job_id)
    stopped.stop()
    env = {"PATH": os.environ["PATH"], "MCLI_JOB_ID": job_id}
    with subprocess.Popen(["sleep", "600"], env=env) as left:
        try:
            with pytest.raises(AssertionError):
                at_rest(stopped)
        finally:
            left.kill()
