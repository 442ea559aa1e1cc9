"""
A tour of mcli in one minute: a command in the background, and the same one without a daemon.

    python examples/tour.py

Everything happens in a state directory of its own, which is gone at the end.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CHECKSUM = "python examples/files.py checksum mcli --exclude __pycache__"
SHOWN = 5
"""Lines of a command's output that are printed; the rest is counted."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mcli-tour-") as home:
        os.environ["MCLI_HOME"] = home
        say("Start a daemon.")
        run("mcli daemon start --port 0")
        try:
            say("A command marked @mcli.background: the daemon runs it, the output comes here.")
            routed = run(CHECKSUM)
            say("The daemon knows what it ran.")
            if "succeeded" not in run("mcli ps -a"):
                sys.exit("tour: the command was not run by the daemon")
        finally:
            say("Stop the daemon.")
            run("mcli daemon stop")
        say("The same command without a daemon runs here.")
        if run(CHECKSUM) != routed:
            sys.exit("tour: the two outputs differ")
        say("Both outputs are the same, byte for byte.")


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def run(command: str) -> str:
    """Run *command* as a shell would, show it and what it prints, and return what it prints.

    Its stderr is the tour's own, so that a progress bar moves. A failure ends the tour.
    """
    print(f"$ {command}", flush=True)
    program, *arguments = command.split()
    start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
    done = subprocess.run([*start, *arguments], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"… {len(lines) - SHOWN} more")
    if done.returncode:
        sys.exit(f"tour: {command} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
