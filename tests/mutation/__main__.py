"""
``python -m tests.mutation [NAME …]``: takes away one guard after the other; a test must notice.

Works in a copy of the tree. Exit code 0 only if each mutation was noticed by the tests that are
named beside it, and they pass without it.
"""

import sys
import tempfile

from .mutations import MUTATIONS, copy, failing, judged


def main(names: list[str]) -> int:
    """Print a row for each; 0 if each was noticed."""
    wanted = names or list(MUTATIONS)
    tests = tuple(dict.fromkeys(test for name in wanted for test in MUTATIONS[name].tests))
    with tempfile.TemporaryDirectory(prefix="mcli-mutation-") as folder:
        unmutated = failing(copy(folder), tests)
    if unmutated:
        print(f"fails without any mutation: {unmutated[0]}")
        return 1
    print("| guard | edit | tests run | noticed by |\n| --- | --- | --- | --- |", flush=True)
    all_noticed = True
    for name in wanted:
        noticed, row = judged(name)
        all_noticed = all_noticed and noticed
        print(row, flush=True)
    return 0 if all_noticed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
