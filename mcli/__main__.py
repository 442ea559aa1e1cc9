"""``python -m mcli`` is ``mcli``."""

from mcli.cli import main

main(prog_name="mcli")
