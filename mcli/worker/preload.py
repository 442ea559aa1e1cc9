"""
Doing an app's imports once, ahead of its jobs, and knowing when they may be used.

Only imports are done ahead, as they stand at the top of the program; its own code is run
by each job afresh. What the imports looked at in the process (environment, directory) and
on disk (sources) is remembered: a job that differs in one of them needs another worker.
"""

import ast
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType
from typing import Any

from mcli.invocation import App


class Preload:
    """What has been imported for *app*, and what it depends on."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._looked: set[str] = set()
        self.failed: list[str] = []
        """Imports that raised something."""

        self.uses_cwd = False
        self.uses_argv = False
        """An import looked at the arguments: no import may be done ahead of them."""

        self._watching = False
        self._sources: dict[str, tuple[int, int]] = {}
        self.code: CodeType | None = None
        """A script's code, compiled."""

    def run(self, *, imports: bool) -> None:
        """Import (unless the app must start cold) and note what that depended on."""
        path = find_source(self._app)
        if path is None:
            return
        self._sources[path] = stamp_of(path)
        if self._app.kind == "script" or self._app.target.startswith(path + ":"):
            self.code = compiled(path)
        with open(path, "rb") as file:
            source = file.read()
        if imports:
            self._import(ast.parse(source))
        self._sources.update(loaded_sources())

    def _import(self, tree: ast.Module) -> None:
        unwatch = self._watch()
        try:
            for load in _imports(tree, self._app):
                try:
                    load()
                except BaseException as error:  # noqa: BLE001 - the job's own will tell its user
                    self.failed.append(f"{type(error).__name__}: {error}")
        finally:
            unwatch()

    def _watch(self) -> Callable[[], None]:
        """Note which variables are read, and whether the current directory matters."""
        environ, getcwd = os.environ, os.getcwd
        encode = environ.encodekey
        looked = self._looked

        def noting(key: Any) -> Any:
            if isinstance(key, str):
                looked.add(key)
            return encode(key)

        def noting_cwd() -> str:
            self.uses_cwd = True
            return getcwd()

        def audit(event: str, args: tuple[Any, ...]) -> None:
            if self._watching and event == "open" and _relative(args[0]):
                self.uses_cwd = True

        def noting_argv() -> None:
            self.uses_argv = True

        arguments = sys.argv
        sys.argv = Watched(arguments, noting_argv)
        environ.encodekey = noting
        os.getcwd = noting_cwd
        sys.addaudithook(audit)  # stays for good: it must cost next to nothing afterwards
        self._watching = True

        def unwatch() -> None:
            self._watching = False
            environ.encodekey, os.getcwd, sys.argv = encode, getcwd, arguments

        return unwatch

    def reads(self) -> dict[str, str | None]:
        """Variables that the imports read, and what they found."""
        return {key: os.environ.get(key) for key in sorted(self._looked - {"_", "SHLVL", "OLDPWD"})}

    def stale(self) -> str | None:
        """A source file that is not what it was when it was loaded, or None."""
        for path, stamp in self._sources.items():
            if stamp_of(path) != stamp:
                return path
        return None


_compiled: dict[str, tuple[tuple[int, int], CodeType]] = {}


def compiled(path: str) -> CodeType:
    """The code in a file, as it is now.

    Not the interpreter's own cache of it: that one takes an edit of the same second and size
    for no edit.

    Raises:
        OSError, SyntaxError, ValueError: There is no code in it.
    """
    stamp = stamp_of(path)
    known = _compiled.get(path)
    if known is None or known[0] != stamp:
        with open(path, "rb") as file:
            known = (stamp, compile(file.read(), path, "exec", dont_inherit=True))
        _compiled[path] = known
    return known[1]


class Watched(list[str]):
    """``sys.argv`` that tells when more of it is looked at than the program's name."""

    def __init__(self, words: list[str], look: Callable[[], None]) -> None:
        super().__init__(words)
        self._look = look

    def __getitem__(self, index: Any) -> Any:
        if index != 0:
            self._look()
        return super().__getitem__(index)

    def __len__(self) -> int:
        self._look()
        return super().__len__()

    def __iter__(self) -> Iterator[str]:
        self._look()
        return super().__iter__()

    def __contains__(self, word: object) -> bool:
        self._look()
        return super().__contains__(word)


def find_source(app: App) -> str | None:
    """The file of a program: what its imports are read from."""
    if app.kind == "script":
        return app.target
    if app.kind == "object":
        target = app.target.rpartition(":")[0]
        return target if target.endswith(".py") else _module_file(target)
    if app.kind == "module":
        return _module_file(app.target + ".__main__") or _module_file(app.target)
    return None


def _module_file(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _imports(tree: ast.Module, app: App) -> Iterator[Callable[[], object]]:
    """The imports at the top of a module, also those in a ``try``, in order."""
    package = _package(app)
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield partial(importlib.import_module, alias.name)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            if node.level and not package:
                continue
            yield partial(importlib.import_module, name, package or None)
            for alias in node.names:  # it may be a module of that package
                full = name + alias.name if name.endswith(".") else f"{name}.{alias.name}"
                yield partial(_import_submodule, full, package)


def _import_submodule(name: str, package: str) -> None:
    if _is_submodule(name, package):
        importlib.import_module(name, package or None)


def _is_submodule(name: str, package: str) -> bool:
    if name.endswith("*"):
        return False
    full = importlib.util.resolve_name(name, package or None)
    parent = sys.modules.get(full.rpartition(".")[0])
    return hasattr(parent, "__path__") and importlib.util.find_spec(full) is not None


def _package(app: App) -> str:
    if app.kind == "module":
        return (
            app.target if _module_file(app.target + ".__main__") else app.target.rpartition(".")[0]
        )
    if app.kind == "object" and not app.target.rpartition(":")[0].endswith(".py"):
        return app.target.rpartition(":")[0].rpartition(".")[0]
    return ""


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.Try):
            yield from _statements(node.body)
        else:
            yield node


_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
LIBRARIES = tuple(os.sep + name + os.sep for name in ("site-packages", "dist-packages"))


def loaded_sources() -> dict[str, tuple[int, int]]:
    """Files behind the loaded modules, but for the interpreter's own."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {
        file: stamp_of(file)
        for file in files
        if isinstance(file, str)
        and not (file.startswith(_STDLIB) and not any(name in file for name in LIBRARIES))
    }


def stamp_of(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _relative(path: Any) -> bool:
    text = os.fsdecode(path) if isinstance(path, (str, bytes)) else "/"
    return not text.startswith("/")
