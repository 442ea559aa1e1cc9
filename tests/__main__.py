"""
``python -m tests``: everything that must hold before a change is taken.

Each step is run even if one before it failed; the tests come last, so that their summary
is what stays on the screen. The exit code is 0 only if all went well. Arguments are passed
to pytest.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

CHECKS = (
    ("ruff", "format", "--check"),
    ("ruff", "check"),
    ("mypy",),
)
TESTS = ("pytest", "-n", "4")


def environment() -> dict[str, str]:
    """This one, without settings of mcli that are meant for other things."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MCLI_")}


def run(*words: str) -> bool:
    """Run a module of this interpreter's; True if all is well."""
    print(f"$ python -m {' '.join(words)}", flush=True)
    return not subprocess.call([sys.executable, "-m", *words], cwd=PROJECT, env=environment())


def check(*words: str) -> bool:
    began = time.monotonic()
    well = run(*words)
    print(f"  {'ok' if well else 'FAILED'} ({time.monotonic() - began:.1f} s)\n", flush=True)
    return well


checked = [check(*words) for words in CHECKS]
tested = run(*TESTS, *sys.argv[1:])
sys.exit(0 if all(checked) and tested else 1)
