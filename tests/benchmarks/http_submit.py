"""
How soon a submission over HTTP is answered while 4 jobs use all the processor they can get.

    python tests/benchmarks/http_submit.py [REQUESTS]

Both ways to submit are measured: an endpoint with a job behind it (202), and one that answers
with what its command returns (200).
"""

import json
import sys
import time
from pathlib import Path
from statistics import quantiles

import requests
from stand import Env, daemon, environment

BURNING = 4

PROGRAM = """
import click, mcli

@click.group()
def cli():
    pass

@cli.command()
@mcli.api("/burn", "POST", enable_background=True)
def burn():
    click.echo("burning")
    while True:
        pass

@cli.command()
@click.option("--number", type=int, required=True)
@mcli.api("/accept", "POST", enable_background=True)
@mcli.api("/answer", "POST")
def noop(number):
    return number
"""


class Asker:
    """One connection to the daemon, as a client keeps it."""

    def __init__(self, env: Env) -> None:
        home = Path(env["MCLI_HOME"])
        self._url = json.loads((home / "daemon.json").read_text())["url"]
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {(home / 'token').read_text().strip()}"

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        answer = self._http.request(method, self._url + path, timeout=60, **options)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer

    def ms(self, path: str, number: int) -> float:
        """Milliseconds until a request is answered."""
        began = time.perf_counter()
        self.ask("POST", path, json={"number": number})
        return (time.perf_counter() - began) * 1000


def burn(asker: Asker) -> None:
    """Start the jobs that use the processor; return when each has begun."""
    for _ in range(BURNING):
        place = asker.ask("POST", "/burn").headers["Location"]
        followed = asker.ask("GET", f"{place}/output?follow=true", stream=True)
        next(followed.iter_content(1))
        followed.close()


def measure(count: int) -> None:
    with environment() as env:
        script = Path(env["PYTHONPYCACHEPREFIX"]).parent / "program.py"
        script.write_text(PROGRAM)
        with daemon(env, "--app", str(script)):
            asker = Asker(env)
            burn(asker)
            for path in ("/accept", "/answer"):
                asker.ms(path, 0)  # once for nothing: the app is loaded
                took = [asker.ms(path, number) for number in range(count)]
                cuts = quantiles(took, n=100)
                print(
                    f"POST {path}: median {cuts[49]:.1f} ms, 99th percentile {cuts[98]:.1f} ms "
                    f"({count} requests, {BURNING} CPU-bound jobs)"
                )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
