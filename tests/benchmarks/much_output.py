"""
Much output under a small limit: memory and disk that it takes, and what it costs the job.

    python tests/benchmarks/much_output.py [GIGABYTES]

Exits with 1 if the daemon or the worker has grown by 50 MB, or the log is larger than allowed.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from stand import Env, daemon, environment, mcli

LIMIT = 64 << 20
GROWTH_MAX = 50 << 20
PROGRAM = """
import os, sys
import click, mcli

@click.command()
@click.argument("count", type=int)
@mcli.background
def talk(count):
    block = (b"x" * 99 + b"\\n") * 655
    for _ in range(count // len(block)):
        os.write(1, block)

talk()
"""


def peak(pid: int) -> int:
    """The most memory that the process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def rate(env: Env, script: Path, size: int) -> tuple[str, float]:
    """The job that prints *size* bytes with nobody looking, and its bytes per second."""
    words = [sys.executable, str(script), str(size), "--detach"]
    done = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
    job_id = done.stdout.strip()
    began = time.perf_counter()
    mcli(env, "wait", job_id)
    return job_id, size / (time.perf_counter() - began)


def measure(size: int) -> bool:
    with environment() as env, daemon(env | {"MCLI_MAX_OUTPUT": str(LIMIT)}):
        script = Path(env["MCLI_HOME"]) / "program.py"
        script.write_text(PROGRAM)
        first, _ = rate(env, script, 1 << 20)
        pids = [
            json.loads(mcli(env, "daemon", "status", "--json"))["pid"],
            json.loads(mcli(env, "inspect", first, "--json"))["worker_pid"],
        ]
        before = [peak(pid) for pid in pids]
        _, below = rate(env, script, LIMIT - (1 << 20))
        job_id, above = rate(env, script, size)
        grown = [peak(pid) - was for pid, was in zip(pids, before, strict=True)]
        log = Path(env["MCLI_HOME"], "jobs", job_id, "output.log")
        disk = os.stat(log).st_blocks * 512
    print(
        f"{size / 1e9:.1f} GB at {above / 1e6:.0f} MB/s (below the limit {below / 1e6:.0f} MB/s); "
        f"log {disk / 1e6:.0f} MB of {LIMIT / 1e6:.0f} MB; grown: daemon {grown[0] / 1e6:.1f} MB, "
        f"worker {grown[1] / 1e6:.1f} MB"
    )
    return max(grown) < GROWTH_MAX and disk < 1.1 * LIMIT


if __name__ == "__main__":
    sys.exit(not measure(int(float(sys.argv[1] if len(sys.argv) > 1 else "1") * 1e9)))
