"""R9: where the daemon listens, and R9b: to whose listener the token is sent."""

import fcntl
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
import trustme
from acceptance.daemon import PROJECT, Daemon, readable, until

from mcli.client import Client
from mcli.daemon.bind import is_loopback
from mcli.errors import DaemonError
from mcli.home import Home
from mcli.listener import owner_uid
from mcli.version import PROTOCOL

from .conftest import wire_to

NOBODY = 65534
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, ...]:
    """Options with a certificate for 127.0.0.1 and jobs.test, and its key."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1", "jobs.test")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(str(certificate))
    made.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ("--tls-cert", str(certificate), "--tls-key", str(key))


def listening(pid: int) -> set[str]:
    """The addresses at which a process listens, as the kernel spells them."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has just read a file
            own.add(os.readlink(entry))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {
        row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own
    }


@pytest.mark.parametrize("host", [None, "localhost", "127.0.0.1", "::1"])
def test_r09_loopback(stopped: Daemon, host: str | None) -> None:
    """Without more, and with each name of this machine, nobody else can come."""
    stopped.start(*(() if host is None else ("--host", host)))
    found = listening(stopped.pid)
    assert len(found) == 1
    assert found <= LOOPBACK


REFUSED = {
    "option": (("--host", "0.0.0.0"), {}),
    "variable": ((), {"MCLI_BACKGROUND_HOST": "0.0.0.0"}),
    "any-v6": (("--host", "::"), {}),
    "a-name": (("--host", "jobs.test"), {}),
    "without-tls": (("--host", "0.0.0.0", "--i-know"), {}),
    "without-saying-so": (("--host", "0.0.0.0", "TLS"), {}),
    "knowing-by-variable": (("--host", "0.0.0.0", "TLS"), {"MCLI_I_KNOW": "1"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_r09_others_are_not_served_by_accident(
    stopped: Daemon, tls: tuple[str, ...], case: str
) -> None:
    """Whatever is missing of TLS and of saying so, the daemon does not start."""
    options, env = REFUSED[case]
    words = [word for each in options for word in (tls if each == "TLS" else (each,))]
    done = stopped.mcli("daemon", "start", "--port", "0", *words, env=env, code=2)
    assert done.stderr.count("\n") == 1
    assert "--i-know" in done.stderr
    assert stopped.alone()


def test_r09_restart_is_refused_before_the_end(shared: Daemon) -> None:
    """A restart that could not serve does not stop what serves."""
    pid = shared.pid
    shared.mcli("daemon", "restart", "--port", "0", "--host", "0.0.0.0", "--i-know", code=2)
    assert shared.pid == pid


def test_r09_restart_has_to_be_told_again(stopped: Daemon, tls: tuple[str, ...]) -> None:
    """Address and certificate are kept, from another directory too; to serve others is not."""
    words = [Path(each).name if os.path.isabs(each) else each for each in tls]
    stopped.start("--host", "0.0.0.0", "--i-know", *words)
    stopped.cwd = Path("/")
    pid = stopped.pid
    assert "--i-know" in stopped.mcli("daemon", "restart", code=2).stderr
    assert stopped.pid == pid
    assert "https://127.0.0.1:" in stopped.mcli("daemon", "restart", "--i-know").stdout
    assert listening(stopped.pid) == {"00000000"}
    stopped.mcli("daemon", "restart", "--host", "localhost")
    assert listening(stopped.pid) <= LOOPBACK


def test_r09_config_alone_does_not(stopped: Daemon, tls: tuple[str, ...]) -> None:
    """A settings file can name an address and a certificate, and cannot say so."""
    os.makedirs(stopped.home.root, 0o700)
    text = f'host = "0.0.0.0"\ntls_cert = "{tls[1]}"\ntls_key = "{tls[3]}"\n'
    config = Path(stopped.home.root) / "config.toml"
    config.write_text(text)
    stopped.mcli("daemon", "start", "--port", "0", code=2)
    config.write_text(text + "i_know = true\n")
    assert "no setting 'i_know'" in stopped.mcli("daemon", "start", "--port", "0", code=2).stderr
    config.unlink()


def test_r09_others_are_served_with_tls(
    stopped: Daemon, tls: tuple[str, ...], tmp_path: Path
) -> None:
    """With all of it, HTTPS is served, to the names that are allowed; verbs go on working."""
    env = {"MCLI_ALLOWED_HOSTS": "jobs.test,other.test:8443"}
    stopped.start("--host", "0.0.0.0", "--i-know", *tls, **env)
    assert listening(stopped.pid) == {"00000000"}
    wire = wire_to(stopped)
    assert wire.url.startswith("https://127.0.0.1:")
    assert stopped.submit("tell")
    headers = {"Authorization": f"Bearer {wire.token}"}
    ca = str(tmp_path / "ca.pem")

    def ask(host: str) -> int:
        given = headers | {"Host": host}
        return requests.get(wire.url + "/healthz", headers=given, verify=ca, timeout=10).status_code

    assert ask(f"jobs.test:{wire.port}") == ask("other.test:8443") == 200
    assert ask("jobs.test") == ask(f"0.0.0.0:{wire.port}") == ask("other.test") == 421
    plain = wire.ask("GET", "/healthz")
    assert plain.status == 0


def test_r13_idle_connections_leave_room(stopped: Daemon, tls: tuple[str, ...]) -> None:
    """Those that never shake hands cannot hold all descriptors: the last are closed at once."""
    start = "ulimit -n 64; exec " + shlex.join([sys.executable, "-m", "mcli", "daemon", "start"])
    stopped.run("bash", "-c", f"{start} --port 0 {shlex.join(tls)}")
    port = wire_to(stopped).port
    with ExitStack() as held:
        for _ in range(64):
            last = held.enter_context(socket.create_connection(("localhost", port), timeout=30))
        with suppress(ConnectionError):
            assert last.recv(1) == b""
        assert stopped.puppet("tell").stdout.startswith("job ")
    until(lambda: answers(stopped))  # it has to see first that they have gone


def answers(daemon: Daemon) -> bool:
    """Whether there is room for a request."""
    with suppress(DaemonError), daemon.client() as client:
        return bool(client.status())
    return False


def test_r09_verbs_know_the_certificate(stopped: Daemon, tls: tuple[str, ...]) -> None:
    """The verbs send the token to the daemon's own certificate, and to no other."""
    stopped.start(*tls)
    wire = wire_to(stopped)
    with (
        Client(wire.url, wire.token, fingerprint="0" * 64) as client,
        pytest.raises(DaemonError, match="does not answer"),
    ):
        client.status()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tls-cert", "/nowhere.pem"), "go together"),
        (("--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"), "No such file"),
        (("--tls-cert", __file__, "--tls-key", __file__), "cannot be used"),
    ],
)
def test_r09_wrong_certificates(stopped: Daemon, options: tuple[str, ...], told: str) -> None:
    """A certificate that cannot be used is told in one line, before anything listens."""
    done = stopped.mcli("daemon", "start", "--port", "0", *options, code=2)
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("::1", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False)),
        ("localhost.evil.test", False),
    ],
)
def test_r09_loopback_addresses(address: str, expected: bool) -> None:
    """Only an address that never leaves this machine counts; a name does not."""
    assert is_loopback(address) is expected


def test_r09_sockets_are_the_owners(shared: Daemon) -> None:
    """The unix sockets are nobody else's to connect to."""
    for path in (shared.home.attach_socket, shared.home.worker_socket):
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(shared.home.root).st_mode & 0o777 == 0o700


# Whose listener ---------------------------------------------------------------------------


def test_r09b_our_own(shared: Daemon) -> None:
    """A listener of ours is ours; where nobody listens, nobody is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert owner_uid("localhost", port) == os.geteuid()
        assert owner_uid("127.0.0.1", port) == os.geteuid()
        assert owner_uid("::1", port) is None
    assert owner_uid("127.0.0.1", port) is None
    assert owner_uid("somewhere.test", port) is None


SQUAT = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
listener = socket.create_server((sys.argv[1], 0), family=int(sys.argv[2]))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
listener.settimeout(0)
try:
    connection = listener.accept()[0]
    connection.settimeout(5)
    print("got", connection.recv(4096))
except BlockingIOError:
    print("nobody came")
"""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def squatter(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """Another user's process that listens."""
    family = str(int(socket.AF_INET6 if ":" in request.param else socket.AF_INET))
    process = subprocess.Popen(
        [sys.executable, "-c", SQUAT, request.param, family],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip
    process.args = request.param
    yield process
    process.kill()
    process.communicate()


@NEEDS_ROOT
def test_r09b_squatter_gets_nothing(tmp_path: Path, squatter: "subprocess.Popen[str]") -> None:
    """Where another user listens in the daemon's place, not a byte is sent there."""
    assert squatter.stdout is not None
    assert readable(squatter.stdout.fileno())
    port = int(squatter.stdout.readline())
    host = "[::1]" if ":" in str(squatter.args) else "127.0.0.1"
    assert owner_uid(host.strip("[]"), port) == NOBODY
    home = Home(str(tmp_path / "home"))
    home.create()
    Path(home.token).write_text("x" * 43)
    url = f"http://{host}:{port}"
    told = {"pid": os.getpid(), "url": url, "version": "0", "protocol": PROTOCOL}
    Path(home.address).write_text(json.dumps(told))
    env = {**os.environ, "MCLI_HOME": home.root, "PYTHONPATH": str(PROJECT)}
    with open(home.lock, "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "mcli", "ps"],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "the token was not sent" in done.stderr
    for name in {host, "localhost"}:  # a URL that is given is no better
        with pytest.raises(DaemonError, match="token was not sent"):
            Client(f"http://{name}:{port}", "x" * 43)
    out, _ = squatter.communicate()
    assert out == "nobody came\n"
