"""Exit codes, exceptions, signals."""

from signal import SIGINT, SIGTERM, SIGUSR1

from mcli.stage import Step, kill, nothing, send

from .case import PIPES, TERMINAL, Case, python, shell
from .conftest import Twins

READY = rb"ready\r?\n"
CTRL_C, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x1a", b"\x1c"


def app(*args: str) -> list[str | bytes]:
    return python("exits.py", *args)


def signals(*args: str) -> list[str | bytes]:
    return python("signals.py", *args)


EXITS = [
    *(
        Case(id=f"exit-{code}", argv=app("code", "--", str(code)), ending=f"exit {code % 256}")
        for code in (0, 1, 2, 3, 75, 77, 124, 125, 126, 127, 128, 130, 137, 143, 255, 256, -1)
    ),
    Case(id="exit-none", argv=app("none"), ending="exit 0"),
    Case(id="exit-text", argv=app("text"), ending="exit 1"),
    Case(id="exit-object", argv=app("odd"), ending="exit 1"),
    Case(id="ctx-exit-0", argv=app("ctx-exit", "0"), ending="exit 0"),
    Case(id="ctx-exit-7", argv=app("ctx-exit", "7"), ending="exit 7"),
    Case(id="ctx-fail", argv=app("ctx-fail"), ending="exit 2"),
    Case(id="usage-error", argv=app("usage-error"), ending="exit 2"),
    Case(id="bad-parameter", argv=app("bad-parameter"), ending="exit 2"),
    Case(id="file-error", argv=app("file-error"), ending="exit 1"),
    Case(id="abort", argv=app("abort"), ending="exit 1"),
    Case(id="keyboard-interrupt", argv=app("interrupted"), ending="exit 1"),
    Case(id="end-of-file", argv=app("end-of-file"), ending="exit 1"),
    Case(id="click-exception", argv=app("click-exception"), ending="exit 1"),
    Case(id="click-exception-code", argv=app("own-exception"), ending="exit 42"),
    Case(id="wrong-use", argv=app("strict", "--number", "9"), jobs=0, ending="exit 2"),
    Case(id="no-such-command", argv=app("nonsense"), jobs=0, ending="exit 2"),
    Case(id="no-such-option", argv=app("strict", "--nonsense"), jobs=0, ending="exit 2"),
    Case(id="version", argv=app("versioned", "--version"), jobs=0, ending="exit 0"),
    Case(id="os-exit", argv=app("at-once"), ending="exit 3"),
    Case(id="import-error", argv=python("import_error.py"), jobs=0, ending="exit 1"),
    Case(id="no-such-script", argv=python("no_such_script.py"), jobs=0, ending="exit 2"),
    Case(id="returns", argv=app("returns"), ending="exit 0"),
    Case(id="returns-text", argv=app("returns-text"), ending="exit 0"),
    Case(id="not-standalone", argv=python("standalone.py", "ask"), ending="exit 0"),
    Case(id="not-standalone-error", argv=python("standalone.py", "fail"), ending="exit 0"),
    Case(id="not-standalone-abort", argv=python("standalone.py", "abort"), ending="exit 0"),
]

TRACEBACKS = [
    Case(id="exception", argv=app("exception"), ending="exit 1"),
    Case(id="exception-chained", argv=app("chained"), ending="exit 1"),
    Case(id="exception-group", argv=app("grouped"), ending="exit 1"),
    Case(id="exception-recursion", argv=app("recursion"), ending="exit 1"),
    Case(id="exception-own-hook", argv=app("own-hook"), ending="exit 1"),
    Case(id="exception-in-thread", argv=app("in-thread"), ending="exit 0"),
    Case(id="exception-at-exit", argv=app("while-exiting"), ending="exit 0"),
    Case(id="exception-in-finalizer", argv=app("finalizer"), ending="exit 0"),
]

DEATHS = [
    Case(id=f"dies-of-{name.lower()}", argv=app("die", name), ending=f"killed by {name}")
    for name in ("SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGHUP", "SIGUSR1")
] + [
    Case(id="dies-of-sigint", argv=app("die", "SIGINT"), ending="exit 1"),
    Case(
        id="death-seen-by-a-shell",
        argv=shell("{{ {0}; }} 2> /dev/null; echo $?", app("die", "SIGKILL")),
        ending="exit 0",
    ),
]

SIGNALS = [
    Case(
        id="ctrl-c",
        argv=signals("wait"),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_C))],
        ending="exit 1",
    ),
    Case(
        id="ctrl-c-cleanup",
        argv=signals("cleanup"),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_C)), Step(rb"cleaned up\r\n", nothing)],
        ending="exit 1",
    ),
    Case(
        id="ctrl-c-twice",
        argv=signals("twice"),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_C)), Step(rb"once\r\n" + READY, send(CTRL_C))],
        ending="exit 1",
    ),
    Case(
        id="ctrl-c-refused",
        argv=signals("refuse"),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_C))],
        ending="exit 0",
    ),
    Case(
        id="ctrl-c-in-a-script",
        argv=shell("{0}; echo not reached", signals("wait")),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_C))],
    ),
    Case(
        id="sigint",
        argv=signals("cleanup"),
        stages=(PIPES,),
        steps=[Step(READY, kill(SIGINT))],
        ending="exit 1",
    ),
    Case(
        id="sigint-twice",
        argv=signals("twice"),
        stages=(PIPES,),
        steps=[Step(READY, kill(SIGINT)), Step(rb"once\n" + READY, kill(SIGINT))],
        ending="exit 1",
    ),
    Case(
        id="sigterm",
        argv=signals("wait"),
        steps=[Step(READY, kill(SIGTERM))],
        ending="killed by SIGTERM",
    ),
    Case(
        id="sigterm-handled",
        argv=signals("handle", "SIGTERM"),
        steps=[Step(READY, kill(SIGTERM))],
        ending="exit 9",
    ),
    Case(
        id="sigusr1-handled",
        argv=signals("handle", "SIGUSR1"),
        steps=[Step(READY, kill(SIGUSR1))],
        ending="exit 9",
    ),
    Case(
        id="ctrl-backslash-handled",
        argv=signals("handle", "SIGQUIT"),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_BACKSLASH))],
        ending="exit 9",
    ),
    Case(
        id="ctrl-z-and-fg",
        argv=shell('set -m; {0}; echo "shell saw $?"; fg; echo "then $?"', signals("line")),
        stages=(TERMINAL,),
        steps=[
            Step(READY, send(CTRL_Z)),
            Step(rb"shell saw 148\r\n", nothing),
            Step(rb"continued\r\n", send(b"go\n")),
            Step(rb"got 'go\\n'\r\nthen 0\r\n", nothing),
        ],
        ending="exit 0",
    ),
    Case(
        id="ctrl-z-twice",
        argv=shell("set -m; {0}; fg; fg; echo $?", signals("line")),
        stages=(TERMINAL,),
        steps=[
            Step(READY, send(CTRL_Z)),
            Step(rb"continued\r\n", send(CTRL_Z)),
            Step(rb"continued\r\n", send(b"go\n")),
        ],
        ending="exit 0",
    ),
    Case(
        id="ctrl-z-and-ctrl-c",
        argv=shell("set -m; {0}; fg; echo $?", signals("line")),
        stages=(TERMINAL,),
        steps=[Step(READY, send(CTRL_Z)), Step(rb"continued\r\n", send(CTRL_C))],
    ),
]

CASES = EXITS + TRACEBACKS + DEATHS + SIGNALS


def test_endings(twins: Twins, case: Case, stage: str) -> None:
    """It ends in the same way, for the same reason, with the same words."""
    twins.check(case, stage)
