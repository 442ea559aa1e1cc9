"""
Names of files that are checked and not opened.

To convert a ``click.File``, or Typer's, is to open it: that may empty a file, make one, or
wait for ever at a pipe. Who only checks a value gives these names to the conversion instead,
which it takes for open files and leaves as they are. Called by ``command_line``.
"""

import errno
import os
import stat
from dataclasses import dataclass
from typing import Any, Final

STANDARD: Final = "-"

_MODES: Final = {"FileBinaryWrite": "wb", "FileTextWrite": "w", "FileBinaryRead": "rb"}
"""How Typer opens what is annotated so."""


class FileName(str):
    """The name of a file, in the place of the file."""

    __slots__ = ()

    read = write = None
    """What has either is a file, for Click and for Typer."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a parameter's file is opened when the command runs."""

    mode: str
    lazy: bool | None

    def check(self, name: str) -> None:
        """Raise the OSError that to open it would, as far as one can know without opening it."""
        lazy = "w" in self.mode if self.lazy is None else self.lazy
        if name == STANDARD or (lazy and "r" not in self.mode):
            return
        try:
            found = os.stat(name)
        except FileNotFoundError:
            if "r" in self.mode:
                raise
            _check_access(os.path.dirname(name) or ".", os.W_OK | os.X_OK)
            return
        if "x" in self.mode:
            raise _error(errno.EEXIST)
        if stat.S_ISDIR(found.st_mode):
            raise _error(errno.EISDIR)
        reads, writes = "r" in self.mode, self.mode.strip("rbt") != ""
        _check_access(name, os.R_OK * reads | os.W_OK * writes)


def openings(param: Any) -> Any:
    """How the values of *param* are opened: one for all of them, or a tuple, one for each value of
    a row; None for values that are no files.
    """
    if hasattr(param, "type_descriptor"):  # Typer's
        info = param.type_descriptor.parameter_info
        wanted = param.type_descriptor.file_annotation
        return _each(wanted, lambda kind: _typers(info, kind)) if wanted is not None else None
    kinds = getattr(param.type, "types", None)
    return _each(tuple(kinds) if kinds is not None else param.type, _clicks)


def _each(kinds: Any, opening: Any) -> Any:
    if not isinstance(kinds, tuple):
        return opening(kinds)
    found = tuple(map(opening, kinds))
    return found if any(found) else None


def _clicks(kind: Any) -> Opening | None:
    return Opening(kind.mode, kind.lazy) if hasattr(kind, "resolve_lazy_flag") else None


def _typers(info: Any, kind: Any) -> Opening | None:
    names = [each.__name__ for each in getattr(kind, "__mro__", ())]
    if not any(name in _MODES or name == "FileText" for name in names):
        return None
    mode = info.mode or next((_MODES[name] for name in names if name in _MODES), "r")
    return Opening(mode, info.lazy)


def _check_access(path: str, mode: int) -> None:
    os.stat(path)
    if not os.access(path, mode, effective_ids=True):
        raise _error(errno.EACCES)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
