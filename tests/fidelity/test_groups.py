"""Groups, contexts, chains, lazy commands, Typer."""

from mcli.stage import Step, send

from .case import Case, python
from .conftest import Twins


def app(*args: str) -> list[str | bytes]:
    return python("groups.py", *args)


def typer(*args: str) -> list[str | bytes]:
    return python("typer_programs.py", *args)


def chain(*args: str) -> list[str | bytes]:
    return python("chain.py", *args)


GROUPS = [
    Case(id="group-alone", argv=app("--name", "n"), jobs=0),
    Case(id="group-callback", argv=app("--level", "4", "--name", "x", "inner", "deep")),
    Case(id="pass-obj", argv=app("--level", "4", "with-obj")),
    Case(id="make-pass-decorator", argv=app("--level", "4", "with-settings")),
    Case(id="decorator-above", argv=app("above", "--size", "5")),
    Case(id="decorator-on-a-command", argv=app("finished")),
    Case(id="bare-decorator", argv=python("bare.py", "--word", "bare")),
    Case(id="eager-option", argv=app("eagerly", "--early"), jobs=0, ending="exit 4"),
    Case(id="option-callback", argv=app("eagerly", "--size", "small")),
    Case(id="custom-type", argv=app("custom", "1,2", "--when", "2024-02-29", "--kind", "A")),
    Case(id="custom-type-refuses", argv=app("custom", "one"), jobs=0, ending="exit 2"),
    # Called by a body that runs here already, a decorated command runs here too.
    Case(id="invoke", argv=app("calls"), jobs=0),
    Case(id="forward", argv=app("forwards", "--size", "8"), jobs=0),
    Case(id="call-on-close", argv=app("closing")),
    Case(id="with-resource", argv=python("holding.py", "use")),
    Case(id="result-callback", argv=app("result")),
    Case(id="default-map", argv=app("serve")),
    Case(id="default-map-overruled", argv=app("serve", "--port", "1")),
    Case(id="auto-envvar-prefix", argv=app("with-obj"), env={"GROUPS_LEVEL": "70"}),
    Case(id="help-of-a-group", argv=app("--help"), jobs=0),
    Case(id="lazy-group", argv=python("lazy.py", "say", "hello")),
    Case(id="lazy-group-other", argv=python("lazy.py", "argv", "--name", "x", "y")),
    Case(id="lazy-group-help", argv=python("lazy.py", "--help"), jobs=0),
]

# The rest of a chain follows its first decorated command into the job.
CHAINS = [
    Case(id="chain", argv=chain("one", "two")),
    Case(id="chain-mixed", argv=chain("--sep", "+", "one", "local", "two", "one")),
    Case(id="chain-options", argv=chain("one", "--times", "3", "one", "--times", "2")),
    Case(id="chain-breaks", argv=chain("one", "bad", "two"), ending="exit 1"),
    Case(id="chain-local-only", argv=chain("local"), jobs=0),
]

TYPER = [
    Case(id="typer", argv=typer("--verbose", "hello", "Zoë", "--size", "small", "--times", "2")),
    Case(id="typer-context", argv=typer("--verbose", "context")),
    Case(
        id="typer-prompt",
        argv=typer("asked"),
        steps=[Step(rb"Name: $", send(b"Ann\n")), Step(rb"Sure\? [^\n]*: $", send(b"y\n"))],
    ),
    Case(id="typer-exit", argv=typer("leave", "6"), ending="exit 6"),
    Case(id="typer-abort", argv=typer("abort"), ending="exit 1"),
    Case(id="typer-bad-parameter", argv=typer("bad"), ending="exit 2"),
    Case(id="typer-usage", argv=typer("hello"), jobs=0, ending="exit 2"),
    Case(id="typer-help", argv=typer("hello", "--help"), jobs=0, ending="exit 0"),
    Case(id="typer-traceback", argv=typer("crash"), ending="exit 1"),
    Case(
        id="typer-traceback-plain",
        argv=typer("crash"),
        env={"TYPER_STANDARD_TRACEBACK": "1"},
        ending="exit 1",
    ),
    Case(id="typer-progressbar", argv=typer("progress")),
    Case(id="typer-path", argv=typer("write", "written")),
]

CASES = GROUPS + CHAINS + TYPER


def test_groups(twins: Twins, case: Case, stage: str) -> None:
    """What stands around the body happens once, and the body finds it."""
    twins.check(case, stage)
