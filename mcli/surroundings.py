"""
What a process has around it, and a job is to find again.
"""

import os
from typing import Any, Final

from mcli.stdio import ignored_signals

_OF_A_JOB: Final = ("MCLI_JOB_ID", "MCLI_ATTEMPT")


def surroundings() -> dict[str, Any]:
    """``cwd``, ``env``, ``umask`` and ``ignored_signals`` of ``invocation.Invocation``.

    Raises:
        FileNotFoundError: The current directory has been removed.
    """
    mask = os.umask(0)
    os.umask(mask)
    return {
        "cwd": os.getcwd(),
        "env": {name: value for name, value in os.environ.items() if name not in _OF_A_JOB},
        "umask": mask,
        "ignored_signals": ignored_signals(),
    }
