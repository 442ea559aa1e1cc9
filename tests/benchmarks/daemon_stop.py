"""
How long ``mcli daemon stop`` takes while twenty programs follow the output of a running job.

    python tests/benchmarks/daemon_stop.py
"""

import subprocess
import sys
from pathlib import Path
from statistics import median

from stand import daemon, environment, mcli, wall_ms

RUNS = 5
PROGRAM = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"


def stop_ms() -> float:
    with environment() as env, daemon(env):
        script = Path(env["MCLI_HOME"]) / "program.py"
        script.write_text(PROGRAM)
        job = mcli(env, "run", "--detach", "--", sys.executable, str(script)).strip()
        follow = [sys.executable, "-m", "mcli", "logs", "-f", job]
        followers = [
            subprocess.Popen(follow, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for _ in range(20)
        ]
        for follower in followers:
            assert follower.stdout is not None
            follower.stdout.readline()
        took = wall_ms([sys.executable, "-m", "mcli", "daemon", "stop"], env)
        for follower in followers:
            follower.communicate()
        mcli(env, "daemon", "start", "--port", "0")  # it takes over the job, and ends it
        return took


if __name__ == "__main__":
    print(f"stop with 20 followers: median {median(stop_ms() for _ in range(RUNS)):.0f} ms")
