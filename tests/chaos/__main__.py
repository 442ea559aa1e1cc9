"""
``python -m tests.chaos --seconds N --seed S``: a storm, its ledger, and the table of it.

Exit code 1 if anything was lost, done twice, wrong or missing; then the folder is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .storm import FAULTS, Storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--faults", default=",".join(FAULTS), help="which, separated by commas")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mcli-chaos-"))
    print(f"seed {told.seed}", flush=True)
    storm = Storm(folder, told.seed, told.clients, told.faults.split(","))
    verdict = storm.run(told.seconds)
    print("\n".join(storm.report()))
    if not verdict.clean:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


sys.exit(main())
