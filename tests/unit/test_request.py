"""JSON bodies, read strictly."""

import pytest

from mcli.endpoints.request import DEPTH_MAX, parse
from mcli.errors import RequestError


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", {}),
        (b" \n", {}),
        (b"{}", {}),
        (
            b'{"a": [1, 2.5, null, true, "\\u00e4\\ud83d\\ude00"]}',
            {"a": [1, 2.5, None, True, "ä😀"]},
        ),
    ],
)
def test_object(body: bytes, found: object) -> None:
    """An object comes as it is; nothing is an empty one."""
    assert parse(body) == found


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": 1', "must be JSON"),
        (b'{"a": 1} {}', "must be JSON"),
        (b"{'a': 1}", "must be JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "must be JSON"),
        (b'{"a": 1, "a": 1}', "'a' stands there twice"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' stands there twice"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"\\udfff": 1}', "surrogates"),
        (b'{"a": "\xff"}', "must be JSON"),
        (b"\xef\xbb\xbf{}", "must be JSON"),
        ('{"a": 1}'.encode("utf-16"), "must be JSON"),
        (b'{"a": ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", "levels deep"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
    ],
)
def test_what_may_be_understood_in_two_ways_is_refused(body: bytes, why: str) -> None:
    """What is more than JSON says, or less, is told in one line."""
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
