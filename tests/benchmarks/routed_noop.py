"""
What routing costs: a command that does nothing, by a warm worker and in its own process.

    python tests/benchmarks/routed_noop.py [RUNS]
"""

import sys

from stand import here_and_routed_ms

PROGRAM = """
import click, mcli

@click.command()
@mcli.background
def noop():
    pass

noop()
"""


def measure(runs: int) -> None:
    here, routed = here_and_routed_ms(PROGRAM, runs)
    print(f"local {here:.1f} ms, routed {routed:.1f} ms, ratio {routed / here:.2f} ({runs} runs)")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
