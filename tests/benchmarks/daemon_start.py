"""
How long ``mcli daemon start`` takes after a crash: with an empty store, and with a long history.

    python tests/benchmarks/daemon_start.py [ROWS]
"""

import os
import select
import signal
import sqlite3
import sys
from pathlib import Path
from statistics import median

from stand import Env, environment, interleaved, mcli, wall_ms

from mcli.home import Home
from mcli.ids import new_id
from mcli.ticket import lock_holder

RUNS = 15
START = [sys.executable, "-m", "mcli", "daemon", "start", "--port", "0"]


def fill(env: Env, rows: int) -> None:
    """Have one job run, and *rows* more like it in the store."""
    mcli(env, "daemon", "start", "--port", "0")
    mcli(env, "run", "--", "true")
    mcli(env, "daemon", "stop")
    store = sqlite3.connect(Home(env["MCLI_HOME"]).database)
    names = [row[1] for row in store.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
    listed = ", ".join(names)
    copy = f"INSERT INTO jobs (id, {listed}) SELECT ?, {listed} FROM jobs WHERE id = ?"
    ((first,),) = store.execute("SELECT id FROM jobs").fetchall()
    with store:
        store.executemany(copy, ((new_id(), first) for _ in range(rows)))
    store.close()


def start_ms(env: Env) -> float:
    """Milliseconds until it listens; then it is killed."""
    took = wall_ms(START, env)
    home = Home(env["MCLI_HOME"])
    pid = lock_holder(home.lock)
    assert pid is not None
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)
    return took


def compare(rows: int) -> None:
    with environment() as empty, environment() as full:
        fill(empty, 0)
        fill(full, rows)
        size = Path(Home(full["MCLI_HOME"]).database).stat().st_size
        short, long = interleaved(RUNS, lambda: start_ms(empty), lambda: start_ms(full))
    print(
        f"start after kill -9: empty median {median(short):.0f} ms, max {max(short):.0f} ms; "
        f"{rows} jobs ({size >> 20} MiB) median {median(long):.0f} ms, max {max(long):.0f} ms; "
        f"ratio {median(long) / median(short):.2f}"
    )


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
