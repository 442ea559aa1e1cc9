"""
``python -m tests.chaos --seconds N --seed S``: a storm, its ledger, and the table of it.

Exit code 1 if anything was lost, done twice, wrong or missing; then the folder is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .storm import FAULTS, Storm
from .table import CAPTION, put_into, summary, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--faults", help="which, separated by commas", default="")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write the table there as well")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mcli-chaos-"))
    print(f"seed {told.seed}", flush=True)
    faults = {name: FAULTS[name].weight for name in filter(None, told.faults.split(","))}
    storm = Storm(folder, told.seed, told.clients, faults)
    verdict = storm.run(told.seconds)
    command = f"python -m tests.chaos --seconds {told.seconds:g} --seed {told.seed}"
    command += f" --clients {told.clients}"
    said = [
        f"`{command}` on {time.strftime('%Y-%m-%d')}: {storm.daemon_kills} daemons killed.",
        "",
        table(storm.hits, verdict),
        "",
        CAPTION,
        "",
        *summary(verdict),
    ]
    print("\n".join(said))
    if told.into is not None:
        put_into(told.into, "\n".join(said))
    if not verdict.clean:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


sys.exit(main())
