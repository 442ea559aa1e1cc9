"""An invocation crosses as JSON and is the same on the other side."""

import json
from dataclasses import replace

import pytest

from mcli.invocation import App, Invocation, Replay, Terminal, interpreter_environment

APP = App(kind="script", target="/app.py", python="/bin/python", flags=("-X", "dev"))
PLAIN = Invocation(name="app load", app=APP, argv=["load"], cwd="/", env={"A": "b"})

CASES = {
    "plain": PLAIN,
    "terminal": replace(
        PLAIN, stdio=("tty", "tty", "tty"), terminal=Terminal(24, 80, [1, 2, [3, 4]])
    ),
    "replay": replace(
        PLAIN, replay=Replay(path=("db", "load"), parameters="{}", prompted=[[["db"], "name", 1]])
    ),
    "any-bytes": replace(PLAIN, argv=["\udcff", "\ud800", "", "ä", "\0"], env={"\udcfe": "\udcff"}),
    "everything": replace(
        PLAIN, umask=0o777, argv0="app.py", ignored_signals=[1, 2], timeout_s=0.5
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_survives_the_way(case: str) -> None:
    """As a document, as JSON in ASCII and back, nothing of it has changed."""
    text = json.dumps(CASES[case].document()).encode("ascii")
    assert Invocation.parse(json.loads(text)) == CASES[case]


@pytest.mark.parametrize("missing", ["app", "argv", "cwd", "env", "name", "stdio"])
def test_what_is_no_invocation_is_refused(missing: str) -> None:
    """A document without one of the necessary fields is an error, not a guess."""
    document = PLAIN.document()
    del document[missing]
    with pytest.raises((KeyError, TypeError), match=missing):
        Invocation.parse(document)


def test_an_unknown_field_is_refused() -> None:
    """A document of another protocol does not pass for one of this."""
    with pytest.raises(TypeError, match="surprise"):
        Invocation.parse({**PLAIN.document(), "surprise": 1})


def test_repr_hides_argv_and_environment() -> None:
    """Arguments and environment may hold secrets and are not printed by accident."""
    secret = replace(PLAIN, argv=["--password=hush"], env={"TOKEN": "hush"})
    assert repr(secret) == "<Invocation app load>"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("python", "/other/python"),
        ("flags", ("-O",)),
        ("kind", "module"),
        ("target", "/other.py"),
        ("mcli_root", "/other"),
        ("cwd", "/elsewhere"),
    ],
)
def test_apps_that_differ_have_other_workers(field: str, value: object) -> None:
    """Whatever tells two programs or their interpreters apart is in the key."""
    assert replace(APP, **{field: value}).key() != APP.key()  # type: ignore[arg-type]


def test_all_other_programs_share_a_worker() -> None:
    """What is executed is not imported: which program it is makes no difference."""
    true, false = (replace(APP, kind="exec", target=name) for name in ("true", "false"))
    assert true.key() == false.key()


def test_what_an_interpreter_reads_as_it_starts() -> None:
    """Variables that Python, the loader, the C library or a thread pool look at by themselves."""
    read = {"PYTHONHASHSEED": "0", "LC_ALL": "C", "LD_PRELOAD": "x", "TZ": "UTC", "HOME": "/"}
    pools = {"OMP_NUM_THREADS": "1", "LANG": "C"}
    assert interpreter_environment({**read, **pools, "PATH": "/", "SECRET": "x"}) == read | pools
