"""The mutations, and how one is made and judged in a copy of the tree."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

PROJECT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ("mcli", "tests", "examples", "pyproject.toml")
PATIENCE_S: Final = 300.0

Edit = tuple[str, str, str]
"""File, what stands there once, and what is put in its place."""


class Mutation(NamedTuple):
    """A guard, how it is taken away, and the tests that should see it."""

    guard: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


MODEL: Final = "tests/model/test_protocol.py::test_protocol"
DURABLE: Final = "tests/integration/test_durable.py"

MUTATIONS: Final = {
    "ticket": Mutation(
        "the ticket can be had once",
        (
            (
                "mcli/ticket.py",
                "            os.link(draft, path)\n",
                "            os.path.exists(path) and os.unlink(path)\n"
                "            os.link(draft, path)\n",
            ),
        ),
        ("tests/unit/test_ticket.py", MODEL),
    ),
    "compare-and-set": Mutation(
        "a move names the states that it may start from",
        (("mcli/queue.py", ".where(which, jobs.c.state.in_(move.sources))", ".where(which)"),),
        (MODEL, "tests/integration/test_queue.py"),
    ),
    "attempt": Mutation(
        "a report names its attempt",
        (
            (
                "mcli/queue.py",
                "    return (jobs.c.id == job_id) & (jobs.c.attempt == attempt)",
                "    return jobs.c.id == job_id",
            ),
        ),
        ("tests/integration/test_queue.py",),
    ),
    "full-daemon": Mutation(
        "the daemon's commits are synced",
        (("mcli/store/database.py", '"synchronous = FULL"', '"synchronous = NORMAL"'),),
        (DURABLE,),
    ),
    "full-caller": Mutation(
        "the caller's commit is synced",
        (("mcli/store/arbiter.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),),
        (DURABLE,),
    ),
    "key-daemon": Mutation(
        "an id is accepted once",
        (
            (
                "mcli/queue.py",
                "_ACCEPT: Final = insert_new(jobs).returning(jobs)",
                '_ACCEPT: Final = jobs.insert().prefix_with("OR REPLACE").returning(jobs)',
            ),
        ),
        ("tests/integration/test_queue.py", "tests/integration/test_arbiter.py"),
    ),
    "key-caller": Mutation(
        "an id that is the daemon's is not taken",
        (
            (
                "mcli/store/arbiter.py",
                "ON CONFLICT (id) DO NOTHING",
                "ON CONFLICT (id) DO UPDATE SET route = 'local'",
            ),
        ),
        ("tests/integration/test_arbiter.py", MODEL),
    ),
    "descriptors": Mutation(
        "a forked child closes what it has inherited",
        (
            ("mcli/worker/become.py", "        os.closerange(3, kept)\n", ""),
            (
                "mcli/worker/become.py",
                '        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))\n',
                "",
            ),
        ),
        ("tests/acceptance/test_job_faults.py::test_child_in_advance_has_nothing_of_its_worker",),
    ),
    "host": Mutation(
        "a request names one of our own hosts",
        (
            (
                "mcli/daemon/auth.py",
                '        if not is_for_us(headers, scope["raw_path"], '
                'scope["http_version"], self._hosts):',
                "        if False:",
            ),
        ),
        ("tests/security/test_requests.py::test_r02_foreign_hosts",),
    ),
    "outcome-sync": Mutation(
        "an outcome is synced",
        (("mcli/outcome.py", "        os.fsync(fd)\n", ""),),
        (DURABLE,),
    ),
    "outcome-rename": Mutation(
        "an outcome is there whole or not at all",
        (
            (
                "mcli/outcome.py",
                '    fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)\n'
                "    try:\n        view",
                "    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)\n"
                "    try:\n        view",
            ),
            ("mcli/outcome.py", '    os.rename(path + ".tmp", path)\n', ""),
        ),
        (DURABLE, "tests/unit/test_outcome.py"),
    ),
    "ticket-sync": Mutation(
        "a ticket is synced before the body begins",
        (("mcli/ticket.py", "        os.fsync(directory)", "        pass"),),
        (DURABLE,),
    ),
    "revoke": Mutation(
        "what was running is put back only with its ticket",
        (
            (
                "mcli/daemon/recovery.py",
                "        if revoke(folder, job.attempt):",
                "        if True:",
            ),
        ),
        ("tests/model/test_protocol.py::test_worker_that_comes_late", MODEL),
    ),
}


def mutate(tree: Path, mutation: Mutation) -> None:
    """Take the guard away.

    Raises:
        ValueError: What an edit looks for does not stand there exactly once.
    """
    for name, old, new in mutation.edits:
        path = tree / name
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name} has {text.count(old)} times, and not once: {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")


def failing(tree: Path, tests: tuple[str, ...]) -> list[str]:
    """Which of *tests* do not pass in *tree*; one is enough, so the first ends it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MCLI_")}
    env |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        words, cwd=tree, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode == 0:
        return []
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return found or [f"pytest exited with {done.returncode}: {done.stdout[-300:]}"]


def copy(folder: str) -> Path:
    """A copy of the tree, as it is."""
    tree = Path(folder, "tree")
    tree.mkdir()
    for name in KEPT:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    return tree


def judged(name: str) -> tuple[bool, str]:
    """Whether a mutation was noticed, and its row."""
    mutation = MUTATIONS[name]
    edited = ", ".join(dict.fromkeys(file for file, _, _ in mutation.edits))
    row = f"| {mutation.guard} | {name} in {edited} | {', '.join(mutation.tests)} |"
    with tempfile.TemporaryDirectory(prefix="mcli-mutation-") as folder:
        tree = copy(folder)
        try:
            mutate(tree, mutation)
        except ValueError as error:
            return False, f"{row} NOT MADE: {error} |"
        found = failing(tree, mutation.tests)
    noticed = bool(found) and "::" in found[0]
    return noticed, f"{row} {found[0] if found else 'NOBODY'} |"
