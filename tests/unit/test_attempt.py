"""
What a worker opens for an attempt, and lets go of when it cannot be begun.
"""

import os
import resource
import sys
from pathlib import Path

import pytest

from mcli.invocation import App, Invocation, Stdio
from mcli.worker.attempt import Attempt, Order


def made(order: Order, descriptors: int) -> bool:
    """Whether the attempt can be made with no descriptor from that number on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        attempt = Attempt(order, 0)
    except OSError:
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    attempt.discard()
    return True


@pytest.mark.parametrize(
    "stdio",
    [("null", "pipe", "pipe"), ("tty", "tty", "tty"), ("null", "closed", "pipe")],
    ids=lambda stdio: "-".join(stdio),
)
def test_attempt_that_cannot_be_made_leaves_nothing_open(
    stdio: tuple[Stdio, Stdio, Stdio], tmp_path: Path
) -> None:
    """
    At whichever descriptor the system says that there are too many, none stays open.
    """
    app = App(kind="exec", target="true", python=sys.executable)
    order = Order(
        job="0",
        attempt=1,
        folder=str(tmp_path),
        invocation=Invocation("true", app, ["true"], "/", {}, stdio=stdio),
        timeout_s=None,
        grace_s=1.0,
        card={},
    )
    before = set(os.listdir("/proc/self/fd"))
    most, refused = 3, 0
    while not made(order, most):
        assert set(os.listdir("/proc/self/fd")) == before
        most, refused = most + 1, refused + 1
    assert set(os.listdir("/proc/self/fd")) == before
    assert refused >= 5
