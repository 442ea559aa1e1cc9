"""Which daemon is asked, and what a daemon on another machine has to show before it is told."""

import hashlib
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from mcli import address
from mcli.cli import main
from mcli.client import Client
from mcli.errors import BadSetting, DaemonError, RequestError
from mcli.home import Home
from mcli.states import State
from mcli.stream import Stream

from .shelf import TOKEN, Served, served

ELSEWHERE = "192.0.2.1"
"""Reserved for documentation: no machine has it."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the certificates of an authority and of our daemon."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


@pytest.fixture(scope="module")
def far(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that is spoken to over TLS."""
    home = Home(str(tmp_path_factory.mktemp("far")))
    with served(home, ssl_certfile=str(authority / "server.pem")) as serving:
        yield serving


@pytest.fixture
def named(far: Served, authority: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """The settings name it, and it counts as another machine's."""
    host, _, port = far.url.removeprefix("https://").partition(":")
    for variable, value in {
        "MCLI_HOME": str(tmp_path),
        "MCLI_BACKGROUND_HOST": host,
        "MCLI_BACKGROUND_PORT": port,
        "MCLI_BACKGROUND_TOKEN": TOKEN,
        "MCLI_BACKGROUND_CA": str(authority / "ca.pem"),
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(address, "is_here", lambda _: False)
    far.shelf.clear()
    return far


def test_daemon_elsewhere_is_asked_over_tls(far: Served, authority: Path) -> None:
    """With the file of its authority the daemon is trusted, and told the token."""
    with Client(far.url, TOKEN, str(authority / "ca.pem")) as client:
        assert client.status()["home"] == far.shelf.home.root


@pytest.mark.parametrize("ca", [None, "other.pem"])
def test_who_is_vouched_for_by_nobody_gets_no_token(
    far: Served, authority: Path, ca: str | None
) -> None:
    """A daemon whose authority is unknown is not spoken to, and what would help is told."""
    file = ca and str(authority / ca)
    with (
        Client(far.url, TOKEN, file) as client,
        pytest.raises(DaemonError, match="set MCLI_BACKGROUND_CA to"),
    ):
        client.status()


def test_known_certificate_needs_nobody_to_vouch(far: Served, authority: Path) -> None:
    """With its fingerprint the certificate is trusted for itself; another one is not."""
    text = (authority / "server.pem").read_text()
    first = text[text.index("-----BEGIN CERTIFICATE") : text.index("-----END CERTIFICATE") + 25]
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    with Client(far.url, TOKEN, fingerprint=pin) as client:
        assert client.status()["home"] == far.shelf.home.root
    with (
        Client(far.url, TOKEN, fingerprint="0" * 64) as client,
        pytest.raises(DaemonError, match="does not answer"),
    ):
        client.status()


def test_certificate_is_of_that_name(far: Served, authority: Path) -> None:
    """A certificate for another name is no proof."""
    url = far.url.replace("localhost", "127.0.0.1")
    with (
        Client(url, TOKEN, str(authority / "ca.pem")) as client,
        pytest.raises(DaemonError, match="nobody whom we trust"),
    ):
        client.status()


def test_token_is_not_shown_on_the_way() -> None:
    """Without TLS only this machine is spoken to."""
    with pytest.raises(RequestError, match="use https://"):
        Client(f"http://{ELSEWHERE}:8001", TOKEN)


@pytest.mark.parametrize(
    ("token", "ca", "told"),
    [
        (None, None, "set MCLI_BACKGROUND_TOKEN to"),
        ("", None, "set MCLI_BACKGROUND_TOKEN to"),
        ("a secret\n", None, "one word of printable ASCII"),
        (TOKEN, "/nonexistent", "must be a file of CA certificates"),
    ],
)
def test_what_is_missing_is_told(token: str | None, ca: str | None, told: str) -> None:
    """A token or a file that cannot be right is refused before anything is sent, unquoted."""
    with pytest.raises(BadSetting, match=told) as refusal:
        Client(f"https://{ELSEWHERE}:8001", token, ca)
    assert "secret" not in str(refusal.value)


def test_token_is_not_in_the_repr() -> None:
    """What is logged or shown by a debugger does not have the token."""
    assert TOKEN not in repr(address.given("https://localhost:1", TOKEN, None))


def test_settings_name_the_daemon(named: Served) -> None:
    """Without arguments the client asks the daemon that the settings name."""
    with Client() as client:
        assert client.status()["home"] == named.shelf.home.root


def test_verbs_ask_the_daemon_elsewhere(named: Served) -> None:
    """ps, inspect, logs, wait, cancel, kill, rerun and daemon status speak to it."""
    job = named.do(named.shelf.put(state=State.RUNNING))
    named.do(named.shelf.print(job.id, Stream.STDOUT, b"far away\n"))

    def shown(*words: str) -> str:
        result = CliRunner().invoke(main, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert job.id[:13] in shown("ps")
    assert job.id in shown("inspect", job.id)
    assert shown("logs", job.id) == "far away\n"
    assert named.shelf.home.root in shown("daemon", "status")
    shown("kill", "-s", "USR1", job.id)
    assert shown("cancel", job.id) == f"{job.id}  cancelled\n"
    assert shown("logs", "-f", job.id) == "far away\n"
    again = shown("rerun", job.id).strip()
    named.do(named.shelf.move(again, State.SUCCEEDED, finished_at=1.0))
    assert shown("wait", again) == f"{again}  succeeded\n"


@pytest.mark.parametrize("line", ["run true", "attach abc"])
def test_verbs_that_stay_here_say_so(tmp_path: Path, line: str) -> None:
    """What passes a terminal on needs the daemon of this machine: one line, exit code 2."""
    done = mcli(tmp_path, *line.split(), MCLI_BACKGROUND_HOST=ELSEWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"mcli: mcli {line.split()[0]} needs the daemon of this machine, and "
        f"MCLI_BACKGROUND_HOST is {ELSEWHERE}; run it there\n"
    )


def test_verb_without_the_token_of_elsewhere(tmp_path: Path) -> None:
    """A verb says in one line that the token is missing; this machine's is not sent there."""
    done = mcli(tmp_path, "ps", MCLI_BACKGROUND_HOST=ELSEWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"mcli: no token for https://{ELSEWHERE}:8001; set ")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("127.0.0.2", True),
        ("0.0.0.0", True),
        (ELSEWHERE, False),
        ("2001:db8::1", False),
    ],
)
def test_this_machine_is_where_one_could_listen(host: str, here: bool) -> None:
    """An address is ours if the kernel would let us listen at it."""
    assert address.is_here(host) is here


def mcli(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MCLI_")}
    return subprocess.run(
        [sys.executable, "-m", "mcli", *words],
        env=kept | {"MCLI_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        timeout=30,
    )
