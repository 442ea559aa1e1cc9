"""R7: nothing that comes from outside is ever taken for code."""

import ast
import json
import pickle
from pathlib import Path

import pytest

from mcli.invocation import Invocation

from .wire import Wire

PACKAGE = Path(__file__).parents[2] / "mcli"
FORBIDDEN = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}
BUILTINS = {"eval", "exec", "__import__", "compile"}
ALLOWED = {
    "worker/preload.py": {"compile"},  # the program that its user started
    "worker/become.py": {"exec"},
    "worker/load.py": {"exec"},
}
"""Where the program itself is run; what it is comes from its user's own command line."""

SOURCES = sorted(PACKAGE.rglob("*.py"))


def used(path: Path) -> tuple[set[str], set[str]]:
    """Modules that are imported, and builtins that are called, that make code of data."""
    modules, called = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
    return modules & FORBIDDEN, called & BUILTINS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_r07_no_code_from_data(path: Path) -> None:
    """No module loads pickles or the like, and none evaluates text, but where programs are run."""
    modules, called = used(path)
    assert modules == set()
    assert called <= ALLOWED.get(str(path.relative_to(PACKAGE)), set())


class Evil:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("path", ["/v1/jobs/-/kill", "/v1/shutdown", "/v1/login", "/v1/jobs"])
def test_r07_what_looks_like_code(wire: Wire, tmp_path: Path, path: str) -> None:
    """Pickles, and JSON that names code, are refused, and do nothing."""
    mark = tmp_path / "mark"
    pickled = pickle.dumps(Evil(mark))
    kinds = ("application/json", "application/octet-stream", "application/x-python-pickle")
    answers = [wire.ask("POST", path, body=pickled, Content_Type=kind) for kind in kinds]
    named = {"__reduce__": ["os.system", [f"touch {mark}"]], "py/object": "os.system"}
    documents = [named, {"signal": "os:system"}, {"code": named}, {"kill_jobs": named}, [named]]
    answers += [wire.post(path, document) for document in documents if path != "/v1/shutdown"]
    assert {answer.status // 100 for answer in answers} == {4}
    assert not mark.exists()


def test_r07_invocations_are_plain_data() -> None:
    """What the store keeps is JSON, and becomes nothing but our own classes."""
    evil = {"__reduce__": ["os.system", ["x"]], "__class__": "os.system"}
    with pytest.raises((TypeError, KeyError)):
        Invocation.parse(json.loads(json.dumps(evil)))
