"""Sizes and durations as people write them."""

import pytest

from mcli.amount import duration, size


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", 1),
        ("500 B", 500),
        ("500MB", 500_000_000),
        ("1kB", 1000),
        ("1K", 1024),
        ("2GiB", 2 << 30),
        ("1.5g", 3 << 29),
        (" 1 TiB ", 1 << 40),
        ("0", 0),
    ],
)
def test_size(text: str, wanted: int) -> None:
    """KB is 1000, KiB and K are 1024, whatever the case."""
    assert size(text) == wanted


@pytest.mark.parametrize("text", ["", "many", "1 XB", "-1", "1 GiBs", "1e3", "9" * 400])
def test_no_size(text: str) -> None:
    """What is no size is refused, with an example of one."""
    with pytest.raises(ValueError, match="such as 500MB or 2GiB"):
        size(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("5 min", 300),
        ("1.5h", 5400),
        ("7d", 604800),
        ("1w", 604800),
    ],
)
def test_duration(text: str, wanted: float) -> None:
    """Seconds unless it says otherwise."""
    assert duration(text) == wanted


@pytest.mark.parametrize("text", ["", "soon", "7 years", "-7d", "d"])
def test_no_duration(text: str) -> None:
    """What is no duration is refused, with an example of one."""
    with pytest.raises(ValueError, match="such as 90s, 12h or 7d"):
        duration(text)
