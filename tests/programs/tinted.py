"""A module that reads a variable once, when it is imported."""

import os

COLOUR = os.environ.get("COLOUR", "none")
