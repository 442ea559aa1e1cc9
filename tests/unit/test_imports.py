"""
Imports point one way: words <- caller | store <- queue | worker | daemon <- people.

Read from the sources, so that an import inside a function counts as well; only those for
type checkers, which load nothing, do not.
"""

import ast
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from mcli import frames
from mcli.home import Home

PACKAGE = Path(__file__).parents[2] / "mcli"

LAYERS = {
    "words": """
        allowance amount anchors backoff capture card endpoint errors failpoint family filename
        filesystem frames hole home ids inode invocation job keyboard listener lock mask memory
        outcome output pipe policy problem retention retry scarcity secret settings standard_input
        states stream ticket url version
    """,
    "caller": """
        attach call command_line decorators description handle parameters program replay routing
        status stdio submission surroundings
    """,
    "store": "store",
    "queue": "appbook deliveries queue",
    "worker": "worker",
    "endpoints": "endpoints",
    "daemon": "daemon",
    "people": "address checkup cli client local router stage twin",
    "front": "__init__ __main__",
}
"""Which module or package of mcli belongs where."""

MAY_IMPORT = {
    "words": {"words"},
    "caller": {"words", "caller", "mcli.store.arbiter"},  # who runs a job in doubt, it must ask
    "store": {"words", "store"},
    "queue": {"words", "queue", "store"},
    # What the decorator does on the job's side; and what only a process with the app can tell.
    "worker": {"words", "worker", "mcli.replay", "mcli.description", "mcli.parameters"},
    "endpoints": {"words", "endpoints"},
    "daemon": {"words", "queue", "store", "endpoints", "daemon"},
    # That a store can be read is looked at without the daemon, which may not run.
    "people": {
        *("words", "caller", "endpoints", "daemon", "people", "mcli", "mcli.store.examination"),
    },
    "front": {"words", "caller", "people"},
}

GUESTS = {
    "alembic": {"store"},
    "click": {"caller", "people"},
    "fastapi": {"daemon", "endpoints", "mcli.router"},
    "prometheus_client": {"daemon"},
    "pydantic": {"daemon"},
    "requests": {"mcli.client", "mcli.daemon.webhooks"},
    "sqlalchemy": {"store", "queue"},
    "sqlite3": {"store"},
    "standardwebhooks": {"mcli.daemon.signing"},
    "starlette": {"daemon", "endpoints", "mcli.router"},
    "uvicorn": {"daemon"},
}
"""Where a third party is let in; and sqlite3, which is the store's business alone."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> str:
    """The layer of a module of mcli; KeyError if it has not been given one."""
    word = [*module.split("."), "__init__"][1]
    return {word: name for name, words in LAYERS.items() for word in words.split()}[word]


@cache
def imports(module: str) -> frozenset[str]:
    """Everything that *module* imports anywhere: modules of mcli in full, others by top name."""
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set(imported(ast.parse(path.read_text(encoding="utf-8")), package))
    return frozenset(name if name.startswith("mcli") else name.split(".")[0] for name in found)


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in SOURCES else source
        yield from imported(node, package)


def own(module: str) -> set[str]:
    return {name for name in imports(module) if name.split(".")[0] == "mcli"}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_one_way(module: str) -> None:
    """A module imports from its own layer and from those that its layer may stand on."""
    allowed = MAY_IMPORT[layer(module)]
    wrong = {name for name in own(module) if name not in allowed and layer(name) not in allowed}
    assert not wrong, f"{module} is of {layer(module)}, which stands on {sorted(allowed)} only"


@pytest.mark.parametrize("module", SOURCES)
def test_third_parties_are_let_in_where_they_belong(module: str) -> None:
    """SQL stands in the queue and the store, HTTP servers in the daemon, requests in the client,
    and nothing but click in what the caller's process loads.
    """
    others = imports(module) - own(module)
    foreign = {name for name in others if name in GUESTS or name not in sys.stdlib_module_names}
    wrong = {name for name in foreign if not GUESTS.get(name, set()) & {module, layer(module)}}
    assert not wrong


def test_there_is_no_cycle() -> None:
    """No module imports, by whatever way, one that imports it."""
    graph = {module: own(module) - {module} for module in SOURCES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(SOURCES)


# What is loaded ------------------------------------------------------------------------


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after *code*."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import_mcli_adds_only_mcli_to_click() -> None:
    """Beside click, ``import mcli`` loads a few modules of its own and nothing else at all."""
    added = loaded("import click, mcli") - loaded("import click")
    assert added == {
        *("mcli", "mcli.decorators", "mcli.errors", "mcli.replay", "mcli.routing", "mcli.version")
    }


def test_import_mcli_does_not_import_click() -> None:
    """A Typer app, which has a Click of its own, need not load another for mcli."""
    assert "click" not in loaded("import mcli")


PROGRAM = """
import os, sys
import click, mcli

leave = os._exit

def tell(code):
    print(*sys.modules, flush=True)
    leave(code)

os._exit = tell

@click.command()
@mcli.background
def body():
    print("not routed")

body()
"""


def test_routed_call_loads_no_third_party_but_click(tmp_path: Path) -> None:
    """By its end a routed call has loaded click, mcli's side of the caller and some standard
    library; of that neither an HTTP client, nor asyncio, nor a database.
    """
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as beside:
        listener.bind(Home(str(tmp_path)).attach_socket)
        listener.listen()
        listener.settimeout(30)
        served = beside.submit(stand_in_for_daemon, listener)
        done = subprocess.run(
            [sys.executable, str(program)],
            env={"MCLI_HOME": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        served.result()
    assert (done.returncode, done.stderr) == (7, "")
    names = set(done.stdout.split()) - loaded("pass")
    assert {name for name in names if name.startswith("mcli.")} >= {"mcli.attach", "mcli.stdio"}
    tops = {name.split(".")[0] for name in names}
    assert tops - sys.stdlib_module_names == {"click", "mcli"}
    assert not tops & {"asyncio", "http", "urllib", "email", "ssl", "sqlite3", "subprocess"}


def stand_in_for_daemon(listener: socket.socket) -> None:
    """Take one job, and have it end with exit code 7."""
    connection, _ = listener.accept()
    with connection:
        decoder = frames.Decoder()
        while not list(decoder.feed(connection.recv(1 << 16))):
            pass
        outcome = {"reached": True, "exit_code": 7, "signal": None}
        quiet = {"die_by": None, "message": None, "run_here": False}
        told = {"outcome": outcome, "state": "failed", "exit_code": 7, **quiet}
        connection.sendall(frames.encode(frames.ACCEPTED, {"id": "0"}))
        connection.sendall(frames.encode(frames.STARTED, {"attempt": 1}))
        connection.sendall(frames.encode(frames.FINISHED, told))
