"""Which of the event loop's reports end the daemon."""

from typing import Any

import pytest

from mcli.daemon.crash import is_bug
from mcli.errors import StoreError


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"handle": 1, "exception": ZeroDivisionError()}, True),
        ({"task": 1, "exception": KeyError("job")}, True),
        ({"task": 1, "exception": StoreError("the disk is full")}, False),
        ({"handle": 1, "exception": OSError(24, "Too many open files")}, False),
        ({"transport": 1, "exception": ZeroDivisionError()}, False),
        ({"future": 1, "exception": ZeroDivisionError()}, False),
        ({"handle": 1}, False),
    ],
)
def test_what_leaves_work_half_done(context: dict[str, Any], expected: bool) -> None:
    """Our own callbacks and tasks do; a single connection's mishap and a full disk do not."""
    assert is_bug({"message": "it happened", **context}) is expected
