"""Apps of a real daemon: named, edited, broken and mended while it runs."""

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from mcli.errors import BadApp, UnknownApp

from .daemon import DEADLINE_S, Daemon, Gate, gone, readable

HEAD = "import click\nimport mcli\n"


def command(name: str, path: str, value: str, api: str = "") -> str:
    """A command with an endpoint that answers with *value*."""
    return (
        f"@click.command()\n@mcli.api({path!r}, 'GET'{api})\ndef {name}():\n    return {value}\n\n"
    )


def write(path: Path, *commands: str) -> Path:
    path.write_text(HEAD + "".join(commands))
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An app that can be edited."""
    return write(tmp_path / "shop.py", command("price", "/price", "1"))


def ask(
    daemon: Daemon, path: str, method: str = "GET", *, token: bool = True, **options: Any
) -> requests.Response:
    told = json.loads(Path(daemon.home.address).read_text())
    url = f"http://127.0.0.1:{told['url'].rpartition(':')[2]}{path}"
    secret = Path(daemon.home.token).read_text().strip()
    headers = {"Authorization": f"Bearer {secret}"} if token else {}
    return requests.request(method, url, headers=headers, timeout=DEADLINE_S, **options)


def apps(daemon: Daemon) -> dict[str, dict[str, Any]]:
    found = json.loads(daemon.mcli("apps", "list", "--json").stdout)
    return {app["name"]: app for app in found}


# Editing ----------------------------------------------------------------------------------


def test_edit_changes_routes_and_schema_at_once(stopped: Daemon, shop: Path) -> None:
    """The first request after an edit sees the new code: its routes, its schema, its body."""
    stopped.start("--app", "shop.py")
    assert ask(stopped, "/price").json() == 1
    pid = stopped.pid
    write(shop, command("price", "/price", "22"), command("stock", "/stock", "333"))
    assert ask(stopped, "/stock").json() == 333
    assert ask(stopped, "/price").json() == 22
    write(shop, command("stock", "/stock", "4444"))
    assert set(ask(stopped, "/openapi.json").json()["paths"]) >= {"/stock"}
    assert "/price" not in ask(stopped, "/openapi.json").json()["paths"]
    assert ask(stopped, "/price").status_code == 404
    assert stopped.pid == pid


def test_edit_of_a_module_that_the_app_imports(stopped: Daemon, tmp_path: Path) -> None:
    """What an app depends on is watched too."""
    stock = tmp_path / "stock.py"
    stock.write_text("PATH = '/old'\n")
    (tmp_path / "shop.py").write_text(
        HEAD + "import stock\n" + command("price", "/x", "1").replace("'/x'", "stock.PATH")
    )
    stopped.start("--app", "shop.py")
    assert ask(stopped, "/old").json() == 1
    stock.write_text("PATH = '/newer'\n")
    assert (ask(stopped, "/newer").json(), ask(stopped, "/old").status_code) == (1, 404)


def test_edit_that_opens_or_closes_an_endpoint(stopped: Daemon, shop: Path) -> None:
    """Whether the token is asked for is decided by the code as it is at the request."""
    stopped.start("--app", "shop.py")
    assert ask(stopped, "/price", token=False).status_code == 401
    write(shop, command("price", "/price", "1", ", public=True"))
    assert ask(stopped, "/price", token=False).status_code == 200
    write(shop, command("price", "/price", "1"))
    assert ask(stopped, "/price", token=False).status_code == 401


def test_broken_file_keeps_its_routes(stopped: Daemon, shop: Path) -> None:
    """A file that no longer imports is a 503 problem with the traceback, until it is mended."""
    stopped.start("--app", "shop.py")
    assert ask(stopped, "/price").status_code == 200
    shop.write_text(shop.read_text() + "import no_such_module\n")
    answer = ask(stopped, "/price")
    assert (answer.status_code, answer.json()["code"]) == (503, "app_broken")
    last = "ModuleNotFoundError: No module named 'no_such_module'"
    assert answer.json()["detail"] == f"the app shop is broken: {last}; all of it: mcli apps list"
    head, first, *_ = answer.json()["traceback"].splitlines()
    assert (head, first.split(",")[0]) == (
        "Traceback (most recent call last):",
        f'  File "{shop}"',
    )
    assert (
        ask(stopped, "/v1/jobs", "POST", json={"app": "shop", "command": "price"})
        .json()["detail"]
        .startswith("the app shop is broken")
    )
    assert apps(stopped)["shop"]["state"] == "broken"
    assert last in stopped.mcli("apps", "list").stdout
    (shop.parent / "no_such_module.py").touch()
    assert ask(stopped, "/price").status_code == 200
    assert apps(stopped)["shop"]["error"] is None


def test_strangers_are_not_shown_the_traceback(stopped: Daemon, shop: Path) -> None:
    """A public endpoint of a broken app says that it is broken, and no more."""
    write(shop, command("price", "/price", "1", ", public=True"))
    stopped.start("--app", "shop.py")
    assert ask(stopped, "/price", token=False).status_code == 200
    shop.write_text(shop.read_text() + "raise RuntimeError('inner')\n")
    answer = ask(stopped, "/price", token=False)
    assert answer.status_code == 503
    assert "inner" not in answer.text


def test_missing_file_is_broken_until_it_is_back(stopped: Daemon, shop: Path) -> None:
    """A file that is away for a moment, as while an editor saves, does no lasting harm."""
    stopped.start("--app", "shop.py")
    text = shop.read_text()
    shop.unlink()
    assert ask(stopped, "/price").status_code == 503
    shop.write_text(text)
    assert ask(stopped, "/price").status_code == 200


def test_edit_that_clashes(stopped: Daemon, shop: Path) -> None:
    """Two commands on one path: the edited app keeps what it had, and gets it when it is free."""
    bank = write(shop.with_name("bank.py"), command("fee", "/fee", "5"))
    stopped.start("--app", "shop.py", "--app", "bank.py")
    write(shop, command("price", "/price", "1"), command("cost", "/fee", "7"))
    assert ask(stopped, "/fee").json() == 5
    told = apps(stopped)["shop"]
    assert (told["state"], told["error"]) == (
        "broken",
        "cost of app shop and fee of app bank both want GET /fee; "
        "give one of them another path or method",
    )
    assert ask(stopped, "/price").status_code == 503
    write(bank, command("fee", "/charge", "5"))
    assert ask(stopped, "/charge").json() == 5
    assert ask(stopped, "/fee").json() == 7
    assert apps(stopped)["shop"]["state"] == "ready"


def test_clash_within_an_app(stopped: Daemon, shop: Path) -> None:
    """Two commands of one app on one path: it has no endpoints, and the line names both."""
    write(shop, command("one", "/same", "1"), command("two", "/same", "2"))
    done = stopped.mcli("daemon", "start", "--port", "0", "--app", "shop.py")
    assert "two of app shop and one of app shop both want GET /same" in done.stderr
    assert ask(stopped, "/same").status_code == 404


# Starting ---------------------------------------------------------------------------------


def test_daemon_starts_with_a_broken_app(stopped: Daemon, shop: Path) -> None:
    """It says so in one line per app, and serves the others."""
    (shop.parent / "broken.py").write_text("1 / 0\n")
    (shop.parent / "dead.py").write_text("import os\nos._exit(3)\n")
    done = stopped.mcli(
        *("daemon", "start", "--port", "0"),
        *("--app", "broken.py", "--app", "dead.py", "--app", "shop.py"),
    )
    broken, dead = done.stderr.splitlines()
    assert broken == (
        "mcli: the app broken is broken: ZeroDivisionError: division by zero; "
        "all of it: mcli apps list"
    )
    assert dead.startswith("mcli: the app dead is broken: the process that loads the app dead")
    assert ask(stopped, "/price").json() == 1


def test_app_that_is_not_there(stopped: Daemon) -> None:
    """--app with a file that does not exist is a mistake in the call."""
    done = stopped.mcli("daemon", "start", "--port", "0", "--app", "nowhere.py", code=2)
    assert "there is no Python file" in done.stderr


def test_running_daemon_does_not_heed_app(daemon: Daemon, shop: Path) -> None:
    """A daemon that runs already says how an app is added to it."""
    done = daemon.mcli("daemon", "start", "--app", "shop.py")
    assert "mcli apps add" in done.stderr


def test_slow_app_holds_up_neither_the_daemon_nor_others(
    stopped: Daemon, shop: Path, gate: Gate
) -> None:
    """While an app is being loaded the daemon is ready, and other apps answer."""
    slow = write(shop.with_name("slow.py"), command("late", "/late", "1"))
    stopped.start("--app", "shop.py", "--app", "slow.py")
    assert ask(stopped, "/late").json() == 1
    slow.write_text(_waiting_for(gate) + slow.read_text().replace("return 1", "return 2"))
    with socket.create_connection(("127.0.0.1", _port(stopped)), DEADLINE_S) as asking:
        asking.sendall(_raw(stopped, "/late"))
        inside = gate.arrival()
        assert ask(stopped, "/price").json() == 1
        assert ask(stopped, "/v1/status").status_code == 200
        assert not readable(asking.fileno(), 0)
        inside.leave()
        gate.arrival().leave()  # the job loads it as well
        answer = b""
        while not answer.endswith(b"2"):
            answer += asking.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")


def _waiting_for(gate: Gate) -> str:
    """The beginning of an app that stands at the gate when it is imported."""
    return (
        f"import socket\nwith socket.socket(socket.AF_UNIX) as gate:\n"
        f"    gate.connect({gate.path!r})\n"
        f'    gate.sendall(b\'{{"pid": 0, "ppid": 0, "job_id": "", "attempt": ""}}\\n\')\n'
        f"    gate.recv(1)\n"
    )


def _port(daemon: Daemon) -> int:
    return int(json.loads(Path(daemon.home.address).read_text())["url"].rpartition(":")[2])


def _raw(daemon: Daemon, path: str, *headers: str, method: str = "GET") -> bytes:
    token = Path(daemon.home.token).read_text().strip()
    host = f"127.0.0.1:{_port(daemon)}"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


@pytest.fixture
def holding(stopped: Daemon, shop: Path, gate: Gate) -> Daemon:
    """A daemon with a command that stands at the gate."""
    shop.write_text(
        "import json, os, socket\n" + HEAD + "@click.command()\n@mcli.api('/hold', 'GET')\n"
        "@mcli.api('/begin', 'GET', enable_background=True)\n"
        "def hold():\n    with socket.socket(socket.AF_UNIX) as gate:\n"
        "        facts = {'pid': os.getpid(), 'ppid': 0, 'job_id': '', 'attempt': ''}\n"
        f"        gate.connect({gate.path!r})\n"
        "        gate.sendall(json.dumps(facts).encode() + b'\\n')\n"
        "        gate.recv(1)\n"
    )
    return stopped.start("--app", "shop.py")


def test_call_is_told_that_the_daemon_stops(holding: Daemon, gate: Gate) -> None:
    """Whoever waits for an answer gets one when the daemon stops; the job runs on."""
    with socket.create_connection(("127.0.0.1", _port(holding)), DEADLINE_S) as asking:
        asking.sendall(_raw(holding, "/hold"))
        inside = gate.arrival()
        holding.stop()
        answer = asking.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"runs on" in answer
        for word in (b"accepted", b"retry-after"):  # it was: to send it again would run it twice
            assert word not in answer.lower()
    holding.start()
    assert holding.job()["state"] == "running"
    inside.leave()
    assert holding.final("-")["state"] == "succeeded"


def test_call_is_told_that_its_job_was_ended_with_the_daemon(holding: Daemon, gate: Gate) -> None:
    """When the jobs are ended too, whoever waits hears of the end, and not that it runs on."""
    with ExitStack() as open_ones:
        answers = []
        for each in (_raw(holding, "/hold"), _raw(holding, "/begin", "Prefer: wait=60")):
            asking = socket.create_connection(("127.0.0.1", _port(holding)), DEADLINE_S)
            answers.append(open_ones.enter_context(asking))
            asking.sendall(each)
            gate.arrival()
        holding.stop(kill_jobs=True)
        (called, problem), (begun, job) = [_answer(asking) for asking in answers]
    assert (called, problem["code"]) == (500, "job_failed")
    assert problem["detail"] == "the command was ended by signal 15"
    assert (begun, job["state"]) == (200, "cancelled")


def test_preference_to_wait_is_answered_with_the_job_when_the_daemon_stops(
    holding: Daemon, gate: Gate
) -> None:
    """202 with the job, from an endpoint and from the API of jobs: it was accepted, and runs on."""
    body = json.dumps({"app": "shop", "command": "hold"}).encode()
    asks = [
        _raw(holding, "/begin", "Prefer: wait=60"),
        _raw(
            holding,
            "/v1/jobs",
            "Prefer: wait=60",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            method="POST",
        )
        + body,
    ]
    with ExitStack() as open_ones:
        answers = []
        for each in asks:
            asking = socket.create_connection(("127.0.0.1", _port(holding)), DEADLINE_S)
            answers.append(open_ones.enter_context(asking))
            asking.sendall(each)
            gate.arrival()
        holding.stop()
        told = [_answer(asking) for asking in answers]
    assert [status for status, _ in told] == [202, 202]
    holding.start()
    assert [holding.job(job["id"])["state"] for _, job in told] == ["running", "running"]


def test_who_waits_for_a_job_is_answered_when_the_daemon_stops(holding: Daemon, gate: Gate) -> None:
    """A long poll is answered with the job as it is, at once."""
    assert ask(holding, "/begin").status_code == 202
    inside = gate.arrival()
    with socket.create_connection(("127.0.0.1", _port(holding)), DEADLINE_S) as asking:
        asking.sendall(_raw(holding, "/v1/jobs/-/wait?timeout_s=60"))
        assert ask(holding, "/v1/status").status_code == 200  # by now it has read that, too
        holding.stop()
        status, document = _answer(asking)
    assert (status, document["state"]) == (200, "running")
    inside.leave()


def _answer(asking: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and document of an answer after which the connection is closed."""
    answer = b""
    while part := asking.recv(1 << 16):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


# Coming and going -------------------------------------------------------------------------


def test_added_app_is_kept_over_restarts(daemon: Daemon, shop: Path) -> None:
    """apps add has the endpoints there at once and after a restart; apps remove takes them away."""
    assert daemon.mcli("apps", "add", "shop.py").stdout == "added shop\n  GET /price\n"
    assert ask(daemon, "/price").json() == 1
    daemon.mcli("daemon", "restart", "--port", "0")
    assert ask(daemon, "/price").json() == 1
    told = apps(daemon)["shop"]
    assert (told["target"], told["cwd"], told["origin"]) == (str(shop), str(shop.parent), "added")
    assert told["python"] == sys.executable
    assert daemon.mcli("apps", "remove", "shop").stdout == "removed shop\n"
    assert ask(daemon, "/price").status_code == 404
    daemon.mcli("daemon", "restart", "--port", "0")
    assert apps(daemon) == {}


def test_restart_keeps_the_apps_of_the_start(
    stopped: Daemon, shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The apps of --app are there after a restart from another directory, run in their own; one
    that has gone is left out, with a line; --app anew takes the place of all.
    """
    shop.write_text("import os\n" + HEAD + command("price", "/price", "os.getcwd()"))
    write(shop.with_name("bank.py"), command("fee", "/fee", "5"))
    write(shop.with_name("cafe.py"), command("tea", "/tea", "6"))
    stopped.start("--app", "shop.py", "--app", "bank", "--app", "cafe.py")
    stopped.cwd = tmp_path_factory.mktemp("elsewhere")
    shop.with_name("cafe.py").unlink()
    restart = ("daemon", "restart", "--port", "0")
    done = stopped.mcli(*restart)
    left_out = f"the app {shop.with_name('cafe.py')} of the last start is not there any more"
    assert left_out in done.stderr
    stopped.mcli(*restart)
    assert set(apps(stopped)) == {"shop", "bank"}
    assert (ask(stopped, "/price").json(), ask(stopped, "/fee").json()) == (str(shop.parent), 5)
    stopped.mcli(*restart, "--app", str(shop.with_name("bank.py")))
    assert set(apps(stopped)) == {"bank"}


def test_app_of_another_environment(daemon: Daemon, shop: Path) -> None:
    """An app runs with the interpreter of the mcli that added it, in the directory it was in."""
    write(shop, command("where", "/where", "[sys.executable, os.getcwd()]"))
    shop.write_text("import os, sys\n" + shop.read_text())
    link = shop.with_name("python")
    link.symlink_to(sys.executable)
    daemon.mcli("apps", "add", "shop.py", "--python", str(link))
    assert ask(daemon, "/where").json() == [str(link), str(shop.parent)]


def test_app_that_clashes_is_not_added(stopped: Daemon, shop: Path) -> None:
    """Exit code 2, one line that names both commands, and nothing is added."""
    write(shop.with_name("bank.py"), command("fee", "/fee", "5"), command("cost", "/price", "6"))
    stopped.start("--app", "shop.py")
    done = stopped.mcli("apps", "add", "bank.py", code=2)
    assert "cost of app bank and price of app shop both want GET /price" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert set(apps(stopped)) == {"shop"}
    assert ask(stopped, "/fee").status_code == 404


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import click\n", "it has no command with @mcli.background or @mcli.api"),
        (HEAD + command("one", "/v1/one", "1"), "the path /v1/one is the daemon's own"),
    ],
)
def test_app_that_is_of_no_use_is_not_added(
    daemon: Daemon, shop: Path, text: str, why: str
) -> None:
    """What cannot be loaded, or has nothing to offer, is refused in one line."""
    shop.write_text(text)
    done = daemon.mcli("apps", "add", "shop.py", code=2)
    assert why in done.stderr
    assert apps(daemon) == {}


def test_adding_a_slow_app_says_what_is_waited_for(daemon: Daemon, shop: Path, gate: Gate) -> None:
    """Whoever waits for long is told on stderr, which is no terminal; then it is added as ever."""
    shop.write_text(_waiting_for(gate) + shop.read_text())
    adds = "apps.QUIET_S = 0.01; sys.exit(main(['apps', 'add', 'shop.py']))"
    imports = "import sys; from mcli.cli import apps, main"
    adding = daemon.begin(sys.executable, "-c", f"{imports}; {adds}")
    inside = gate.arrival()
    assert adding.stderr is not None
    assert readable(adding.stderr.fileno())
    said = "mcli: still waiting for shop.py to be imported, for a minute at most\n"
    assert adding.stderr.readline() == said
    inside.leave()
    assert adding.communicate(timeout=DEADLINE_S) == ("added shop\n  GET /price\n", "")


def test_app_is_added_again_after_an_edit(daemon: Daemon, shop: Path) -> None:
    """Adding what is there already is no clash with itself."""
    daemon.mcli("apps", "add", "shop.py")
    daemon.mcli("apps", "add", "shop.py")
    assert list(apps(daemon)) == ["shop"]


def test_two_apps_of_one_name(daemon: Daemon, shop: Path) -> None:
    """The second gets a number, and keeps it."""
    (shop.parent / "other").mkdir()
    write(shop.parent / "other" / "shop.py", command("stock", "/stock", "2"))
    daemon.mcli("apps", "add", "shop.py")
    assert daemon.mcli("apps", "add", "other/shop.py").stdout.startswith("added shop-2\n")
    daemon.mcli("daemon", "restart", "--port", "0")
    assert set(apps(daemon)) == {"shop", "shop-2"}


def test_app_that_was_not_added_is_not_removed(stopped: Daemon, shop: Path) -> None:
    """It is told who named it; an app that nobody has named is unknown."""
    stopped.start("--app", "shop.py")
    with stopped.client() as client:
        with pytest.raises(BadApp, match="named by mcli daemon start --app"):
            client.remove_app("shop")
        with pytest.raises(UnknownApp, match="there is no app 'a b'"):
            client.remove_app("a b")
        with pytest.raises(BadApp, match="is no program"):
            client.add_app("shop.py", python="/nowhere", cwd="/")


def test_project_and_package_name_apps(stopped: Daemon, shop: Path) -> None:
    """[tool.mcli] apps of the directory's project, and entry points of what is installed."""
    project = shop.parent / "project"
    (project / "below").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[tool.mcli]\napps = ["../shop.py"]\n')
    site = shop.parent / "site"
    (site / "bank-1.dist-info").mkdir(parents=True)
    (site / "bank-1.dist-info" / "entry_points.txt").write_text("[mcli.apps]\nmoney=bank:fee\n")
    (site / "bank-1.dist-info" / "METADATA").write_text("Name: bank\nVersion: 1\n")
    write(site / "bank.py", command("fee", "/fee", "5"), command("none", "/none", "0"))
    stopped.cwd = project / "below"
    path = os.pathsep.join([stopped.env["PYTHONPATH"], str(site)])
    stopped.start(PYTHONPATH=path)
    assert {name: app["origin"] for name, app in apps(stopped).items()} == {
        "shop": "project",
        "money": "package",
    }
    assert (ask(stopped, "/price").json(), ask(stopped, "/fee").json()) == (1, 5)
    assert ask(stopped, "/none").status_code == 404


# Its process ------------------------------------------------------------------------------


def describers(daemon: Daemon) -> list[int]:
    return [pid for pid, what in daemon.processes().items() if "mcli.worker.describer" in what]


def test_idle_describer_is_ended_and_started_again(stopped: Daemon, shop: Path) -> None:
    """A process that nobody asks is not kept, and is there again for the next request."""
    write(shop, command("price", "/price", "1"))
    stopped.start("--app", "shop.py", MCLI_WORKER_IDLE="0.2", MCLI_WORKER_CHECK_INTERVAL="0.1")
    for pid in describers(stopped):
        assert gone(pid)
    assert ask(stopped, "/price").json() == 1


def test_describer_that_was_killed_is_started_again(stopped: Daemon, shop: Path) -> None:
    """A process that has vanished while nobody asked is not missed."""
    stopped.start("--app", "shop.py")
    (pid,) = describers(stopped)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert ask(stopped, "/price").json() == 1


def test_describers_end_with_a_daemon_that_is_killed(stopped: Daemon, shop: Path) -> None:
    """kill -9 of the daemon leaves no such process behind."""
    stopped.start("--app", "shop.py")
    (pid,) = describers(stopped)
    stopped.kill9()
    assert gone(pid)
