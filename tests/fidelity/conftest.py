"""A daemon for the fidelity tests, and the twin runs of a case against it."""

import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest

import mcli
from mcli.stage import Program, Run, perform
from mcli.twin import differences, files_below, local, routed

from .case import OTHER_PYTHON, PYTHON, TERMINAL, Case


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon of this test process alone."""

    home: Path
    env: dict[str, str]

    def jobs(self) -> int:
        """How many jobs it has accepted so far."""
        folder = self.home / "jobs"
        return len(os.listdir(folder)) if folder.exists() else 0


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Started once per test process, in its own state directory; its jobs end with it."""
    home = tmp_path_factory.mktemp("home") / "mcli"
    env = surroundings(home)
    verb = [PYTHON, "-m", "mcli", "daemon"]
    subprocess.run([*verb, "start", "--port", "0"], env=env, check=True, timeout=30)
    try:
        yield Daemon(home, env)
    finally:
        subprocess.run([*verb, "stop", "--kill-jobs"], env=env, check=True, timeout=30)


def surroundings(home: Path) -> dict[str, str]:
    """The whole environment of every program: little, and the same everywhere."""
    package = Path(mcli.__file__).parent.parent
    return {
        "HOME": str(home.parent),
        "LANG": "C.UTF-8",
        "MCLI_HOME": str(home),
        "PATH": os.pathsep.join([os.path.dirname(PYTHON), "/usr/local/bin", "/usr/bin", "/bin"]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(package),
        "TERM": "xterm-256color",
    }


@dataclass(slots=True)
class Twins:
    """Runs a case both ways, each in an empty directory at the same path."""

    daemon: Daemon
    cwd: Path
    request: pytest.FixtureRequest

    def run(self, case: Case, stage: str) -> tuple[Run, Run]:
        """The local and the routed run of *case*."""
        program = self._program(case)
        terminal = stage == TERMINAL
        before = self.daemon.jobs()
        here = self._once(case, local(program), terminal=terminal)
        assert self.daemon.jobs() == before, "the local run became a job"
        there = self._once(case, routed(program), terminal=terminal)
        if case.jobs is not None:
            assert self.daemon.jobs() - before == case.jobs, f"not as many jobs: {there}"
        return here, there

    def check(self, case: Case, stage: str) -> None:
        """Assert that *case* went as it should here, and no differently in the daemon."""
        here, there = self.run(case, stage)
        assert here.missed is None, here
        assert here.returncode is not None, here
        assert case.ending in (None, here.ending), here
        found = differences(here, there, terminal=stage == TERMINAL)
        assert not found, "\n".join(map(str, found))

    def _program(self, case: Case) -> Program:
        argv = list(case.argv)
        if argv[0] == OTHER_PYTHON:
            argv[0] = self.request.getfixturevalue("other_python")
        return Program(
            argv=argv,
            cwd=str(self.cwd),
            env={**self.daemon.env, **case.env},
            stdin=case.stdin,
            steps=case.steps,
            deadline_s=case.deadline_s,
        )

    def _once(self, case: Case, program: Program, *, terminal: bool) -> Run:
        shutil.rmtree(self.cwd, ignore_errors=True)
        self.cwd.mkdir()
        if case.prepare:
            case.prepare(self.cwd)
        run = perform(program, terminal=terminal)
        return replace(run, files=files_below(program.cwd))


@pytest.fixture
def twins(daemon: Daemon, tmp_path: Path, request: pytest.FixtureRequest) -> Twins:
    """Run a case both ways and compare."""
    return Twins(daemon, tmp_path / "cwd", request)


@pytest.fixture(scope="session")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a second virtual environment, which finds the same packages."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "same.pth").write_text(f"{Path(click.__file__).parent.parent}\n")
    return str(folder / "bin" / "python")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``case`` and ``stage`` runs for each of its module's ``CASES``."""
    if {"case", "stage"} <= set(metafunc.fixturenames):
        metafunc.parametrize(
            ("case", "stage"),
            [
                pytest.param(case, stage, id=f"{case.id}-{stage}")
                for case in metafunc.module.CASES
                for stage in case.stages
            ],
        )
