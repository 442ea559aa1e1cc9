"""
The daemon as a service of the user's: the file that systemd or launchd reads. Texts only.

What matters for jobs: they and their workers stay in the service's control group. Only the
daemon itself is told to end (``KillMode=process``), and a job that the kernel kills for its
memory ends nobody else (``OOMPolicy=continue``).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from mcli.home import Home
from mcli.settings import Settings, file_path

NAME: Final = "mcli.service"
LABEL: Final = "mcli.daemon"

STOP_S: Final = 20
"""Seconds that the daemon may take to stop. It takes less than one, if the disk lets it."""

OTHERS: Final = ("XDG_CONFIG_HOME", "PYTHONPATH")
"""What else decides which files the daemon reads; it would not know it by itself."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is to run: a command line, with an environment, that logs into a file."""

    words: Sequence[str]
    environ: Mapping[str, str]
    log: str


def settled(name: str, value: str) -> str:
    """A setting's text, so that it means the same in another directory."""
    parse = Settings.__dataclass_fields__[name].metadata["parse"]
    return file_path(value) if parse is file_path else value


def service(home: Home, python: str, options: Sequence[str], environ: Mapping[str, str]) -> Service:
    """The daemon of *home*, with the settings that *environ* has now.

    Args:
        options: Those of ``mcli daemon start``.
    """
    kept = {"MCLI_HOME": home.root}
    for each in fields(Settings):
        variable = each.metadata["variable"]
        if value := environ.get(variable):
            kept[variable] = settled(each.name, value)
    for name in OTHERS:
        if value := environ.get(name):
            kept[name] = os.pathsep.join(os.path.abspath(each) for each in value.split(os.pathsep))
    words = [os.path.abspath(python), "-m", "mcli.daemon", *options]
    return Service(words, kept, home.log)


def systemd(what: Service) -> str:
    """A unit for the user's own systemd."""
    environ = [f"{name}={value}" for name, value in what.environ.items()]
    return "\n".join(
        [
            "[Unit]",
            "Description=mcli: commands in the background",
            "",
            "[Service]",
            "Type=notify",
            "ExecStart=" + " ".join(_quoted(word).replace("$", "$$") for word in what.words),
            *(f"Environment={_quoted(each)}" for each in environ),
            "# Jobs and workers live on when the daemon is stopped or restarted.",
            "KillMode=process",
            "# Nor does one end because another was killed for want of memory.",
            "OOMPolicy=continue",
            "Restart=on-failure",
            "RestartSec=1",
            f"TimeoutStopSec={STOP_S}",
            "UMask=0077",
            f"StandardOutput=append:{_plain(what.log)}",
            f"StandardError=append:{_plain(what.log)}",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _quoted(word: str) -> str:
    """One word to systemd, whatever is in it: C's escapes, and ``%`` twice."""
    return '"' + "".join(_escaped(byte) for byte in os.fsencode(word)) + '"'


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in '"\\':
        return "\\" + letter
    if letter == "%":
        return "%%"
    return letter if letter.isascii() and letter.isprintable() else f"\\x{byte:02x}"


def _plain(path: str) -> str:
    """A path to the end of its line."""
    return path.replace("%", "%%")


def launchd(what: Service) -> str:
    """A property list for launchd."""
    import plistlib  # only for those who have launchd

    told = {
        "Label": LABEL,
        "ProgramArguments": list(what.words),
        "EnvironmentVariables": dict(what.environ),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,  # jobs and workers live on
        "ExitTimeOut": STOP_S,
        "Umask": 0o077,
        "StandardOutPath": what.log,
        "StandardErrorPath": what.log,
    }
    return plistlib.dumps(told, sort_keys=False).decode()
