"""The daemon's side of the process that has loaded an app, with real processes."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mcli import family
from mcli.appbook import Entry
from mcli.daemon import describe
from mcli.daemon.describe import Describer
from mcli.daemon.sources import ROOT
from mcli.errors import AppBroken

APP = """
import click, mcli, os, time

class Slow(click.ParamType):
    name = "slow"
    def convert(self, value, param, ctx):
        if value == "forever":
            time.sleep(600)
        if value == "dead":
            os._exit(1)
        return value

@click.command()
@click.option("--number", type=int, required=True)
@click.option("--slow", type=Slow())
@mcli.api("/pay")
def pay(number, slow):
    pass
"""

Work = Callable[[Describer], Coroutine[Any, Any, None]]


def play(folder: Path, work: Work, text: str = APP, **changes: str) -> None:
    """Have *work* done with a describer of an app with that text; all processes are reaped."""
    (folder / "pay.py").write_text(text)
    fields = {
        "name": "pay",
        "target": str(folder / "pay.py"),
        "python": sys.executable,
        "mcli_root": ROOT,
        "cwd": str(folder),
        **changes,
    }
    entry = Entry(origin="start", **fields)

    async def run() -> None:
        describer = Describer(entry, dict(os.environ), str(folder / "log"))
        try:
            await work(describer)
        finally:
            describer.close()

    before = set(family.children(os.getpid()))
    asyncio.run(run())
    for pid in set(family.children(os.getpid())) - before:
        os.waitpid(pid, 0)


def test_one_process_describes_and_checks(tmp_path: Path) -> None:
    """What it offers, words for right parameters, and an entry for each wrong one."""

    async def work(describer: Describer) -> None:
        told = await describer.describe()
        assert [command.name for command in told.commands] == ["pay"]
        assert str(tmp_path / "pay.py") in [path for path, _, _ in told.sources]
        right, wrong = await asyncio.gather(
            describer.check("pay", {"number": 1}, {}),
            describer.check("pay", {}, {"number": ["x"], "slow": ["a"]}),
        )
        assert right.words == ["--number=1"]
        assert [error["parameter"] for error in wrong.errors] == ["number"]

    play(tmp_path, work)


def test_describing_again_sees_the_new_code(tmp_path: Path) -> None:
    """It is loaded anew each time it is described."""

    async def work(describer: Describer) -> None:
        await describer.describe()
        (tmp_path / "pay.py").write_text(APP.replace("/pay", "/buy"))
        (command,) = (await describer.describe()).commands
        assert command.endpoints[0].path == "/buy"

    play(tmp_path, work)


def test_app_that_cannot_be_loaded_is_described(tmp_path: Path) -> None:
    """An error of the app's own is no error of its process."""

    async def work(describer: Describer) -> None:
        told = await describer.describe()
        assert told.error is not None
        assert told.error.rstrip().endswith("ZeroDivisionError: division by zero")

    play(tmp_path, work, "1 / 0\n")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("forever", "does not answer: it was given 0 s; what does it do when a value is checked?"),
        ("dead", "has ended"),
    ],
)
def test_check_that_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    """The process is ended, the one request is told in one line, and the next is answered."""

    async def work(describer: Describer) -> None:
        await describer.describe()
        monkeypatch.setattr(describe, "CHECK_S", 0.4 if value == "forever" else 30)
        with pytest.raises(AppBroken, match=re.escape(why)) as caught:
            await describer.check("pay", {"number": 1, "slow": value}, {})
        assert "\n" not in str(caught.value)
        again = await describer.check("pay", {"number": 2}, {})
        assert again.words == ["--number=2"]

    play(tmp_path, work)


def test_app_that_is_loaded_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended when its time is up."""
    monkeypatch.setattr(describe, "LOAD_S", 0.4)

    async def work(describer: Describer) -> None:
        with pytest.raises(AppBroken, match="what does it do when it is imported"):
            await describer.describe()

    play(tmp_path, work, "import time\ntime.sleep(600)\n")


def test_interpreter_that_is_not_there(tmp_path: Path) -> None:
    """A program that cannot be started is told in one line."""

    async def work(describer: Describer) -> None:
        with pytest.raises(AppBroken, match="No such file"):
            await describer.describe()

    play(tmp_path, work, python=str(tmp_path / "nowhere"))


def test_process_of_another_version(tmp_path: Path) -> None:
    """What is not understood is told in one line, and is no crash of the daemon's."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n" + OTHER)
    program.chmod(0o700)

    async def work(describer: Describer) -> None:
        with pytest.raises(AppBroken, match="install the same version"):
            await describer.describe()

    play(tmp_path, work, python=str(program))


OTHER = """
import os, socket
ours = socket.socket(fileno=os.dup(0))
ours.recv(1 << 16)
ours.sendall(b'{"commands": [{"title": "pay"}]}\\n')
"""


def test_trim_ends_what_is_idle_only(tmp_path: Path) -> None:
    """A process that is being asked is left alone; an idle one goes, and comes again."""

    async def work(describer: Describer) -> None:
        asking = asyncio.create_task(describer.describe())
        await asyncio.sleep(0)
        describer.trim(-1)
        assert len((await asking).commands) == 1
        describer.trim(-1)
        assert (await describer.check("pay", {"number": 1}, {})).words == ["--number=1"]

    play(tmp_path, work)
