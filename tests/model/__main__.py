"""``python -m tests.model --steps N``: the state machine with another budget, and by chance."""

import argparse
import time

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine
from .test_protocol import BUDGET

LENGTH = 50
"""Steps of one run."""

parser = argparse.ArgumentParser(prog="python -m tests.model")
parser.add_argument("--steps", type=int, default=200_000)
steps = parser.parse_args().steps
began = time.monotonic()
examples = max(1, steps // LENGTH)
run_state_machine_as_test(
    Machine,
    settings=settings(BUDGET, max_examples=examples, stateful_step_count=LENGTH, derandomize=False),
)
print(f"{examples} runs of {LENGTH} steps in {time.monotonic() - began:.0f} s: nothing found")
