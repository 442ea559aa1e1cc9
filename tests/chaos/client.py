"""
A client in a storm: submits jobs until its standard input ends, and notes what it was told.

``A tag job`` accepted; ``N tag`` told that it was not, and not run; ``U tag`` told that it
cannot be known; ``X tag code bytes-right`` a routed run that ended.
"""

import random
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcli
from mcli.errors import MCLIError, OutcomeUnknown

from .program import add, again, expected, work

PROGRAM = (str(Path(__file__).with_name("program.py")), "work")
OTHER = ("-m", "mcli", "run", "--", "sh", str(Path(__file__).with_name("program.sh")))
ROUTED = 0.15
"""Of all jobs, those that are submitted by running the program: dear, as they are processes."""

OTHERS = 0.5
"""Of those, the ones whose program is not Python, run by ``mcli run``."""

AGAIN = 0.2
"""Of the submitted ones, those that are tried again."""

LINES = (3, 30, 300, 3000)
PAUSES_S = (0, 0, 0, 0, 0.01, 0.1, 0.5, 2)
REFUSED_S = 0.05
"""Seconds after which one that was refused tries again: else it would do nothing else."""


def note(*words: object) -> None:
    add("NOTES", " ".join(map(str, words)))


def submit(command: Any, tag: str, lines: int, pause: float) -> bool:
    """Whether it was taken."""
    try:
        job = command.submit(tag=tag, lines=lines, pause=pause)
    except OutcomeUnknown:
        note("U", tag)
    except (MCLIError, OSError):
        note("N", tag)
    else:
        note("A", tag, job.id)
        return True
    return False


def run(program: Sequence[str], tag: str, lines: int, pause: float) -> None:
    words = [sys.executable, *program, tag, str(lines), str(pause)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    note("X", tag, done.returncode, int(done.stdout == expected(tag, lines)))


def main(name: str, seed: int) -> None:
    chance = random.Random(seed)
    number = 0
    patience_s = 0.0
    while not select.select([sys.stdin], [], [], patience_s)[0]:
        number += 1
        how = f"{name}.{number}", chance.choice(LINES), chance.choice(PAUSES_S)
        if chance.random() < ROUTED:
            run(OTHER if chance.random() < OTHERS else PROGRAM, *how)
            patience_s = 0.0
        else:
            taken = submit(again if chance.random() < AGAIN else work, *how)
            patience_s = 0.0 if taken else REFUSED_S


assert mcli.__version__
if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
