"""``python -m mcli.daemon``: the daemon in this process, as ``mcli daemon start`` begins it."""

import sys

from mcli.daemon.server import main

sys.exit(main(sys.argv[1:]))
