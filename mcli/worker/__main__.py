"""
``python -m mcli.worker CONFIG``: started by the daemon, with the app's own interpreter.

CONFIG is JSON: ``home``, ``key``, ``app``, ``cwd``, ``log`` and ``cold``.
"""

import gc
import json
import os
import sys
from typing import Any

from mcli.family import BLANK_MARK, MARK_NAME
from mcli.home import Home
from mcli.invocation import App
from mcli.ticket import REVOKED_CODE
from mcli.worker import loop
from mcli.worker.become import Job, Revoked
from mcli.worker.load import aim_path
from mcli.worker.plugs import own_streams


def _serve(config: dict[str, Any]) -> Job | None:
    app = App(**{**config["app"], "flags": tuple(config["app"]["flags"])})
    own_streams(config["log"])
    os.chdir(config["cwd"])
    aim_path(app)
    worker = loop.start(Home(config["home"]), config["key"], app, cold=config["cold"])
    if worker is None:
        _piped_streams()
        os.chdir(app.mcli_root)
        cold = json.dumps({**config, "cold": True})
        words = [sys.executable, *app.flags, "-m", "mcli.worker", cold]
        os.execve(sys.executable, words, os.environ | {MARK_NAME: BLANK_MARK})
    gc.collect()
    gc.freeze()  # what is shared by all jobs need not be looked at, and so copied, by each
    return worker.run()


def _piped_streams() -> None:
    """What the daemon starts a worker on, for one that starts itself again."""
    reader, writer = os.pipe()
    for fd, number in ((reader, 0), (writer, 1), (writer, 2)):
        os.dup2(fd, number)
    os.close(reader)
    os.close(writer)


job = _serve(json.loads(sys.argv[1]))
if job is not None:
    try:
        job.become()
    except Revoked:
        os._exit(REVOKED_CODE)
    job.run()
