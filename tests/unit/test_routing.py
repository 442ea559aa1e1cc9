"""Where a body runs: the whole truth table."""

from itertools import product

import pytest

from mcli.routing import Place, decide

FACTS = ("inside_job", "enabled", "auto_route", "detach", "replayable")

TO_THE_DAEMON = {
    # enabled, auto_route, detach: of a command that can be replayed, and is not in a job
    (True, True, False),  # as a matter of course
    (False, False, True),  # asked for in so many words, whatever is set
    (False, True, True),
    (True, False, True),
    (True, True, True),
}


@pytest.mark.parametrize("facts", [*product((False, True), repeat=len(FACTS))], ids=str)
def test_every_case_is_decided_as_the_table_says(facts: tuple[bool, ...]) -> None:
    """Inside a job, or where nothing can be replayed, the body runs here; else by the table."""
    inside_job, *asked, replayable = facts
    goes = not inside_job and replayable and tuple(asked) in TO_THE_DAEMON
    expected: Place = "daemon" if goes else "here"
    assert decide(**dict(zip(FACTS, facts, strict=True))) == expected
