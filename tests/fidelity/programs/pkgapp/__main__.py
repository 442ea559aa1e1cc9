"""The entry of ``python -m pkgapp``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="pkgapp")
