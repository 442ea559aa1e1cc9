"""
How fast a job's output comes through: 50 MB, routed and in the command's own process.

    python tests/benchmarks/output_rate.py [RUNS]
"""

import sys

from stand import here_and_routed_ms

MEGABYTES = 50
PROGRAM = f"""
import click, mcli

LINE = "x" * 99 + "\\n"

@click.command()
@mcli.background
def talk():
    for _ in range({MEGABYTES} * 10_000):
        click.echo(LINE, nl=False)

talk()
"""


def measure(runs: int) -> None:
    here, routed = (MEGABYTES / ms * 1000 for ms in here_and_routed_ms(PROGRAM, runs))
    print(
        f"local {here:.0f} MB/s, routed {routed:.0f} MB/s, ratio {here / routed:.2f} ({runs} runs)"
    )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
