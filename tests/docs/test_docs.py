"""The pages say what is so: their links lead somewhere, their sessions can be played again."""

import ast
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from consoles import PROJECT, masked, play, steps

import mcli
from mcli.cli import ALIASES, VERBS
from mcli.job import JobInfo
from mcli.problem import family
from mcli.states import State

DOCS = PROJECT / "docs"
PAGES = sorted([PROJECT / "README.md", PROJECT / "CHANGELOG.md", *DOCS.rglob("*.md")])
SESSIONS = [page for page in PAGES if steps(page.read_text(encoding="utf-8"))]

FIRST = """\
python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/python examples/tour.py
"""
SECOND = """\
python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m tests
"""


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def links(page: Path) -> Iterator[tuple[str, str]]:
    """File and heading that each link of *page* to this project names."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            file, _, heading = target.partition("#")
            yield file, heading


def headings(page: Path) -> set[str]:
    """The headings of *page*, spelled as links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the project names a file that is there, and a heading in it."""
    for file, heading in links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not heading or heading in headings(target), f"{file}#{heading}"


def test_every_page_can_be_found() -> None:
    """From the index, each page can be reached by following links."""
    found, new = set[Path](), {DOCS / "index.md"}
    while new:
        found |= new
        targets = {
            (page.parent / file).resolve() for page in new for file, _ in links(page) if file
        }
        new = {each for each in targets if each.suffix == ".md" and each.exists()} - found
    assert {name_of(page) for page in DOCS.rglob("*.md") if page not in found} == set()


def test_readme_begins_with_the_two_commands() -> None:
    """The first two shell blocks of the README are those that are run as they stand."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert blocks[:2] == [FIRST, SECOND]


@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_session_is_as_it_is_shown(page: Path) -> None:
    """
    Each command on the page prints what the page says, but for ids, times and the like;
    otherwise look at it, and run: python tests/docs/consoles.py PAGE
    """
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="mcli-docs-") as home:
        printed = play(text, Path(home))
    shown = steps(text)
    assert len(printed) == len(shown)
    for step, lines in zip(shown, printed, strict=True):
        assert masked(lines) == masked(step.printed), step.command


def messages() -> Iterator[str]:
    """The telling part of each message of an error that the package raises."""
    own = {kind.__name__ for kind in family()}
    for path in sorted((PROJECT / "mcli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in own and node.args:
                yield from _telling(node.args[0])


def _telling(message: ast.expr) -> list[str]:
    """The first of its fixed parts that is more than a word, up to a semicolon."""
    texts = [each.value for each in ast.walk(message) if isinstance(each, ast.Constant)]
    parts = [part.strip(" ;:,()") for text in map(str, texts) for part in text.split(";")]
    return [part for part in parts if len(part) > 8][:1]


def test_every_message_is_explained() -> None:
    """What mcli says when it refuses stands in trouble.md, with what to do."""
    text = " ".join(text_of("docs/howto/trouble.md").replace("\\|", "|").split())
    assert sorted({each for each in messages() if each not in text}) == []


def test_every_verb_is_shown() -> None:
    """Each verb of mcli stands in the reference, and in the tutorial or a how-to page."""
    reference = text_of("docs/reference/commands.md")
    told = "".join(
        page.read_text(encoding="utf-8")
        for page in [DOCS / "tutorial.md", *(DOCS / "howto").glob("*.md")]
    )
    for verb in VERBS:
        assert f"mcli {verb}" in reference
        assert f"mcli {verb}" in told
    assert all(f"`{alias}`" in reference for alias in ALIASES)


def test_python_page_has_every_name() -> None:
    """Each public name, each key of a job's document and each error stands on the page."""
    page = text_of("docs/reference/python.md")
    job = JobInfo(id="", name="", state=State.QUEUED, argv=[], cwd="", created_at=0.0, app="")
    for name in [*mcli.__all__, *job.document()]:
        assert f"`{name}`" in page, name
    assert all(kind.__name__ in page for kind in family())


def test_python_page_has_every_key_of_the_checks() -> None:
    """What status_check() and health_check() answer, with and without a daemon, is explained."""
    asked = "[mcli.status_check(), mcli.health_check()]"
    ask = f'python -c "import json, mcli; print(json.dumps({asked}))"'
    with tempfile.TemporaryDirectory(prefix="mcli-docs-") as home:
        page = f"```console\n$ {ask}\n$ mcli daemon start\n$ {ask}\n```\n"
        without, _, with_daemon = play(page, Path(home))
    text = text_of("docs/reference/python.md")
    for status, health in (json.loads(without[0]), json.loads(with_daemon[0])):
        for key in (*status, *health, *health["checks"]):
            assert f"| `{key}` |" in text, key
