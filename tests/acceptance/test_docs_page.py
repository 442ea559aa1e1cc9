"""The page /docs in a real browser."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import DEADLINE_S, PROGRAMS, Daemon

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("page"))
    try:
        yield daemon.start("--app", str(PROGRAMS / "kiosk.py"))
    finally:
        daemon.close()


def opened(daemon: Daemon, fragment: str, folder: Path) -> tuple[str, str]:
    """The page as it is after its scripts have run, and what the browser complained of."""
    told = json.loads(Path(daemon.home.address).read_text())
    assert BROWSER is not None
    done = subprocess.run(
        [
            *(
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=20000",
            ),
            *(f"--user-data-dir={folder}", "--enable-logging=stderr", "--dump-dom"),
            f"{told['url']}/docs{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_code_signs_in(daemon: Daemon, tmp_path: Path) -> None:
    """With a code in the fragment the page shows every endpoint, and keeps to its policy."""
    with daemon.client() as client:
        code = client._document("POST", "/v1/login/code")["code"]
    page, complaints = opened(daemon, f"#{code}", tmp_path)
    for path in ("/greet", "/items/{number}", "/v1/jobs"):
        assert f'data-path="{path}"' in page
    assert code not in page
    assert complaints == ""


def test_used_code_asks_for_the_token(daemon: Daemon, tmp_path: Path) -> None:
    """A wrong code is told, and the page asks for the token instead; it shows nothing."""
    page, _ = opened(daemon, "#wrong", tmp_path)
    assert "the code is wrong, used or too old" in page
    assert '<form id="sign-in">' in page
    assert "/greet" not in page
