"""Imports done ahead of a job: which, and what is remembered of them."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcli.invocation import App
from mcli.worker.preload import _imports

SCRIPT = App(kind="script", target="app.py", python=sys.executable)
MODULE = App(kind="module", target="json.tool", python=sys.executable)

CASES: list[tuple[App, str, list[str]]] = [
    (SCRIPT, "import os, sys as system", ["os", "sys"]),
    (SCRIPT, "import os.path", ["os.path"]),
    (SCRIPT, "from json import dumps, decoder", ["json", "json.dumps", "json.decoder"]),
    (SCRIPT, "from json import *", ["json", "json.*"]),
    (SCRIPT, "try:\n    import json\nexcept ImportError:\n    import ast", ["json"]),
    (SCRIPT, "if True:\n    import json", []),
    (SCRIPT, "def late():\n    import json", []),
    (SCRIPT, "x = 1\nimport json\nx = 2\nimport ast", ["json", "ast"]),
    (SCRIPT, "from . import sibling", []),
    (MODULE, "from . import decoder", [".", ".decoder"]),
    (MODULE, "from .decoder import JSONDecoder", [".decoder", ".decoder.JSONDecoder"]),
]


@pytest.mark.parametrize(("app", "source", "names"), CASES, ids=str)
def test_imports_at_the_top_are_found(app: App, source: str, names: list[str]) -> None:
    """Those which run as soon as the program does, in order, and no others."""
    found = _imports(ast.parse(source), app)
    assert [load.args[0] for load in found if isinstance(load, partial)] == names


@pytest.mark.parametrize(("app", "source", "names"), CASES, ids=str)
def test_what_is_found_can_be_imported(app: App, source: str, names: list[str]) -> None:
    """A name that is no module of the package, but something in it, is left alone."""
    for load in _imports(ast.parse(source), app):
        load()


Preloaded = dict[str, Any]
PRELOAD = """
import json, os, sys
from mcli.invocation import App
from mcli.worker.preload import Preload

preload = Preload(App(kind="script", target=sys.argv[1], python=sys.executable))
preload.run(imports=True)
# What comes after the imports is nobody's business.
os.environ.get("LOOKED_AT_LATER"), os.getcwd()
told = {"reads": preload.reads(), "cwd": preload.uses_cwd, "stale": preload.stale()}
os.utime(sys.argv[2], ns=(1, 1))
print(json.dumps({**told, "stale_then": preload.stale(), "argv": preload.uses_argv}))
"""


@pytest.fixture
def preload(tmp_path: Path) -> Callable[[str], Preloaded]:
    """Preloads, in a process of its own, a script that imports a module with that source."""

    def run(module: str) -> Preloaded:
        script, part = tmp_path / "script.py", tmp_path / "part.py"
        script.write_text("import part\nimport not_there\nraise SystemExit('ran')\n")
        part.write_text(module)
        done = subprocess.run(
            [sys.executable, "-c", PRELOAD, str(script), str(part)],
            env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}", "SEEN": "yes"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        told: Preloaded = json.loads(done.stdout)
        return told

    return run


@pytest.mark.parametrize(
    ("module", "key", "value"),
    [
        ("import os; os.environ.get('SEEN')", "reads", {"SEEN": "yes"}),
        ("import os; os.getenv('UNSET'); 'SEEN' in os.environ", "reads", {"UNSET": None}),
        ("x = 1", "reads", {}),
        ("x = 1", "cwd", False),
        ("import os; os.getcwd()", "cwd", True),
        ("open('part.py').close()", "cwd", True),
        ("open(__file__).close()", "cwd", False),
        ("import sys; '-v' in sys.argv", "argv", True),
        ("import sys; sys.argv[0]", "argv", False),
    ],
    ids=str,
)
def test_what_imports_look_at_is_remembered(
    preload: Callable[[str], Preloaded], module: str, key: str, value: object
) -> None:
    """Variables, directory and arguments that an import depended on, and only the import's own."""
    told = preload(module)[key]
    if isinstance(value, dict):
        assert value.items() <= told.items()
        assert "LOOKED_AT_LATER" not in told
    else:
        assert told is value


def test_a_changed_source_makes_it_stale(preload: Callable[[str], Preloaded]) -> None:
    """It is not stale until a file that was loaded is another, which is then named."""
    told = preload("x = 1")
    assert told["stale"] is None
    assert told["stale_then"].endswith("part.py")


def test_imports_that_fail_are_left_to_the_job(preload: Callable[[str], Preloaded]) -> None:
    """The job's own import tells its user; the program itself is not run."""
    assert preload("raise SystemExit(3)")["stale"] is None
