"""``mcli daemon``: the daemon's own verbs."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final

import click

from mcli.cli import complain
from mcli.cli import install as installation
from mcli.cli.launch import END_S, end, launch
from mcli.cli.table import coloured, printable
from mcli.cli.terminal import Spelled
from mcli.cli.unit import settled
from mcli.errors import DaemonError, DaemonNotRunning
from mcli.home import Home
from mcli.settings import Settings

LOOK_S: Final = 0.2
"""Seconds between two looks at a log that is followed."""

AnyCommand = Callable[..., Any]


@click.group()
def daemon() -> None:
    """Start, stop and look at the daemon."""


def starting(command: AnyCommand) -> AnyCommand:
    """Add what a daemon can be started with: the settings that have an option, and apps."""
    options = [
        click.option(
            each.metadata["option"],
            each.name,
            metavar=each.name.upper(),
            help=f"{each.metadata['meaning']} [env: {each.metadata['variable']}]",
        )
        for each in fields(Settings)
        if each.metadata["option"]
    ]
    options.append(
        click.option(
            "--app",
            "apps",
            multiple=True,
            metavar="TARGET",
            help="An app to serve and to keep a worker ready for: a script, a module, or "
            "either with :attribute. May be repeated.",
        )
    )
    options.append(
        click.option(
            "--i-know",
            is_flag=True,
            help="Serve other machines: with --host, --tls-cert and --tls-key.",
        )
    )
    for option in reversed(options):
        command = option(command)
    return command


@daemon.command()
@click.option("--foreground", is_flag=True, help="Run here, until stopped, and log to stderr.")
@starting
def start(foreground: bool, apps: Sequence[str], i_know: bool, **options: str | None) -> None:
    """Start the daemon, and return when it listens.

    If one runs already, that is said, and is no error.
    """
    home = Home.find()
    settings = Settings.load(options)
    if foreground:
        from mcli.daemon.main import serve

        sys.exit(serve(settings, home, list(apps), options, i_know=i_know))
    _launch(home, _arguments(options, apps, i_know))


def _launch(home: Home, arguments: list[str]) -> None:
    report = launch(home, arguments)
    how = "already running" if report.get("already") else "started"
    click.echo(f"mcli daemon {how}: {report['url']} (pid {report['pid']}, home {home.root})")
    for note in report.get("notes", ()):
        complain(note)
    if not report.get("already"):
        _tell_broken(home, report["apps"])
    elif any(word.startswith("--app=") for word in arguments):
        complain("it has not taken the apps of --app; add each with: mcli apps add TARGET")


def _tell_broken(home: Home, apps: int) -> None:
    """One line for each app that has no endpoints yet, or never will as it is."""
    if apps == 0:
        return
    from mcli.client import Client

    with Client.connect(home) as client:
        for app in client.apps():
            if app["state"] == "broken":
                line = app["error"].strip().splitlines()[-1]
                complain(f"the app {app['name']} is broken: {line}; all of it: mcli apps list")
            elif app["state"] == "loading":
                complain(f"the app {app['name']} is still being loaded; see: mcli apps list")


def _arguments(options: dict[str, str | None], apps: Sequence[str], i_know: bool) -> list[str]:
    named = {each.name: each.metadata["option"] for each in fields(Settings)}
    given = [f"{named[name]}={value}" for name, value in options.items() if value is not None]
    return [*given, *(f"--app={app}" for app in apps), *(["--i-know"] if i_know else [])]


@daemon.command()
@click.option("--kill-jobs", is_flag=True, help="End the running jobs too.")
def stop(kill_jobs: bool) -> None:
    """Stop the daemon. Running jobs run on, and the next daemon takes them over."""
    _stop(Home.find(), kill_jobs)


def _stop(home: Home, kill_jobs: bool) -> None:
    patience_s = END_S + (Settings.load().grace_s if kill_jobs else 0)
    pid = end(home, kill_jobs=kill_jobs, timeout_s=patience_s)
    if pid is None:
        click.echo("mcli: the daemon is not running", err=True)
    else:
        click.echo(f"mcli daemon stopped (pid {pid})")


@daemon.command()
@click.option("--kill-jobs", is_flag=True, help="End the running jobs too.")
@starting
def restart(kill_jobs: bool, apps: Sequence[str], i_know: bool, **options: str | None) -> None:
    """Stop the daemon if it runs, and start it again. Running jobs run on.

    It keeps the options with which it was started, except for those that are given here; and for
    --i-know, which has to be given each time.
    """
    from mcli.daemon.bind import check

    home = Home.find()
    last = _last_start(home)
    options = _kept_options(last) | {
        name: text for name, text in options.items() if text is not None
    }
    check(Settings.load(options), i_know=i_know)  # better refused before anything is stopped
    arguments = _arguments(options, apps, i_know) + ([] if apps else _kept_apps(last))
    if end(home, kill_jobs=kill_jobs) is None:
        click.echo("mcli: the daemon was not running", err=True)
    _launch(home, arguments)


def _last_start(home: Home) -> dict[str, Any]:
    """What the daemon that runs, or has crashed, said of its start."""
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError), open(home.address, encoding="utf-8") as file:
        told = json.load(file)
    return told


def _kept_options(last: dict[str, Any]) -> dict[str, str | None]:
    known = {each.name for each in fields(Settings) if each.metadata["option"]}
    return {name: text for name, text in last.get("options", {}).items() if name in known}


def _kept_apps(last: dict[str, Any]) -> list[str]:
    """The apps of --app at the last start, and the directory that it was in, as arguments."""
    there = []
    for target in last.get("apps", ()):
        place = target.rpartition(":")[0] or target
        if os.path.isabs(place) and not os.path.exists(place):
            complain(f"the app {target} of the last start is not there any more; left out")
        else:
            there.append(f"--app={target}")
    return [*there, f"--apps-from={last['cwd']}"] if there else []


@daemon.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> None:
    """Show what the daemon is and does. Exit code 125 if it is not running."""
    from mcli.client import Client

    home = Home.find()
    try:
        with Client() as client:
            known = {"running": True} | client.status()
    except DaemonNotRunning:
        if as_json:
            click.echo(json.dumps({"running": False, "home": home.root}, indent=2))
        raise
    click.echo(json.dumps(known, indent=2) if as_json else "\n".join(_description(known)))


def _description(known: dict[str, Any]) -> list[str]:
    apart = ("running", "workers", "jobs", "troubles", "notes")
    plain = {key: str(known[key]) for key in known if key not in apart}
    lines = [f"{key:<12}{printable(value)}" for key, value in plain.items()]
    lines += [
        f"{'worker':<12}{printable(worker['app'])} (pid {worker['pid']})"
        for worker in known.get("workers", ())
    ]
    counts = [(count, state) for state, count in known["jobs"].items() if count]
    jobs = [coloured(f"{'jobs':<12}{count} {state}", state) for count, state in counts]
    troubles = [
        f"{'trouble':<12}{each['name']}: {printable(each['text'])} (since {each['since']})"
        for each in known.get("troubles", ())
    ]
    notes = [
        f"{'note':<12}{each['name']}: {printable(each['text'])} ({each['at']})"
        for each in known.get("notes", ())
    ]
    return [*lines, *(jobs or [f"{'jobs':<12}none"]), *troubles, *notes]


@daemon.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines.")
def logs(follow: bool, tail: int | None) -> None:
    """Show the daemon's own log."""
    path = Home.find().log
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DaemonError(f"there is no log to show at {path}: {error.strerror}") from error
    with open(fd, "rb") as log:
        lines = log.readlines()
        _show(lines if tail is None else lines[max(0, len(lines) - tail) :])
        while follow:
            _show(log.readlines() or _pause())


def _show(lines: list[bytes]) -> None:
    """Workers write there too, and so may whatever they import."""
    out = Spelled(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
    out.write(b"".join(lines))
    out.flush()


def _pause() -> list[bytes]:
    time.sleep(LOOK_S)  # a file cannot tell that it has grown
    return []


@daemon.command()
@click.option("--print", "only_print", is_flag=True, help="Write the file to stdout; do nothing.")
@click.option(
    "--for",
    "kind",
    type=click.Choice(["systemd", "launchd"]),
    default=installation.here,
    metavar="KIND",
    help="systemd or launchd. Unless given: the one of this system.",
)
@starting
def install(
    only_print: bool, kind: str, apps: Sequence[str], i_know: bool, **options: str | None
) -> None:
    """Have the daemon started at each login, and again when it fails.

    It is started with these options, and with the settings that the environment has now. A
    daemon that runs is stopped first; running jobs run on, and are taken over. They also live
    on when the service is stopped or restarted.
    """
    Settings.load(options)  # better refused before anything is written
    given = {name: value and settled(name, value) for name, value in options.items()}
    arguments = _arguments(given, apps, i_know)
    arguments += [f"--apps-from={os.getcwd()}"] if apps else []
    if only_print:
        installation.print_unit(kind, arguments)
    else:
        installation.install(kind, arguments)


@daemon.command()
def uninstall() -> None:
    """Stop the daemon and have it started no more. Running jobs run on."""
    installation.uninstall(installation.here())
