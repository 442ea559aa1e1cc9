"""What ``@mcli.background`` may be told about how its jobs are run."""

import json
from typing import Any

import pytest

import mcli
from mcli.decorators import Background
from mcli.policy import USUAL, Policy


def told(**said: Any) -> Background:
    return Background(None, True, True, None, **said)


def test_nothing_said_is_nothing_carried() -> None:
    """A command that says nothing costs its invocations nothing."""
    assert told(retries=0, nice=0).policy == {} == USUAL.document()


def test_all_of_it_survives_the_way() -> None:
    """As JSON and back: amounts in bytes, exceptions as the question whether it was one."""
    background = told(
        retries=3,
        retry_delay=0.5,
        retry_on=(3, OSError),
        on_lost="retry",
        memory_limit="2GiB",
        nice=7,
        max_output=1000,
        leave_children=True,
    )
    assert background.retry_on == (OSError,)
    assert Policy.parse(json.loads(json.dumps(background.policy))) == Policy(
        retries=3,
        retry_delay_s=0.5,
        retry_codes=(3,),
        retry_exceptions=True,
        retry_lost=True,
        memory_bytes=2 << 30,
        nice=7,
        output_bytes=1000,
        leave_children=True,
    )


@pytest.mark.parametrize("error", [mcli.JobTimeout, BaseException])
def test_a_timeout_can_be_named_by_its_exception(error: type[BaseException]) -> None:
    """Also where the body had no chance to raise it."""
    assert told(retries=1, retry_on=[error]).policy["retry_codes"] == (124,)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"retries": -1}, "retries=-1: a whole number from 0"),
        ({"retries": True}, "retries=True"),
        ({"retries": 1_000_001}, "retries=1000001: a whole number from 0 to 1000000"),
        ({"retry_delay": 10**400}, "retry_delay=1000"),
        ({"retry_delay": float("inf")}, "retry_delay=inf: seconds from 0"),
        ({"retry_delay": -0.1}, "retry_delay=-0.1: seconds from 0"),
        ({"retries": 1, "retry_on": [0]}, "0 is neither an exit code"),
        ({"retries": 1, "retry_on": ["OSError"]}, "'OSError' is neither an exit code"),
        ({"on_lost": "again", "retries": 1}, "on_lost='again': \"retry\""),
        ({"on_lost": "retry"}, "retries=1 or more says how often"),
        ({"memory_limit": "much"}, "memory_limit='much': a number of bytes, such as"),
        ({"memory_limit": 0}, "memory_limit=0: a number of bytes above 0"),
        ({"max_output": -5}, "max_output=-5: a number of bytes above 0"),
        ({"nice": 20}, "nice=20: a whole number from 0 to 19"),
        ({"nice": -1}, "nice=-1"),
    ],
)
def test_what_makes_no_sense_is_refused(said: dict[str, Any], words: str) -> None:
    """When the program is loaded, in a line that names the argument."""
    with pytest.raises(ValueError) as refused:
        told(**said)
    assert words in str(refused.value)
