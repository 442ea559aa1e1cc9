"""
The ``mcli`` program: verbs for people, over the daemon's HTTP API.

A verb's module is imported when the verb is used, so that help is quick. Results go to
stdout, talk to stderr; every ``MCLIError`` ends here as one line and its exit code.
"""

import importlib
import os
import sys
from typing import Any, Final, NamedTuple

import click

from mcli.errors import DaemonError, MCLIError
from mcli.version import __version__

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells count it."""


class Verb(NamedTuple):
    """Where a verb's command is, and what it does in a few words."""

    target: str
    summary: str


VERBS: Final = {
    "run": Verb("mcli.cli.run:run", "Run any program in the background."),
    "ps": Verb("mcli.cli.jobs:ps", "List jobs: live ones and the latest that ended."),
    "inspect": Verb("mcli.cli.jobs:inspect", "Show all that is known about a job."),
    "logs": Verb("mcli.cli.logs:logs", "Show what a job has printed."),
    "attach": Verb("mcli.cli.attach:attach", "Take part in a running job, as if it ran here."),
    "wait": Verb("mcli.cli.wait:wait", "Wait until jobs have ended; exit with their code."),
    "cancel": Verb("mcli.cli.act:cancel", "Ask jobs to end: SIGTERM, and SIGKILL after a grace."),
    "kill": Verb("mcli.cli.act:kill", "Send a job a signal."),
    "rerun": Verb("mcli.cli.act:rerun", "Run jobs again, as new ones."),
    "rm": Verb("mcli.cli.clean:rm", "Remove jobs that have ended."),
    "clean": Verb("mcli.cli.clean:clean", "Remove all jobs that have ended, of a state or an age."),
    "cleanup": Verb("mcli.cli.cleanup:cleanup", "Find runs that nothing will end, and end them."),
    "verify": Verb("mcli.cli.verify:verify", "Compare a command's local run with a routed one."),
    "apps": Verb("mcli.cli.apps:apps", "Show, add and remove the apps that have endpoints."),
    "token": Verb("mcli.cli.token:token", "Print the token that HTTP requests need."),
    "docs": Verb("mcli.cli.token:docs", "Print an address that signs a browser in, once."),
    "daemon": Verb("mcli.cli.daemon:daemon", "Start, stop and look at the daemon."),
    "doctor": Verb("mcli.cli.doctor:doctor", "Find out what is wrong, and what to do."),
}

ALIASES: Final = {
    "ls": "ps",
    "status": "ps",
    "show": "inspect",
    "stop": "cancel",
    "retry": "rerun",
}


def complain(message: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    from mcli.cli.table import printable

    click.echo(f"mcli: {printable(message)}", err=True)


class Verbs(click.Group):
    """A group whose commands are found in ``VERBS`` and imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        verb = VERBS.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        module, _, name = verb.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(_spellings(name), verb.summary) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MCLIError as error:
            complain(str(error))
            sys.exit(error.exit_code)
        except FileNotFoundError:
            if _has_directory():
                raise
            complain("the current directory has been removed; go to another one")
            sys.exit(DaemonError.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _has_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _spellings(name: str) -> str:
    return ", ".join([name, *(alias for alias, verb in ALIASES.items() if verb == name)])


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="mcli")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run Click commands in a local daemon, as if they ran here.

    Without a command: the list of jobs (mcli ps).

    A JOB is an id, its beginning as far as it is unique, or - for the latest.
    """
    if ctx.invoked_subcommand is None:
        from mcli.cli.jobs import ps

        ctx.invoke(ps)
