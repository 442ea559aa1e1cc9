"""A daemon that serves one app, ``puppet``, whose parameters are taken as they come."""

import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcli import version
from mcli.daemon import server
from mcli.daemon.api import create_app
from mcli.errors import BadParameters, UnknownCommand
from mcli.invocation import App, Invocation

PUPPET = Path(__file__).with_name("puppet.py")
KNOWN = {"tell": ("number", "words"), "obey": ("gate",), "leave": ("code",)}


class Puppet:
    """What ``POST /v1/jobs`` finds commands in."""

    async def checked(self, app: str, command: str, params: Mapping[str, Any]) -> Invocation:
        if app != "puppet" or command not in KNOWN:
            raise UnknownCommand(f"there is no command {command!a} in {app!a}")
        wrong = [name for name in params if name not in KNOWN[command]]
        if wrong:
            raise BadParameters(
                f"{command} has no parameter {wrong[0]!a}",
                [{"parameter": name, "message": "No such parameter."} for name in wrong],
            )
        return Invocation(
            name=command,
            app=App(
                kind="object",
                target=f"{PUPPET}:cli",
                python=sys.executable,
                mcli_root=os.path.dirname(os.path.dirname(version.__file__)),
            ),
            argv=[command, *self._words(params)],
            argv0="puppet",
            cwd=os.environ["HOME"],
            env=dict(os.environ),
            by_line=True,
            source="http",
            command=command,
        )

    def _words(self, params: Mapping[str, Any]) -> list[str]:
        number = [f"--number={params['number']}"] if "number" in params else []
        words = [str(params[name]) for name in ("gate", "code") if name in params]
        return [*number, "--", *words, *params.get("words", ())]


if __name__ == "__main__":
    server.create_app = functools.partial(create_app, apps=Puppet())
    sys.exit(server.main(sys.argv[1:]))
