"""
One thing that must be the same in both ways of running: a program, and what is done to it.

A case is data. ``conftest.Twins`` runs it; the test modules list the cases of their topic.
"""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcli.stage import Step

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = sys.executable
OTHER_PYTHON = "{other python}"
"""Stands for the interpreter of another virtual environment, made when it is needed."""

PIPES = "pipes"
TERMINAL = "terminal"
BOTH = (PIPES, TERMINAL)

Arg = str | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A program with its surroundings, and how many jobs it is when it is routed."""

    id: str
    argv: Sequence[Arg]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    steps: Sequence[Step] = ()
    stages: Sequence[str] = BOTH
    jobs: int | None = 1
    """None: it is not this case's business whether it is routed."""
    prepare: Callable[[Path], None] | None = None
    """Fills the empty working directory, before each run."""
    ending: str | None = None
    """How a local run must end, to be sure that the case tests what it says."""
    deadline_s: float = 20.0


def python(program: str, *args: Arg) -> list[Arg]:
    """The argv that runs one of the programs: ``python program.py args``."""
    return [PYTHON, str(PROGRAMS / program), *args]


def shell(script: str, *programs: Sequence[Arg]) -> list[Arg]:
    """The argv of a bash *script*, in which ``{0}``, ``{1}`` … are the programs."""
    words = [" ".join(shlex.quote(str(word)) for word in program) for program in programs]
    return ["bash", "--norc", "-c", script.format(*words)]
