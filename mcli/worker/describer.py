"""
``python -m mcli.worker.describer CONFIG``: loads an app and says what it offers.

Started by the daemon, with the app's own interpreter, on a socket as its standard input; each
line there is a question in JSON, and is answered by one. CONFIG is JSON as well: ``target``
(``path.py``, ``module``, or either with ``:attribute``), ``cwd`` and ``log``. It runs no job,
and ends when the socket is closed.
"""

import contextlib
import importlib.util
import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final

from mcli import version
from mcli.description import Found, describe, find
from mcli.endpoint import Checked, Command, Description
from mcli.invocation import App
from mcli.parameters import check
from mcli.worker.load import aim_path, load_module
from mcli.worker.plugs import own_streams
from mcli.worker.preload import LIBRARIES, Preload, loaded_sources, stamp_of

_OWN: Final = os.path.dirname(os.path.abspath(version.__file__)) + os.sep


class Describer:
    """The app as it was when it was loaded."""

    def __init__(self, target: str) -> None:
        place, _, attribute = target.rpartition(":") if ":" in target else (target, "", "")
        self._place = place
        self._found: dict[str, Found] = {}
        self._commands: dict[str, Command] = {}
        self._error: str | None = None
        self._blamed: set[str] = set()
        """Files that an error has been seen in: they may be mended."""

        try:
            self._load(attribute or None)
        except BaseException as error:  # noqa: BLE001 - the app's, and SystemExit is one too
            self._blamed = set(_files_of(error))
            trace = _from_app(error.__traceback__)
            self._error = "".join(traceback.format_exception(type(error), error, trace))

    def _load(self, attribute: str | None) -> None:
        script = self._place.endswith(".py")
        app = App(kind="script" if script else "module", target=self._place, python=sys.executable)
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            Preload(app).run(imports=True)  # so that Click or Typer is there before it is called
        for place in _places(self._place):
            self._found = find(vars(load_module(place)), place, attribute)
            if self._found:
                break
        if attribute is not None and not hasattr(load_module(self._place), attribute):
            raise AttributeError(f"{self._place} has no {attribute!r}")
        self._commands = {name: describe(name, each) for name, each in self._found.items()}

    def describe(self) -> dict[str, Any]:
        """All of it, as JSON."""
        description = Description(
            commands=tuple(self._commands.values()),
            sources=tuple(self._sources()),
            error=self._error,
        )
        return description.document()

    def check(self, question: dict[str, Any]) -> dict[str, Any]:
        """The words for a request's parameters, or what is wrong with them."""
        name = question["command"]
        found = self._found.get(name)
        if found is None:
            wrong = {"parameter": "", "message": f"the app has no command {name!a}"}
            return asdict(Checked(errors=[wrong]))
        return asdict(check(found, self._commands[name], question["values"], question["texts"]))

    def _sources(self) -> Iterator[tuple[str, int, int]]:
        files = {file for file in loaded_sources() if not _is_foreign(file)} | self._blamed
        if self._place.endswith(".py"):
            files.add(self._place)
        return ((file, *stamp_of(file)) for file in sorted(files))


def _places(place: str) -> Iterator[str]:
    """Where a program's commands may be: what is named, or what ``python -m`` would run."""
    yield place
    if not place.endswith(".py"):
        inner = f"{place}.__main__"
        with contextlib.suppress(ImportError):
            if importlib.util.find_spec(inner) is not None:
                yield inner


def _is_foreign(file: str) -> bool:
    """Whether nobody edits it while it is used."""
    return any(name in file for name in LIBRARIES) or file.startswith(_OWN)


def _from_app(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without what loads the app: its own frames are what people look for."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_OWN, "<frozen importlib")):
            return trace
        trace = trace.tb_next
    return None


def _files_of(error: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.isfile(frame.filename) and not _is_foreign(frame.filename):
            yield frame.filename
    if isinstance(error, SyntaxError) and error.filename and os.path.isfile(error.filename):
        yield error.filename


def _serve(config: dict[str, Any]) -> None:
    connection = socket.socket(fileno=os.dup(0))
    own_streams(config["log"])
    target = config["target"]
    place = target.rpartition(":")[0] or target
    aim_path(App(kind="object", target=f"{place}:", python=sys.executable, cwd=config["cwd"]))
    os.chdir(config["cwd"])
    describer = Describer(target)
    with connection.makefile("r", encoding="ascii") as questions:
        for line in questions:
            question = json.loads(line)
            known = question["ask"] == "describe"
            answer = describer.describe() if known else describer.check(question)
            connection.sendall(json.dumps(answer).encode("ascii") + b"\n")


if __name__ == "__main__":
    try:
        _serve(json.loads(sys.argv[1]))
    except Exception:  # noqa: BLE001 - nobody else would tell of it
        traceback.print_exc()  # into the daemon's log, where people are told to look
    finally:
        os._exit(0)  # whatever the app has started in this process
