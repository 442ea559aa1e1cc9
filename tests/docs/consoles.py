"""
The console blocks of a page as a session that can be run again.

A page's blocks are one session, in a home directory of its own. Lines that begin with
``$ `` are commands, those with ``> `` continue one, and the others are what was printed. A
file that is shown (a block whose first line is ``# NAME``, or ``$ cat NAME``) is made when
its turn comes. What a reader need not see stands in a comment, ``<!-- first: COMMAND -->``.

    python tests/docs/consoles.py PAGE…     write what the commands print now into the pages

What differs from run to run (ids, times, process ids, ports, paths) is ``masked``. ``curl`` asks
the session's own daemon wherever a page says ``http://localhost:8001``.
"""

import os
import re
import shlex
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

SHOWN_HOME: Final = "/home/ada"
SHOWN_PORT: Final = "8001"
"""What pages show for the home directory and the port of the run that filled them."""

_CURL: Final = r"""#!/bin/bash
url=$(sed -n 's/.*"url": "\([^"]*\)".*/\1/p' "$HOME/.local/state/mcli/daemon.json")
PATH=${PATH#*:} exec curl "${@//http:\/\/localhost:8001/$url}"
"""

_PART: Final = re.compile(
    r"^```console\n(?P<console>.*?)^```$"
    r"|^```(?:python|toml)\n# (?P<name>\S+\.(?:py|toml))\n(?P<text>.*?)^```$"
    r"|^<!-- first: (?P<first>.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
_CAT: Final = re.compile(r"cat (\S+\.(?:py|toml))$")
_MARK: Final = "\x02"


@dataclass(slots=True)
class Step:
    """A command of a session, and what the page says that it prints."""

    command: str
    printed: list[str] = field(default_factory=list)


def steps(page: str) -> list[Step]:
    """The commands of all console blocks of *page*, in order."""
    return [step for part in _PART.finditer(page) for step in _steps(part["console"] or "")]


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


def play(page: str, home: Path) -> list[list[str]]:
    """Run the session of *page* in the directory ``demo`` of *home*; what each command printed."""
    work, programs = home / "demo", home / "bin"
    for each in (work, programs):
        each.mkdir(mode=0o700)
    verb = _program(programs / "mcli", f'#!/bin/sh\nexec "{sys.executable}" -m mcli "$@"\n')
    _program(programs / "curl", _CURL)
    (work / "examples").symlink_to(PROJECT / "examples")
    environment = _environment(home, programs)
    try:
        told = subprocess.run(
            ["bash", "-c", "\n".join(_script(page))],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        ).stdout.decode(errors="replace")
    finally:
        end = [str(verb), "daemon", "stop", "--kill-jobs"]
        subprocess.run(end, env=environment, capture_output=True, check=False)
    _, *printed = told.split(_MARK)
    return [_shown(each, home).splitlines() for each in printed]


def _program(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)
    return path


def _script(page: str) -> Iterator[str]:
    for part in _PART.finditer(page):
        if part["first"]:
            yield f"{{ {part['first']}\n}} >/dev/null 2>&1"
        elif part["name"]:
            yield _make(part["name"], part["text"])
        for step in _steps(part["console"] or ""):
            shown = _CAT.match(step.command)
            if shown and step.printed:
                yield _make(shown[1], "\n".join([*step.printed, ""]))
            yield f"before=$?; printf '{_MARK}'; (exit $before)\n{step.command}"


def _make(name: str, text: str) -> str:
    place = f'"$HOME"/{shlex.quote(name[2:])}' if name.startswith("~/") else shlex.quote(name)
    return f"mkdir -p $(dirname {place}); printf %s {shlex.quote(text)} >{place}"


def _environment(home: Path, programs: Path) -> dict[str, str]:
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MCLI_BACKGROUND_PORT": "0",
        "COLUMNS": COLUMNS,
        "LC_ALL": "C.UTF-8",
    }


def _shown(text: str, home: Path) -> str:
    for real, shown in ((home, SHOWN_HOME), (PROJECT, f"{SHOWN_HOME}/mcli")):
        text = text.replace(os.path.realpath(real), shown).replace(str(real), shown)
    text = re.sub(r"((?:127\.0\.0\.1|localhost):)\d+", rf"\g<1>{SHOWN_PORT}", text)
    return text.replace(sys.prefix, f"{SHOWN_HOME}/demo/.venv")


_MASKS: Final = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b0[0-9a-f]{7}-[0-9a-f]{4,5}(-[0-9a-f]*)?\b", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d{4})?", "TIME"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b\d+(\.\d+)? ?(s|ms)\b", "SPAN"),
    (r"pid \d+", "pid N"),
    (r'("?(?:run_s|pid|worker_pid|limit)"?:?\s+)[\d.]+', r"\1N"),
    (r"\S*…", "…"),
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

    def again(part: re.Match[str]) -> str:
        if part["console"] is None:
            return part[0]
        lines: list[str] = []
        for step in _steps(part["console"]):
            first, *more = step.command.split("\n")
            lines += [f"$ {first}", *(f"> {line}" for line in more)]
            lines += [line.rstrip() for line in next(results)]
        return "\n".join(["```console", *lines, "```"])

    return _PART.sub(again, page)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        content = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="mcli-docs-") as place:
            told = play(content, Path(place))
        path.write_text(written(content, told), encoding="utf-8")
