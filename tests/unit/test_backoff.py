"""How long to wait before another attempt."""

from random import Random

import pytest

from mcli.backoff import backoff_s


def test_bound_doubles_up_to_the_cap() -> None:
    """Each wait is below its bound, and over many draws comes close to it and to 0."""
    for attempt, bound_s in ((1, 5.0), (2, 10.0), (5, 80.0), (6, 100.0), (5000, 100.0)):
        rng = Random(attempt)
        waits = [backoff_s(attempt, base_s=5, cap_s=100, rng=rng) for _ in range(1000)]
        assert 0 <= min(waits) < 0.05 * bound_s
        assert 0.95 * bound_s < max(waits) <= bound_s


def test_same_chance_same_wait() -> None:
    """The only chance in it is the one it is given."""
    first, second = (backoff_s(3, base_s=1, cap_s=9, rng=Random(7)) for _ in range(2))
    assert first == second


def test_attempts_are_counted_from_1() -> None:
    """There is no wait after no attempt."""
    with pytest.raises(ValueError, match="the first attempt is 1"):
        backoff_s(0, base_s=1, cap_s=9, rng=Random(1))
