"""How long the daemon waits before it tries again."""

from mcli.daemon.patience import AGAIN_S, pause_s


def test_pauses_grow_to_the_longest_and_stay_there() -> None:
    """However often it was tried: a job may have waited for room for days."""
    pauses = [pause_s(tries) for tries in (0, 1, 2, 10, 1024, 1_000_000)]
    assert pauses == [0.02, 0.04, 0.08, AGAIN_S, AGAIN_S, AGAIN_S]
