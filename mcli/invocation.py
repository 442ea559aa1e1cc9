"""
All that is needed to run a command again in another process.

Made in the caller's process, stored by the daemon, obeyed by a worker. ``repr`` shows
neither argv nor environment: both may hold secrets. Strings are what Python made of the
bytes (``surrogateescape``); JSON carries lone surrogates as escapes, so any bytes survive.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mcli.errors import InvalidTransition
from mcli.mask import is_masked, mask, mask_environment, restore_environment, secrets_in
from mcli.policy import USUAL, Policy

Kind = Literal["script", "module", "object", "exec"]
Stdio = Literal["tty", "fd", "pipe", "out", "null", "closed"]
"""``fd``: the caller's own descriptor, passed along. ``out``: the same as stdout."""

Source = Literal["cli", "python", "http", "daemon"]
"""Who asked for it: a command line, a program's ``submit``, a request; or the daemon itself,
to see whether a job comes through."""


@dataclass(frozen=True, slots=True)
class App:
    """The program that holds the command, and the interpreter that runs it.

    ``script``: target is a path. ``module``: as for ``python -m``. ``object``: a
    ``module:attribute`` or ``path.py:attribute`` that is a Click command. ``exec``: any
    program; target is its name and ``python`` is the interpreter that mcli itself runs in.
    """

    kind: Kind
    target: str
    python: str
    flags: tuple[str, ...] = ()
    mcli_root: str = ""
    """Directory that holds the ``mcli`` package the caller has imported."""

    cwd: str = ""
    """Directory of ``sys.path[0]`` for ``python -m``; else empty."""

    def key(self) -> str:
        """What two invocations must share to be run by the same worker."""
        target = self.target if self.kind != "exec" else ""
        kind = self.kind
        if kind == "object":  # all commands of a module share its imports
            target = target.rpartition(":")[0]
        return "\0".join((self.python, *self.flags, kind, target, self.mcli_root, self.cwd))

    def __str__(self) -> str:
        return f"-m {self.target}" if self.kind == "module" else self.target


@dataclass(frozen=True, slots=True)
class Terminal:
    """The caller's terminal: size and settings for the job's own."""

    rows: int
    cols: int
    attributes: list[Any] = field(default_factory=list)
    """As of ``termios.tcgetattr``, the control characters as integers; empty: the defaults."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Which call of the program is to run, and what the caller's process has done already."""

    path: tuple[str, ...]
    """Names of the command and its parents, from below the root."""

    parameters: str
    """Fingerprint of the command's parameters: the replay must arrive with the same. Empty when
    it was not kept: nothing is compared."""

    prompted: list[list[Any]] = field(default_factory=list)
    """[path, parameter, value, hidden] of what was typed at ``prompt=`` options."""

    def without_secrets(self) -> "Replay":
        """Without what was typed unseen, and without the parameters, which may hold it."""
        seen = [answer for answer in self.prompted if not answer[3]]
        return Replay(self.path, "", seen)


@dataclass(frozen=True, slots=True, repr=False)
class Invocation:
    """One call of a command, complete."""

    name: str
    app: App
    argv: list[str]
    """What follows the program's name."""

    cwd: str
    env: dict[str, str]
    umask: int = 0o022
    argv0: str = ""
    """``sys.argv[0]`` of a script as it was typed."""

    stdio: tuple[Stdio, Stdio, Stdio] = ("null", "pipe", "pipe")
    terminal: Terminal | None = None
    ignored_signals: list[int] = field(default_factory=list)
    replay: Replay | None = None
    """None: the whole program runs, nothing muted (``mcli run``, ``submit``)."""

    ahead: str = ""
    """What Python has read of standard input already, and its program has not."""

    by_line: bool = False
    """Nobody compares: lines are to be seen in the log, through a pipe too, as they are printed."""

    timeout_s: float | None = None
    policy: Policy = USUAL

    source: Source = "cli"
    command: str | None = None
    """Path of the command in the app, where no replay names it."""

    secrets: list[str] = field(default_factory=list)
    """Values among the words of ``argv`` that nobody is to be shown."""

    on_finish: str | None = None
    """URL that is told when the job has ended."""

    def __repr__(self) -> str:
        return f"<Invocation {self.name}>"

    def known_secrets(self) -> list[str]:
        """Values that nobody is to be shown, wherever they turn up."""
        typed = (
            [str(value) for *_, value, hidden in self.replay.prompted if hidden]
            if self.replay
            else []
        )
        return [*self.secrets, *typed, *secrets_in(self.argv, self.env)]

    def shown(self) -> list[str]:
        """``argv`` as it may be shown."""
        return mask(self.argv, self.secrets)

    def kept(self) -> "Invocation":
        """What stays of it when its job has ended: no secrets, as far as they are known."""
        secrets = self.known_secrets()
        return dataclasses.replace(
            self,
            argv=self.shown(),
            env=mask_environment(self.env, secrets),
            replay=self.replay and self.replay.without_secrets(),
            ahead="",
            secrets=[],
        )

    def again(self, environ: Mapping[str, str]) -> "Invocation":
        """To be run as another job, with the variables that were not kept as they are now.

        Raises:
            InvalidTransition: Words that were not kept cannot be known.
        """
        if is_masked(self.argv):
            raise InvalidTransition(
                "its arguments held a secret, which was not kept; run the command itself again"
            )
        return dataclasses.replace(self, env=restore_environment(self.env, environ))

    def body(self) -> bytes:
        """As the store keeps it."""
        return json.dumps(self.document()).encode("ascii")

    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Invocation":
        """The inverse of ``document``.

        Raises:
            TypeError, KeyError: It is not one.
        """
        fields = dict(document)
        app = dict(fields["app"])
        app["flags"] = tuple(app["flags"])
        fields["app"] = App(**app)
        fields["stdio"] = tuple(fields["stdio"])
        if fields.get("terminal"):
            fields["terminal"] = Terminal(**fields["terminal"])
        if fields.get("replay"):
            replay = dict(fields["replay"])
            replay["path"] = tuple(replay["path"])
            fields["replay"] = Replay(**replay)
        fields["policy"] = Policy.parse(fields.get("policy") or {})
        return cls(**fields)


def interpreter_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter and its libraries read by themselves as they start."""
    prefixes = ("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_")
    names = ("LANG", "LANGUAGE", "TZ", "HOME")
    return {
        key: value
        for key, value in sorted(env.items())
        if key.startswith(prefixes) or key in names or key.endswith("_NUM_THREADS")
    }
