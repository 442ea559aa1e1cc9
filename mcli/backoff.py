"""
How long to wait before something that failed is tried again.
"""

from random import Random


def backoff_s(
    attempt: int, *, base_s: float, cap_s: float, rng: Random, least: float = 0.0
) -> float:
    """Seconds to wait after attempt number *attempt* has failed.

    The bound doubles with each attempt, and the wait is drawn uniformly below it ("full
    jitter"), so that what failed together does not come back together.

    Args:
        attempt: Attempts so far. The first is 1.
        base_s: Bound after the first attempt, in seconds.
        cap_s: Bound that no wait exceeds, in seconds.
        rng: Source of chance; tests pass a seeded one.
        least: The shortest wait, as a part of the bound.

    Returns:
        Seconds, from *least* of the bound to ``min(cap_s, base_s * 2 ** (attempt - 1))``.

    Raises:
        ValueError: *attempt* is below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt={attempt}: the first attempt is 1")
    doublings = min(attempt - 1, 64)  # beyond, a float has no room, and no cap is that high
    bound = min(cap_s, base_s * 2**doublings)
    return rng.uniform(least * bound, bound)
