"""R4 and R6: the token, and what stands for it in a browser."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from acceptance.daemon import Daemon

from mcli.daemon.auth import make_token
from mcli.daemon.login import CODE_S, CODES_MAX, SESSION_S, Logins
from mcli.errors import UnsafeHome

from .conftest import wire_to
from .wire import Wire


class Clock:
    """Time as a test says it is."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def code_of(logins: Logins) -> str:
    return logins.code()[0]


# The token --------------------------------------------------------------------------------


def test_r04_verb_prints_it(shared: Daemon, wire: Wire) -> None:
    """``mcli token`` prints what the file has, and that is let in."""
    assert shared.mcli("token").stdout == wire.token + "\n"
    assert wire.ask("GET", "/v1/status").status == 200


def test_r04_file_is_the_owners(shared: Daemon) -> None:
    """The file is regular, ours, and nobody else's to read."""
    found = os.lstat(shared.home.token)
    assert stat.S_ISREG(found.st_mode)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)


def planted_link(path: Path) -> None:
    other = path.with_name("planted")
    other.write_text("x" * 43)
    other.chmod(0o600)
    path.symlink_to(other)


def readable_to_all(path: Path) -> None:
    path.write_text("x" * 43)
    path.chmod(0o604)


def readable_to_group(path: Path) -> None:
    path.write_text("x" * 43)
    path.chmod(0o640)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


PLANTED: list[Any] = [planted_link, readable_to_all, readable_to_group, a_directory, a_pipe]


@pytest.mark.parametrize("plant", PLANTED)
def test_r04_unsafe_file_is_refused(tmp_path: Path, plant: Any) -> None:
    """What others may know, or may have put there, is not used as a token."""
    plant(tmp_path / "token")
    with pytest.raises(UnsafeHome, match="token file"):
        make_token(str(tmp_path / "token"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_r04_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """A token that somebody else owns is not ours."""
    path = tmp_path / "token"
    path.write_text("x" * 43)
    path.chmod(0o600)
    os.chown(path, 65534, 65534)
    with pytest.raises(UnsafeHome, match="not a file of your own"):
        make_token(str(path))


def test_r04_daemon_does_not_start(stopped: Daemon) -> None:
    """It says so in one line, and what to do."""
    os.makedirs(stopped.home.root, 0o700)
    readable_to_group(Path(stopped.home.token))
    done = stopped.mcli("daemon", "start", "--port", "0", code=125)
    assert done.stderr.count("\n") == 1
    assert "others can read the token file" in done.stderr
    os.unlink(stopped.home.token)
    stopped.start()


def test_r04_token_is_nowhere_else(shared: Daemon, wire: Wire) -> None:
    """Not in a command line, not in a variable of a job, not in a log, not in a list."""
    job = shared.mcli("run", "-d", "env").stdout.strip()
    shared.final(job)
    assert wire.token not in shared.output(job)
    assert wire.token not in shared.mcli("ps", "-a", "--json").stdout
    for pid in shared.processes():
        for name in ("cmdline", "environ"):
            assert wire.token.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    holds = [
        path.name
        for path in Path(shared.home.root).rglob("*")
        if path.is_file() and wire.token.encode() in path.read_bytes()
    ]
    assert holds == ["token"]


# Codes and sessions -----------------------------------------------------------------------


def test_r06_code_opens_one_session() -> None:
    """A code is good once."""
    logins = Logins(Clock())
    code = code_of(logins)
    session = logins.redeem(code)
    assert session is not None
    assert logins.is_session(session[0])
    assert not logins.is_session(code)
    assert logins.redeem(code) is None


def test_r06_code_ends_after_a_minute() -> None:
    """After 60 seconds a code opens nothing."""
    clock = Clock()
    logins = Logins(clock)
    early, late = code_of(logins), code_of(logins)
    clock.now += CODE_S - 1
    assert logins.redeem(early) is not None
    clock.now += 2
    assert logins.redeem(late) is None


def test_r06_session_ends_after_twelve_hours() -> None:
    """A session is good for 12 hours."""
    clock = Clock()
    logins = Logins(clock)
    session = logins.redeem(code_of(logins))
    assert session is not None
    clock.now += SESSION_S - 1
    assert logins.is_session(session[0])
    clock.now += 1
    assert not logins.is_session(session[0])


def test_r06_codes_do_not_pile_up() -> None:
    """Only so many codes wait to be used; the newest stay."""
    logins = Logins(Clock())
    codes = [code_of(logins) for _ in range(CODES_MAX + 1)]
    assert logins.redeem(codes[0]) is None
    assert logins.redeem(codes[-1]) is not None


def test_r06_browser_signs_in(daemon: Daemon) -> None:
    """The verb's address has a code, which gives a session, which is let in as the token is."""
    wire = wire_to(daemon)
    told = json.loads(daemon.mcli("docs", "--json").stdout)
    address, _, code = told["url"].partition("#")
    assert address == f"{wire.url}/docs"
    assert daemon.mcli("docs").stdout.startswith(f"{address}#")
    answer = wire.post("/v1/login", {"code": code}, token=None)
    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    session = answer.json()["token"]
    assert wire.ask("GET", "/v1/status", token=session).status == 200
    assert wire.ask("GET", "/v1/status", token=code).status == 401
    again = wire.post("/v1/login", {"code": code}, token=None)
    assert (again.status, again.json()["code"]) == (401, "unauthorized")
    assert wire.post("/v1/login/code", {}, token=session).status == 403
    cookies = {"Cookie": f"session={session}; token={wire.token}"}
    assert wire.ask("GET", "/v1/status", token=None, **cookies).status == 401  # type: ignore[arg-type]
    assert wire.ask("GET", f"/v1/status?token={session}", token=None).status == 401
    log = Path(daemon.home.log).read_text(encoding="utf-8")
    assert code not in log
    assert session not in log
    daemon.stop()
    daemon.start()
    assert wire_to(daemon).ask("GET", "/v1/status", token=session).status == 401


@pytest.mark.parametrize("document", [{}, {"code": 1}, {"code": None}, [], "code", {"code": "x"}])
def test_r06_wrong_codes(wire: Wire, document: Any) -> None:
    """What is no code opens nothing."""
    assert wire.post("/v1/login", document, token=None).status in (401, 422)
