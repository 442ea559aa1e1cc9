"""
The pages of docs/reference that say what the code says: made from it, never by hand.

    python tests/docs/reference.py [FOLDER]     write them; a test compares
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from mcli.cli import ALIASES, VERBS, main
from mcli.cli.wait import SIGNALLED, TERMINATED, TIMED_OUT
from mcli.daemon.crash import CRASHED
from mcli.errors import MCLIError
from mcli.problem import family
from mcli.settings import Settings, default
from mcli.states import FINAL, MOVES, Reason, State

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"

MADE: Final = "<!-- Made by python tests/docs/reference.py; change the code, not this page. -->"

OTHER_VARIABLES: Final = (
    ("MCLI_HOME", "The state directory. Unless set: mcli in $XDG_STATE_HOME or ~/.local/state."),
    (
        "MCLI_BACKGROUND_TOKEN",
        "Token of a daemon on another machine. No setting, so that it gets into no file.",
    ),
    ("MCLI_DETACH", "1 submits a command and returns, as its option --detach does."),
    ("NO_COLOR", "Not empty: no colours in what the verbs print."),
    ("COLUMNS", "Width of tables, instead of the terminal's."),
)
"""Variables that are read before there are settings, or that are not ours."""


def settings_page() -> str:
    """Every setting, by each name that it has."""
    rows = [
        (
            f"`{each.metadata['variable']}`",
            f"`{each.name}`",
            f"`{option}`" if (option := each.metadata["option"]) else "",
            f"`{_default(each)}`",
            each.metadata["meaning"],
        )
        for each in fields(Settings)
    ]
    return _page(
        "Settings",
        "The first that has a value wins: the option of `mcli daemon start`, the environment\n"
        "variable, `config.toml`, the default. An empty variable counts as unset.",
        "`config.toml` is looked for in `$MCLI_HOME`, then in `$XDG_CONFIG_HOME/mcli`, which is\n"
        "`~/.config/mcli` unless set. Its keys stand at the top level: `port = 8002`. A wrong\n"
        "value or an unknown key ends the program with exit code 2 and a line that says what\n"
        "would be right.",
        _table(("Variable", "Key", "Option", "Default", "Meaning"), rows),
        "Other variables:",
        _table(("Variable", "Meaning"), [(f"`{name}`", text) for name, text in OTHER_VARIABLES]),
    )


def _default(each: Any) -> str:
    if each.name == "workers":
        return "max(5, cores)"
    value = default(each)
    if value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def commands_page() -> str:
    """Every verb with its usage, its help and its options."""
    context = click.Context(main, info_name="mcli")
    return _page(
        "Commands",
        *_command(context),
        _table(
            ("Command", "Also", "Does"),
            [
                (f"[`mcli {name}`](#mcli-{name})", _also(name), verb.summary)
                for name, verb in VERBS.items()
            ],
        ),
        *(part for name in VERBS for part in _commands(context, name)),
    )


def _also(name: str) -> str:
    return ", ".join(f"`{alias}`" for alias, verb in ALIASES.items() if verb == name)


def _commands(parent: click.Context, name: str) -> Iterator[str]:
    """The sections of a command and of those in it."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {context.command_path}"
    yield from _command(context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _commands(context, each)


def _command(context: click.Context) -> Iterator[str]:
    """Usage, help and options. Not Click's own help text, which changes with its versions."""
    command = context.command
    arguments = [_metavar(each) for each in command.params if isinstance(each, click.Argument)]
    arguments += ["COMMAND [ARGS]..."] if isinstance(command, click.Group) else []
    yield f"```\n{' '.join([context.command_path, '[OPTIONS]', *arguments])}\n```"
    yield inspect.cleandoc(command.help or "")
    options = [_option(each) for each in command.params if isinstance(each, click.Option)]
    yield _table(("Option", "Meaning"), options) if options else ""


def _metavar(parameter: click.Argument | click.Option) -> str:
    return parameter.metavar or (parameter.name or "").upper()


def _option(option: click.Option) -> tuple[str, str]:
    value = "" if option.is_flag else f" {_metavar(option)}"
    names = "/".join([", ".join(option.opts), *option.secondary_opts])
    notes = [f"[env: {option.envvar}]"] if option.envvar else []
    notes += [f"[default: {_option_default(option)}]"] if option.show_default else []
    return f"`{names}{value}`", " ".join([*(option.help or "").split(), *notes])


def _option_default(option: click.Option) -> str:
    """As Click's help has it: of a pair of flags the one that is on."""
    if option.secondary_opts:
        return (option.opts if option.default else option.secondary_opts)[0].lstrip("-")
    return str(option.default)


def states_page() -> str:
    """The states, the reasons, and every move between states."""
    return _page(
        "States of a job",
        _table(
            ("State", "", "Meaning"),
            [
                (f"`{state}`", "final" if state in FINAL else "live", _meaning(State, state.name))
                for state in State
            ],
        ),
        "An id that no job has is an error, never a state.",
        "## Moves",
        f"```mermaid\nstateDiagram-v2\n{_diagram()}\n```",
        _table(
            ("Event", "From", "To", "When"),
            [
                (
                    f"`{event}`",
                    ", ".join(f"`{s}`" for s in move.sources),
                    f"`{move.target}`",
                    move.meaning,
                )
                for event, move in MOVES.items()
            ],
        ),
        "## Reasons",
        "Why a job did not succeed: `reason` in its document.",
        _table(
            ("Reason", "Meaning"),
            [(f"`{reason}`", _meaning(Reason, reason.name)) for reason in Reason],
        ),
    )


def _diagram() -> str:
    return "\n".join(
        f"    {source} --> {move.target}: {event}"
        for event, move in MOVES.items()
        for source in move.sources
    )


def _meaning(kind: type, name: str) -> str:
    """The string that stands below a member in the source: Python itself forgets it."""
    lines = inspect.getsource(kind)
    _, _, after = lines.partition(f"    {name} = ")
    return " ".join(after.split('"""')[1].split()).replace("``", "`")


def exit_codes_page() -> str:
    """What a process of mcli exits with."""
    errors = [
        (f"`{kind.__name__}`", f"`{kind.code}`", str(kind.exit_code), _first_line(kind))
        for kind in family()
        if kind is not MCLIError
    ]
    return _page(
        "Exit codes",
        "A routed command and `mcli wait` exit as the job did:",
        _table(
            ("Code", "Meaning"),
            [
                ("0-255", "The command's own exit code, unchanged."),
                (str(TIMED_OUT), "The job ran out of its time, or the wait did."),
                (f"{SIGNALLED} + N", "Signal N killed the job."),
                (str(TERMINATED), "`mcli wait`: the job was cancelled before it began."),
                ("130", "Ctrl-C."),
                ("2", "The command line is wrong (Click's own code)."),
            ],
        ),
        f"The daemon itself exits {CRASHED} when it cannot go on: it has met a bug, hangs, or has\n"
        "lost its state directory. `mcli doctor` exits 1 when something is wrong.",
        "When mcli itself cannot do what was asked, the class of the error decides:",
        _table(("Error", "Code in HTTP answers", "Exit code", "Meaning"), errors),
    )


def _first_line(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0].replace("``", "`")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", MADE, *filter(None, parts)]) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "states.md": states_page,
    "exit-codes.md": exit_codes_page,
}


def write(folder: Path) -> None:
    """Write every page into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
