"""A module beside the script, which looks at its surroundings when it is imported."""

import os
import sys

COLOUR = os.environ.get("COLOUR", "none")
FOLDER = os.path.basename(os.getcwd())
ARGUMENTS = len(sys.argv)
VISITS = []
