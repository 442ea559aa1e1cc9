"""``python -m mcli.daemon``: the daemon in this process, as ``mcli daemon start`` begins it."""

import gc
import sys


def _main() -> int:
    gc.disable()  # until it serves: what is imported stays, and looking through it takes time
    from mcli.daemon.main import main

    return main(sys.argv[1:])


sys.exit(_main())
