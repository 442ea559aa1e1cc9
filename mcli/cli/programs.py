"""
Recognising a Python program that uses mcli in a command line, without running it.
"""

import ast
import glob
import os
import re
import shutil
import sys
from typing import Any, Final

from mcli.program import ROOT, split

_PYTHON: Final = re.compile(r"python(3(\.\d+)?)?$")
_SHEBANG_BYTES: Final = 4096

Recognised = tuple[dict[str, Any], str, list[str]]
"""The app (fields of ``invocation.App``), ``sys.argv[0]`` and the arguments."""


def recognise(program: str, arguments: list[str]) -> Recognised | None:
    """The app behind *program*, if a warm worker can run it; None for any other program."""
    path = shutil.which(program)
    if path is None:
        return None
    if _PYTHON.match(os.path.basename(program)):
        flags, kind, target, argv = split(arguments)
        return _app(path, flags, kind, target, argv)
    python = _interpreter(path)
    return _app(python, [], "script", path, arguments) if python else None


def _interpreter(path: str) -> str | None:
    """The Python that the first line of a script names."""
    with open(path, "rb") as file:
        line = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = words[1:]
    if len(words) != 1 or not _PYTHON.match(os.path.basename(words[0])):
        return None
    return shutil.which(words[0])


def _app(
    python: str, flags: list[str], kind: str, target: str, argv: list[str]
) -> Recognised | None:
    root = _home_of_mcli(python)
    source = target if kind == "script" else _module(target)
    if root is None or kind == "other" or source is None or not _uses_mcli(source, python):
        return None
    fields = {
        "kind": kind,
        "target": os.path.abspath(target) if kind == "script" else target,
        "python": python,
        "flags": flags,
        "mcli_root": root,
        "cwd": os.getcwd() if kind == "module" else "",
    }
    return fields, target, argv


def _home_of_mcli(python: str) -> str | None:
    """The directory from which that interpreter would import mcli."""
    if (
        os.path.realpath(python) == os.path.realpath(sys.executable)
        and _prefix(python) == sys.prefix
    ):
        return ROOT
    found = glob.glob(os.path.join(_libraries(python), "mcli", "__init__.py"))
    return os.path.dirname(os.path.dirname(found[0])) if found else None


def _prefix(python: str) -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(python)))


def _libraries(python: str) -> str:
    return os.path.join(_prefix(python), "lib", "python3.*", "site-packages")


def _module(name: str) -> str | None:
    """The file that ``python -m NAME`` runs, if it stands below the current directory."""
    path = os.path.join(*name.split("."))
    for candidate in (os.path.join(path, "__main__.py"), f"{path}.py"):
        if os.path.isfile(candidate):
            return candidate
    return None


def _uses_mcli(source: str, python: str) -> bool:
    """Whether the program imports mcli: itself, or, as a console script, in its one module."""
    names = _imported(source)
    if "mcli" in names:
        return True
    for name in names:
        pattern = os.path.join(_libraries(python), *name.split("."))
        for file in glob.glob(f"{pattern}.py") + glob.glob(os.path.join(pattern, "__init__.py")):
            if "mcli" in _imported(file):
                return True
    return False


def _imported(source: str) -> set[str]:
    try:
        with open(source, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found
