"""
Apps that a daemon is told to load in advance: ``mcli daemon start --app TARGET``.
"""

import importlib.util
import os
import sys

from mcli import version
from mcli.errors import RequestError
from mcli.invocation import App, Invocation


def preloaded(target: str) -> Invocation:
    """What a warm worker of *target* is started with: the daemon's own interpreter and variables.

    Args:
        target: A script, a module, or ``module:attribute``.

    Raises:
        RequestError: There is no such script, or no such module.
    """
    place, _, attribute = target.partition(":")
    script = place.endswith(".py") or os.path.sep in place
    if script and not os.path.isfile(place):
        raise RequestError(f"--app {target}: there is no file {place}; give a script or a module")
    if not script and importlib.util.find_spec(place.partition(".")[0]) is None:
        raise RequestError(f"--app {target}: there is no module {place}; is it installed here?")
    place = os.path.abspath(place) if script else place
    app = App(
        kind="object" if attribute else "script" if script else "module",
        target=f"{place}:{attribute}" if attribute else place,
        python=sys.executable,
        mcli_root=os.path.dirname(os.path.dirname(os.path.abspath(version.__file__))),
        cwd="" if script and not attribute else os.getcwd(),
    )
    return Invocation(name=target, app=app, argv=[], cwd=os.getcwd(), env=dict(os.environ))
