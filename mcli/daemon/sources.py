"""
Where a daemon's apps come from: its command line, a project's settings, installed packages,
and those who add one.

Nothing is loaded here: an app is a place and an interpreter.
"""

import logging
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

from mcli import version
from mcli.appbook import Entry, Origin
from mcli.errors import BadApp

log = logging.getLogger("mcli.apps")

GROUP: Final = "mcli.apps"
"""The entry points of packages that bring apps with them: ``name = module:attribute``."""

ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(version.__file__)))
"""The directory that the daemon has imported mcli from."""


def found(targets: Iterable[str], cwd: str, named_from: str | None = None) -> list[Entry]:
    """All apps that a daemon begins with: *targets*, a project's, and those of packages.

    What a project says and cannot be used is left out, and the log tells.

    Args:
        targets: What the command line names.
        cwd: Where the daemon is started.
        named_from: The directory that *targets* are named from, if it is another one.

    Raises:
        BadApp: One of *targets* is not there.
    """
    entries = started(targets, named_from or cwd)
    try:
        entries += project(cwd)
    except BadApp as error:
        log.warning("apps.unreadable %s", error)
    return [*entries, *packages(cwd)]


def started(targets: Iterable[str], cwd: str) -> list[Entry]:
    """The apps that ``daemon start --app`` names.

    Raises:
        BadApp: There is no such script, or no such module.
    """
    return [_there(entry(target, cwd, origin="start")) for target in targets]


def _there(found: Entry) -> Entry:
    """*found*, if it can be loaded by the daemon's own interpreter, as far as one can see."""
    place = found.place
    if _is_file(place):
        _check_file(place)
    elif not _is_module(place.partition(".")[0], found.cwd):
        raise BadApp(f"there is no module {place}; give one that is installed here, or a script")
    return found


def _is_module(name: str, cwd: str) -> bool:
    return find_spec(name) is not None or PathFinder.find_spec(name, [cwd]) is not None


def _check_file(place: str) -> None:
    if not place.endswith(".py") or not os.path.isfile(place):
        raise BadApp(f"there is no Python file {place}; give a script or a module")


def project(cwd: str) -> list[Entry]:
    """What ``[tool.mcli] apps`` says in the nearest ``pyproject.toml``, from *cwd* upwards.

    Raises:
        BadApp: It says something else than a list of apps.
    """
    path = _pyproject(cwd)
    if path is None:
        return []
    folder = os.path.dirname(path)
    return [entry(target, folder, origin="project") for target in _listed(path)]


def _pyproject(folder: str) -> str | None:
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return path
        folder, child = os.path.dirname(folder), folder
        if folder == child:
            return None


def _listed(path: str) -> Sequence[str]:
    try:
        with open(path, "rb") as file:
            targets = tomllib.load(file).get("tool", {}).get("mcli", {}).get("apps", [])
    except AttributeError:  # one of these is no table
        targets = None
    except (OSError, ValueError) as error:
        raise BadApp(f"cannot read the apps of {path}: {error}") from None
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        raise BadApp(f'{path}: apps in [tool.mcli] must be a list such as ["shop.py"]')
    return targets


def packages(cwd: str) -> Iterator[Entry]:
    """The apps of packages that are installed beside the daemon."""
    for each in sorted(entry_points(group=GROUP)):
        yield entry(each.value, cwd, origin="package").named(each.name)


def entry(
    target: str,
    cwd: str,
    *,
    origin: Origin,
    python: str = sys.executable,
    mcli_root: str = ROOT,
) -> Entry:
    """An app as somebody in *cwd* names it, whether it is there or not."""
    place, colon, attribute = target.partition(":")
    name = place
    if _is_file(place):
        place = os.path.join(cwd, os.path.expanduser(place))
        name = os.path.basename(place).removesuffix(".py")
    return Entry(
        name=name,
        target=f"{os.path.normpath(place) if _is_file(place) else place}{colon}{attribute}",
        python=python,
        mcli_root=mcli_root,
        cwd=cwd,
        origin=origin,
    )


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.path.sep in place


def added(document: dict[str, str]) -> Entry:
    """The app that a request adds: ``target``, ``python``, ``cwd`` and ``mcli_root``.

    Raises:
        BadApp: There is no such file, directory or interpreter.
    """
    python, cwd, root = document["python"], document["cwd"], document.get("mcli_root", "")
    if not os.path.isabs(python) or not os.access(python, os.X_OK) or not os.path.isfile(python):
        raise BadApp(f"{python!a} is no program; python must be the path of an interpreter")
    if not os.path.isabs(cwd) or not os.path.isdir(cwd):
        raise BadApp(f"{cwd!a} is no directory; cwd must be the path of one")
    if root and not os.path.isdir(os.path.join(root, "mcli")):
        raise BadApp(f"{root!a} is no directory with mcli in it; leave mcli_root out")
    found = entry(document["target"], cwd, origin="added", python=python, mcli_root=root)
    if _is_file(found.place):
        _check_file(found.place)
    return found
