"""
What the measurements share: an environment as users have it, a daemon of their own, a clock.

Nothing here is collected by pytest; each measurement is a program that prints its numbers.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).resolve().parents[2]
Env = dict[str, str]


@contextmanager
def environment() -> Iterator[Env]:
    """Compiled modules are kept, as they are for users; settings of this shell are not."""
    with TemporaryDirectory(prefix="mcli-bench-") as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MCLI_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        places = {"PYTHONPYCACHEPREFIX": f"{folder}/cache", "MCLI_HOME": f"{folder}/home"}
        yield kept | places | {"PYTHONPATH": str(PROJECT)}


@contextmanager
def daemon(env: Env, *options: str) -> Iterator[None]:
    """A daemon of the measurement's own, on a free port."""
    mcli(env, "daemon", "start", "--port", "0", *options)
    try:
        yield
    finally:
        mcli(env, "daemon", "stop", "--kill-jobs")


def mcli(env: Env, *args: str) -> str:
    command = [sys.executable, "-m", "mcli", *args]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def here_and_routed_ms(program: str, runs: int) -> tuple[float, float]:
    """Median milliseconds of a script in its own process, and routed through a warm worker."""
    with environment() as env, daemon(env):
        script = Path(env["MCLI_HOME"]) / "program.py"
        script.write_text(program)
        argv = [sys.executable, str(script)]
        switched_off = env | {"MCLI_BACKGROUND_ENABLED": "false"}
        here, routed = interleaved(
            runs, lambda: wall_ms(argv, switched_off), lambda: wall_ms(argv, env)
        )
        jobs = json.loads(mcli(env, "daemon", "status", "--json"))["jobs"]
        if jobs.get("succeeded") != runs + 1:
            sys.exit(f"{runs + 1} runs should have been routed; the daemon knows of {jobs}")
    return median(here), median(routed)


def wall_ms(argv: list[str], env: Env) -> float:
    """Milliseconds from the start of a program to its end; what it prints goes through a pipe."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE)
    return (time.perf_counter() - began) * 1000


def interleaved(runs: int, *measures: Callable[[], float]) -> list[list[float]]:
    """*runs* of each, taken in turns, so that what else the machine does falls on all alike."""
    for measure in measures:  # once for nothing: compiled modules, a warm worker
        measure()
    rounds = [[measure() for measure in measures] for _ in range(runs)]
    return [list(column) for column in zip(*rounds, strict=True)]
