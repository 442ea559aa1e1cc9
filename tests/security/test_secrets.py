"""R8: secrets are shown to nobody, and not kept for longer than their job needs them."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from acceptance.daemon import DEADLINE_S, Daemon, Gate

from mcli.mask import is_masked, mask, mask_environment, mask_text, restore_environment
from mcli.secret import MASK, is_secret

HUSH = "Hu5h-Qx"
"""Stands in every secret of these tests, followed by which one it is."""

SHAPES = [
    ["--password=Hu5h-Qx01"],
    ["--password", "Hu5h-Qx02"],
    ["--api-key", "-Hu5h-Qx03"],
    ["--db_dsn=host=h dbname=Hu5h-Qx04"],
    ["--auth", "--token", "Hu5h-Qx05"],
    ["AWS_SECRET_ACCESS_KEY=Hu5h-Qx06"],
    ["postgresql://ada:Hu5h-Qx07@db.test/sales"],
    ["amqp://ada:p@Hu5h-Qx08@mq.test:5672/"],
    ["https://Hu5h-Qx09@git.test/repo.git"],
    ["https://api.test/v1?x=1&access_token=Hu5h-Qx10&y=2"],
    ["-H", "Authorization: Bearer Hu5h-Qx11"],
    ["-H", "X-Api-Key: Hu5h-Qx12"],
    ["-H", "Cookie: session=Hu5h-Qx13"],
    ['{"user": "ada", "password": "Hu5h-Qx14 \\" Hu5h-Qx14"}'],
    ["host=db.test user=ada password='Hu5h-Qx15 x' dbname=sales"],
    ["Server=db.test;Uid=ada;Pwd=Hu5h-Qx16;"],
    ["error: passphrase = Hu5h-Qx17"],
    ["--set", "db.password=Hu5h-Qx18,Hu5h-Qx18"],
    ["-----BEGIN RSA PRIVATE KEY-----\nHu5h-Qx19\n-----END RSA PRIVATE KEY-----"],
    ["authToken:Hu5h-Qx20"],
]

FORMS = [
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0123456789_abcdefghij",
    "glpat-ABCDEFGHIJ0123456789",
    "sk-proj-abcdefghijklmnop0123",
    "sk_live_abcdefghijklmnop0123",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]

INNOCENT = [
    ["load", "--rows", "10", "data/keys.csv"],
    ["http://localhost:8080/@scope/package"],
    ["ssh://git@host.test/repo.git"],
    ["--verbose", "-x", "--", "a=b", "12:30", "C:\\dir", ""],
    ["monkey=banana", "--author=Ada", "tokens.txt"],
]


@pytest.mark.parametrize("words", SHAPES, ids=[str(at) for at in range(1, 21)])
def test_r08_shapes(words: list[str]) -> None:
    """Each way to put a secret on a command line is known by its name or its form."""
    assert HUSH not in " ".join(mask(words))
    assert is_masked(mask(words))
    assert mask(mask(words)) == mask(words)


@pytest.mark.parametrize("form", FORMS)
def test_r08_forms(form: str) -> None:
    """Tokens of well-known services are known wherever they stand."""
    assert mask(["run", form]) == ["run", MASK]
    assert mask_text(f"cannot use '{form}'") == f"cannot use '{MASK}'"


@pytest.mark.parametrize("words", INNOCENT, ids=lambda words: words[0])
def test_r08_innocent(words: list[str]) -> None:
    """What is no secret is shown as it is."""
    assert mask(words) == words


def test_r08_known_values() -> None:
    """A value that is known is found anywhere; a short one only where it stands alone."""
    assert mask(["-p", "hunter2", "x-hunter2-y"], ["hunter2"]) == ["-p", MASK, f"x-{MASK}-y"]
    assert mask(["7", "17", "a=7"], ["7"]) == [MASK, "17", f"a={MASK}"]


@pytest.mark.parametrize("piece", ["a", "a:", "a=", "a://", "http://", " ", '"', "\\'", "eyJ-"])
def test_r08_takes_no_longer_for_more(piece: str) -> None:
    """Nobody can keep the daemon busy with words made to be slow to look through."""
    began = time.process_time()
    mask_text(piece * (1_000_000 // len(piece)) + "@")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "name", ["PGPASSWORD", "authtoken", "DB_PASS", "clientSecret", "x-api-key"]
)
def test_r08_names(name: str) -> None:
    """Words of a name count, however they are put together."""
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "monkey", "author", "compass", "PATH", "spin"])
def test_r08_other_names(name: str) -> None:
    """A name that only looks a little like one is none."""
    assert not is_secret(name)


def test_r08_environment_is_kept_by_name() -> None:
    """Of variables that hold secrets the names stay; their values are those of later."""
    env = {"API_KEY": "1", "DB": "postgres://u:p@h/d", "SEEN": "has hunter2", "LANG": "C"}
    kept = mask_environment(env, ["hunter2"])
    assert kept == {"API_KEY": MASK, "DB": MASK, "SEEN": MASK, "LANG": "C"}
    now = {"API_KEY": "2", "LANG": "D", "OTHER": "x"}
    assert restore_environment(kept, now) == {"API_KEY": "2", "LANG": "C"}


# In a daemon ------------------------------------------------------------------------------


def files(daemon: Daemon) -> dict[str, bytes]:
    root = Path(daemon.home.root)
    paths = [*root.glob("mcli.db*"), root / "daemon.log"]
    return {path.name: path.read_bytes() for path in paths}


def shown(daemon: Daemon, *jobs: str) -> str:
    """All that the daemon says of these jobs."""
    said = [daemon.mcli("ps", "-a", "--json").stdout, daemon.mcli("ps", "-a").stdout]
    said += [daemon.mcli("daemon", "logs").stdout]
    for job in jobs:
        said += [daemon.mcli("inspect", job).stdout, str(daemon.job(job))]
    return "\n".join(said)


def test_r08_nothing_is_left(daemon: Daemon) -> None:
    """Of twenty shapes, in arguments and variables, nothing is shown, nor kept by any file."""
    env = {"PGPASSWORD": f"{HUSH}-v1", "WHERE": f"redis://:{HUSH}-v2@h", "S_TOKEN": f"{HUSH}-v3"}
    jobs = [daemon.mcli("run", "-d", "true", *words, env=env).stdout.strip() for words in SHAPES]
    assert [daemon.final(job)["state"] for job in jobs] == ["succeeded"] * len(jobs)
    assert HUSH not in shown(daemon, *jobs)
    daemon.until_its_log_is_empty()
    for name, content in files(daemon).items():
        at = content.find(HUSH.encode())
        assert at < 0, (name, content[max(0, at - 600) : at + 200])


def test_r08_masked_while_it_runs(daemon: Daemon, gate: Gate) -> None:
    """While a job runs, it has its secret, and nobody is shown it; afterwards it is gone."""
    code = "import os,socket; s=socket.socket(socket.AF_UNIX); s.connect(os.sys.argv[1]); "
    code += 's.sendall(b\'{"pid":1,"ppid":1,"job_id":"","attempt":""}\\n\'); s.recv(1); '
    code += "print(os.sys.argv[2:])"
    words = (sys.executable, "-c", code, gate.path, f"--password={HUSH}")
    job = daemon.mcli("run", "-d", *words).stdout.strip()
    inside = gate.arrival()
    assert daemon.job(job)["argv"][-1] == f"--password={MASK}"
    inside.leave()
    assert daemon.final(job)["state"] == "succeeded"
    assert HUSH in daemon.output(job)


def test_r08_hidden_option_of_a_command(daemon: Daemon) -> None:
    """What was typed unseen at a prompt, or given for such an option, is masked and wiped."""
    job = daemon.submit("login", "--password", f"{HUSH}-1", "--user", "ada")
    assert daemon.output(daemon.final(job)["id"]) == f"ada {len(HUSH) + 2}\n"
    # In a session of its own there is no terminal to read a password from but standard input.
    words = ("login", "--detach")
    process = daemon.begin_puppet(*words, stdin=subprocess.PIPE, start_new_session=True)
    out, _ = process.communicate(f"{HUSH}-2\nada\n", timeout=DEADLINE_S)
    typed = out.split()[-1]
    assert daemon.final(typed)["state"] == "succeeded"
    assert HUSH not in shown(daemon, job, typed)
    daemon.until_its_log_is_empty()
    assert not [name for name, content in files(daemon).items() if HUSH.encode() in content]


def test_r08_error_text(daemon: Daemon) -> None:
    """A traceback that repeats a secret is kept without it."""
    program = Path(daemon.cwd) / "fails.py"
    program.write_text(
        "import click, mcli, os\n"
        "@click.command()\n@click.option('--pin')\n@click.option('-q', hide_input=True)\n"
        "@click.option('--unseen', hidden=True)\n@click.option('--db', envvar='DB_PASSWORD')\n"
        "@mcli.background\ndef main(pin, q, unseen, db):\n"
        "    raise ValueError(f'bad {pin} {q} {unseen} {db}', os.environ['X_SECRET'])\nmain()\n"
    )
    env = {"X_SECRET": f"{HUSH}-x"}
    given = ("--pin", f"{HUSH}-p", "-q", f"{HUSH}-q", "--unseen", f"{HUSH}-u", "--db", f"{HUSH}-d")
    job = daemon.run(sys.executable, str(program), *given, "--detach", env=env).stdout.strip()
    document = daemon.final(job)
    assert f"ValueError: ('bad {MASK} {MASK} {MASK} {MASK}', '{MASK}')" in document["error"]
    assert HUSH not in str(document)
    outcome = Path(daemon.home.job(job), "1.outcome").read_text()
    assert "ValueError" in outcome
    assert HUSH not in outcome


def test_r08_cancelled_in_the_queue(stopped: Daemon, gate: Gate) -> None:
    """A job that never began, of an earlier daemon at that, is wiped as well."""
    stopped.start("--workers", "1")
    stopped.begin_puppet("obey", gate.path)
    gate.arrival()
    job = stopped.mcli("run", "-d", "true", f"--password={HUSH}").stdout.strip()
    stopped.kill9()
    stopped.start("--workers", "1")
    stopped.mcli("cancel", job)
    stopped.until_its_log_is_empty()
    assert not [name for name, content in files(stopped).items() if HUSH.encode() in content]
    with sqlite3.connect(f"file:{stopped.home.database}?mode=ro", uri=True) as store:
        (body,) = store.execute("SELECT body FROM invocations WHERE job_id = ?", [job]).fetchone()
    store.close()
    assert f"--password={MASK}".encode() in body


def test_r08_rerun(daemon: Daemon) -> None:
    """A job whose arguments are not known any more is not run again; one whose variables are
    not takes the daemon's.
    """
    job = daemon.mcli("run", "-d", "true", f"--password={HUSH}").stdout.strip()
    daemon.final(job)
    refused = daemon.mcli("rerun", job, code=2).stderr
    assert refused.count("\n") == 1
    assert "held a secret" in refused
    words = ("run", "-d", "sh", "-c", "echo ${A_TOKEN-none} $PLAIN")
    first = daemon.mcli(*words, env={"A_TOKEN": "x", "PLAIN": "y"}).stdout.strip()
    daemon.final(first)
    again = daemon.mcli("rerun", first).stdout.strip()
    daemon.final(again)
    assert (daemon.output(first), daemon.output(again)) == ("x y\n", "none y\n")


def test_r08_rerun_of_a_command(daemon: Daemon) -> None:
    """A command without secrets is run again although its fingerprint was not kept."""
    job = daemon.submit("tell", "--number", "7", "word")
    daemon.final(job)
    again = daemon.mcli("rerun", job).stdout.strip()
    assert daemon.final(again)["result"] == {"number": 7, "words": ["word"]}
