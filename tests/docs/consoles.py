"""
The console blocks of a page as a session that can be run again.

A page's blocks are one session, in a directory and a state directory of its own. Lines
that begin with ``$ `` are commands, those with ``> `` continue one, and the others are
what was printed. A file that is shown (a Python block whose first line is ``# NAME``, or
``$ cat NAME``) is made first. What a reader need not see stands in a comment,
``<!-- first: COMMAND -->``.

    python tests/docs/consoles.py PAGE…     write what the commands print now into the pages

What differs from run to run (ids, times, process ids, ports, paths) is ``masked``.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[2]
COLUMNS: Final = "100"
PATIENCE_S: Final = 100

SHOWN_HOME: Final = "/home/ada/.local/state/mcli"
SHOWN_WORK: Final = "/home/ada/demo"
SHOWN_PORT: Final = "8001"
"""What pages show for the directories and the port of the run that filled them."""

_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FIRST: Final = re.compile(r"^<!-- first: (.*?) -->$", re.MULTILINE | re.DOTALL)
_MARK: Final = "\x02"


@dataclass(slots=True)
class Step:
    """A command of a session, and what the page says that it prints."""

    command: str
    printed: list[str] = field(default_factory=list)


def steps(page: str) -> list[Step]:
    """The commands of all console blocks of *page*, in order."""
    return [step for block in _BLOCK.finditer(page) for step in _steps(block[1])]


def _steps(block: str) -> Iterator[Step]:
    step: Step | None = None
    for line in block.splitlines():
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line[2:])
        elif step is not None and line.startswith("> ") and not step.printed:
            step.command += "\n" + line[2:]
        elif step is not None:
            step.printed.append(line)
    if step is not None:
        yield step


def play(page: str, folder: Path) -> list[list[str]]:
    """Run the session of *page* in *folder*, and return what each command printed."""
    work, home, programs = folder / "demo", folder / "home", folder / "bin"
    for each in (work, home, programs):
        each.mkdir(mode=0o700)
    for name, text in files(page):
        (work / name).write_text(f"{text}", encoding="utf-8")
    verb = programs / "mcli"
    verb.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mcli "$@"\n', encoding="utf-8")
    verb.chmod(0o700)
    (work / "examples").symlink_to(PROJECT / "examples")
    told = subprocess.run(
        ["bash", "-c", _script(page)],
        cwd=work,
        env=_environment(home, programs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    ).stdout.decode(errors="replace")
    _, *printed = told.split(_MARK)
    return [_shown(each, work, home).splitlines() for each in printed]


def files(page: str) -> Iterator[tuple[str, str]]:
    """Name and text of the files that *page* shows."""
    for found in _FILE.finditer(page):
        yield found[1], found[2]
    for step in steps(page):
        words = step.command.split()
        if len(words) == 2 and words[0] == "cat" and words[1].endswith((".py", ".toml")):
            yield words[1], "\n".join([*step.printed, ""])


def _script(page: str) -> str:
    first = [found[1] for found in _FIRST.finditer(page)]
    hidden = [f"{{ {command}\n}} >/dev/null 2>&1" for command in first]
    shown = [f"printf '{_MARK}'\n{step.command}" for step in steps(page)]
    end = ["{ mcli daemon stop --kill-jobs; } >/dev/null 2>&1"]
    return "\n".join([*hidden, *shown, *end])


def _environment(home: Path, programs: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    return kept | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MCLI_HOME": str(home),
        "MCLI_BACKGROUND_PORT": "0",
        "COLUMNS": COLUMNS,
        "LC_ALL": "C.UTF-8",
    }


def _shown(text: str, work: Path, home: Path) -> str:
    for real, shown in ((home, SHOWN_HOME), (work, SHOWN_WORK), (PROJECT, "/home/ada/mcli")):
        text = text.replace(os.path.realpath(real), shown).replace(str(real), shown)
    text = re.sub(r"((?:127\.0\.0\.1|localhost):)\d+", rf"\g<1>{SHOWN_PORT}", text)
    return text.replace(sys.executable, "python").replace(sys.prefix, "/home/ada/demo/.venv")


_MASKS: Final = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b0[0-9a-f]{7}-[0-9a-f]{4,5}(-[0-9a-f]*)?\b", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d{4})?", "TIME"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b\d+(\.\d+)? ?(s|ms)\b", "SPAN"),
    (r"pid \d+", "pid N"),
    (r'("?(?:run_s|pid|worker_pid|limit)"?:?\s+)[\d.]+', r"\1N"),
    (r"\s+", " "),
)


def masked(lines: list[str]) -> list[str]:
    """*lines* without what is another thing in each run."""
    text = [line.rstrip() for line in lines]
    for pattern, name in _MASKS:
        text = [re.sub(pattern, name, line) for line in text]
    while text and not text[-1].strip():
        text.pop()
    return text


def written(page: str, printed: list[list[str]]) -> str:
    """*page* with *printed* in place of what it said."""
    results = iter(printed)

    def again(block: re.Match[str]) -> str:
        lines: list[str] = []
        for step in _steps(block[1]):
            first, *more = step.command.split("\n")
            lines += [f"$ {first}", *(f"> {line}" for line in more)]
            lines += [line.rstrip() for line in next(results)]
        return "\n".join(["```console", *lines, "```"])

    return _BLOCK.sub(again, page)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="mcli-docs-") as place:
            told = play(text, Path(place))
        path.write_text(written(text, told), encoding="utf-8")
