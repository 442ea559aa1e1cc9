"""Another module of the package."""

NAME = "parts"


def fail():
    raise LookupError("in the package")
