"""
What ``import mcli`` adds to ``import click``, in fresh interpreters.

    python tests/benchmarks/import_cost.py [RUNS]
"""

import subprocess
import sys
from statistics import median

from stand import Env, environment, interleaved

TIMED = "import time; began = time.perf_counter(); {}; print((time.perf_counter() - began) * 1000)"


def import_ms(statement: str, env: Env) -> float:
    argv = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)


def measure(runs: int) -> None:
    with environment() as env:
        alone, both = interleaved(
            runs,
            lambda: import_ms("import click", env),
            lambda: import_ms("import click, mcli", env),
        )
    click, with_mcli = median(alone), median(both)
    print(
        f"click {click:.1f} ms, click and mcli {with_mcli:.1f} ms: "
        f"mcli adds {with_mcli - click:.1f} ms, ratio {with_mcli / click:.2f} ({runs} runs)"
    )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
