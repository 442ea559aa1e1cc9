"""
The program that this process runs, so that another process can run it too.

Read from ``sys.orig_argv`` and ``__main__``; nothing is changed.
"""

import os
import sys
from typing import Any, Final

ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The directory from which this process has imported mcli."""

_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")


def current() -> tuple[dict[str, Any], str, list[str]] | None:
    """The app (the fields of ``invocation.App``), ``sys.argv[0]`` as typed, and the arguments.

    None if it cannot be run again: it came from ``-c``, standard input or an interactive
    session, or something else runs it (a debugger, a profiler, a test runner).
    """
    flags, kind, target, argv = split(sys.orig_argv[1:])
    main = sys.modules.get("__main__")
    if main is None or not sys.executable:
        return None
    if kind == "script":
        file = getattr(main, "__file__", None)
        if file is None or not os.path.isfile(file) or not _same(file, target):
            return None
        app = {"kind": "script", "target": os.path.join(os.getcwd(), file), "cwd": ""}
    elif kind == "module":
        spec = getattr(main, "__spec__", None)
        if spec is None or spec.name not in (target, f"{target}.__main__"):
            return None
        cwd = "" if sys.flags.safe_path else os.getcwd()
        app = {"kind": "module", "target": target, "cwd": cwd}
    else:
        return None
    told = {"python": sys.executable, "flags": flags, "mcli_root": ROOT}
    return {**app, **told}, target, argv


def _same(file: str, target: str) -> bool:
    """Whether ``__main__`` is the script that was named on the command line."""
    try:
        return os.path.samefile(file, target)
    except OSError:  # the program has changed directory, and the name was relative
        return os.path.basename(file) == os.path.basename(target)


def split(words: list[str]) -> tuple[list[str], str, str, list[str]]:
    """Interpreter flags, kind, target and arguments of what follows the interpreter's name.

    The kind is ``script``, ``module``, or ``other`` for what cannot be run again.
    """
    at = 0
    while at < len(words):
        word = words[at]
        if word == "-m" and at + 1 < len(words):
            return words[:at], "module", words[at + 1], words[at + 2 :]
        if word in ("-c", "-", "-i") or word.startswith(("-c", "-m")):
            return words[:at], "other", "", []
        if not word.startswith("-"):
            return words[:at], "script", word, words[at + 1 :]
        at += 2 if word in _WITH_VALUE else 1
    return words, "other", "", []
