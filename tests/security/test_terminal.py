"""R12: what strangers have written does not rule the terminal on which it is shown."""

import os
import pty
import re
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from acceptance.daemon import DEADLINE_S, Daemon

OSC_52 = "\x1b]52;c;ZXZpbA==\x07"
EVIL = [
    *(OSC_52, "\x1b]0;title\x07", "\x1b7\x1b8", "\x1b[2J\x1b[H", "good\rEVIL", "\x9b31m"),
    *("\u202egnp.exe", "\x08\x08", "\x1b[31mred", "\x00", "\x7f", "\u2066", "\x0e"),
]
OURS = re.compile(rb"\x1b\[[0-9;]*m")
"""The colours of our own tables."""


def on_terminal(daemon: Daemon, *words: str) -> bytes:
    """What ``mcli`` writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcli", *words],
        env=daemon.env | {"TERM": "xterm", "COLUMNS": "400"},
        cwd=daemon.cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    with suppress(OSError):  # EIO: nobody has the other side any more
        while part := os.read(ours, 1 << 16):
            parts.append(part)
    os.close(ours)
    assert process.wait(DEADLINE_S) in (0, 2, 127)
    return b"".join(parts)


def obeyed(shown: bytes) -> set[str]:
    """The control characters that a terminal got, but for our own colours and line ends."""
    text = OURS.sub(b"", shown).decode().replace("\r\n", "\n")
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf")} - {"\n", "\t"}


@pytest.fixture(scope="module")
def evil(shared: Daemon) -> str:
    """A job from a program, which prints all of it, has it for arguments, and fails with it."""
    program = Path(shared.cwd) / "evil.py"
    program.write_text(
        "import click, mcli\n"
        f"EVIL = {[each for each in EVIL if each != chr(0)]!r}\n"
        "@click.command()\n@click.argument('words', nargs=-1)\n@mcli.background\n"
        "def main(words):\n"
        "    for word in EVIL:\n"
        "        click.echo(word)\n"
        "    click.echo(b'\\x9b31m raw \\x1b[')\n"
        "    raise ValueError(''.join(EVIL))\n"
        "if __name__ == '__main__':\n"
        "    print(main.submit(words=EVIL).id)\n"
    )
    job = shared.run(sys.executable, str(program)).stdout.strip()
    assert shared.final(job)["state"] == "failed"
    return job


@pytest.mark.parametrize(
    "words",
    [
        *(("ps", "-a"), ("ps", "-a", "--json"), ("inspect", "JOB"), ("inspect", "JOB", "--json")),
        *(("logs", "JOB"), ("logs", "-t", "JOB"), ("logs", "-n", "9", "JOB"), ("daemon", "logs")),
        *(("daemon", "status"), ("inspect", OSC_52), ("cancel", OSC_52), ("cancel", "JOB")),
        *(("kill", "-s", OSC_52, "JOB"), ("run", OSC_52), ("logs", OSC_52), ("rerun", OSC_52)),
    ],
    ids=lambda words: "-".join(words).replace(OSC_52, "EVIL").replace("--", ""),
)
def test_r12_every_verb(shared: Daemon, evil: str, words: tuple[str, ...]) -> None:
    """No verb passes on a control character from a name, an argument, an error or a log."""
    shown = on_terminal(shared, *(evil if word == "JOB" else word for word in words))
    assert obeyed(shown) == set()
    assert shown.strip()


def test_r12_spelled_out(shared: Daemon, evil: str) -> None:
    """They are shown as what they are."""
    shown = on_terminal(shared, "logs", evil)
    for told in (rb"\x1b]52;c;ZXZpbA==\x07", rb"good\rEVIL", rb"\x9b31m", rb"\u202egnp.exe"):
        assert told in shown


def test_r12_raw_and_files(shared: Daemon, evil: str) -> None:
    """With --raw, and where no terminal is, the bytes come as they are."""
    assert OSC_52.encode() in on_terminal(shared, "logs", "--raw", evil)
    with shared.client() as client:
        printed = b"".join(record.data for record in client.output(evil))
    words = [sys.executable, "-m", "mcli", "logs", evil]
    done = subprocess.run(
        words, env=shared.env, capture_output=True, check=True, timeout=DEADLINE_S
    )
    assert done.stdout == printed


def test_r12_own_jobs_are_not_touched(shared: Daemon) -> None:
    """A job from this command line wrote to a terminal in the first place; its log may again."""
    job = shared.mcli("run", "-d", "printf", r"\033[31mred").stdout.strip()
    shared.final(job)
    assert b"\x1b[31mred" in on_terminal(shared, "logs", job)
