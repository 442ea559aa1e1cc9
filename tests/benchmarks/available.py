"""
How long ``mcli.is_background_available()`` takes: with a daemon, without one, with one that hangs.

    python tests/benchmarks/available.py [RUNS]

Each is asked by a process of its own, with all that is loaded for the answer.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median

from stand import Env, daemon, environment

CODE = """
import time, mcli
began = time.perf_counter()
mcli.is_background_available()
print((time.perf_counter() - began) * 1000)
"""


def answers(env: Env, runs: int) -> str:
    """Median and worst, in milliseconds."""
    command = [sys.executable, "-c", CODE]
    took = [float(subprocess.check_output(command, env=env)) for _ in range(runs)]
    return f"median {median(took):.1f} ms, worst {max(took):.1f} ms ({runs} runs)"


def main(runs: int) -> None:
    with environment() as env:
        print("without a daemon:", answers(env, runs))
        with daemon(env):
            print("with a daemon:   ", answers(env, runs))
            told = json.loads((Path(env["MCLI_HOME"]) / "daemon.json").read_text())
            os.kill(told["pid"], signal.SIGSTOP)
            try:
                print("with one stopped:", answers(env, runs))
            finally:
                os.kill(told["pid"], signal.SIGCONT)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
