"""Faults at random; the other tests' packages are found by ``python -m tests.chaos`` as well."""

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[1])
if TESTS not in sys.path:
    sys.path.append(TESTS)
