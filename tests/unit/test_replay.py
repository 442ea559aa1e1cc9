"""A replayed program: which body's value is the result."""

from mcli.invocation import Replay
from mcli.replay import Replaying


def replaying(replay: Replay | None) -> Replaying:
    return Replaying(replay, reach=lambda: None, agree=lambda _seconds, _policy: None)


def test_first_body_is_the_one_whose_value_counts() -> None:
    """A body that another one calls is not the first, though it returns first."""
    here = replaying(None)
    assert here.enter()
    assert not here.enter()
    here.leave("outer")
    assert (here.returned, here.value) == (True, "outer")


def test_nothing_counts_before_the_call_is_reached() -> None:
    """What a replay passes on its way to the call is no result."""
    here = replaying(Replay(path=("load",), parameters="{}"))
    assert not here.enter()
    here.arrive(("load",), "{}")
    assert here.enter()
