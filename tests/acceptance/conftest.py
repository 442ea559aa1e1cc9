"""
A daemon of the tests' own, and a way to run a program here or through it.

Every program is a real process. ``how`` says which way a test runs it: ``local`` with mcli
switched off, ``routed`` by a daemon, which then has to know of a job that succeeded.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from .daemon import Daemon, Gate

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
Env = dict[str, str]
Done = subprocess.CompletedProcess[str]


class Run(Protocol):
    """Run an example's command in ``tmp_path`` and check how it ended.

    ``job`` says whether the command is one of those that run in the background.
    """

    def __call__(
        self,
        example: str,
        *args: str | Path | int,
        exit_code: int = 0,
        job: bool = True,
        stdin: str = "",
    ) -> Done: ...


def clean_env(**more: str) -> Env:
    """This process's environment without the settings of mcli, and with *more*."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MCLI_") and name != "PYTHONPYCACHEPREFIX"
    }
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"} | more


def run_mcli(env: Env, *args: str) -> Done:
    """Run ``mcli`` with *args*; a failure shows what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "mcli", *args], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"mcli {' '.join(args)}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="session")
def daemon_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """The environment of a client whose daemon runs, in a state directory of its own."""
    env = clean_env(MCLI_HOME=str(tmp_path_factory.mktemp("home")))
    run_mcli(env, "daemon", "start", "--port", "0")
    try:
        yield env
    finally:
        run_mcli(env, "daemon", "stop", "--kill-jobs")


@pytest.fixture(params=["local", "routed"])
def how(request: pytest.FixtureRequest) -> str:
    """Which way the test runs its programs."""
    return str(request.param)


@pytest.fixture
def run(how: str, request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a command of an example the way of ``how``."""
    env: Env = (
        clean_env(MCLI_BACKGROUND_ENABLED="false")
        if how == "local"
        else request.getfixturevalue("daemon_env")
    )

    def run(
        example: str, *args: str | Path | int, exit_code: int = 0, job: bool = True, stdin: str = ""
    ) -> Done:
        argv = [str(arg) for arg in args]
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / example), *argv],
            cwd=tmp_path,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == exit_code, f"{example} {argv}: {done.stdout}{done.stderr}"
        if how == "routed" and job and exit_code == 0:
            assert "succeeded" in states(env, argv, tmp_path)
        return done

    return run


def states(env: Env, argv: list[str], cwd: Path) -> set[str]:
    """The states of the jobs with these arguments and this working directory."""
    jobs: list[dict[str, Any]] = json.loads(run_mcli(env, "ps", "-a", "--json").stdout)
    return {
        job["state"] for job in jobs if job["argv"][-len(argv) :] == argv and job["cwd"] == str(cwd)
    }


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of the module's own."""
    daemon = Daemon(tmp_path_factory.mktemp("standing"))
    yield daemon.start()
    daemon.close()


@pytest.fixture
def shared(standing: Daemon, tmp_path: Path, gate: Gate) -> Iterator[Daemon]:
    """That one, without jobs, for a test that leaves it as it was; programs run in ``tmp_path``."""
    standing.cwd = tmp_path
    pid = standing.pid
    yield standing
    standing.clear()
    assert standing.pid == pid, "a test that ends the daemon needs one of its own"
