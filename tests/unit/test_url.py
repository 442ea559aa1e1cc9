"""Which URLs may be told of a job's end."""

import pytest

import mcli


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://127.0.0.1:8080/done",
        "HTTPS://user:pass@[::1]:8443/a/b?c=d#e",
        "https://hooks.internal?x=1",
    ],
)
def test_url_is_taken(url: str) -> None:
    """http and https with a host, whatever follows."""
    mcli.background(on_finish=url)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "/done", "ftp://example.com", "https://", "https:///done", "https://:80/",
        "https://user@/", "https://a b/", "https://example.com/a b", "https://example.com:port/",
        "https://example.com/\n", "https://[zz]/", "mailto:a@example.com", 5, b"https://example.com",
    ],
)  # fmt: skip
def test_url_is_refused_when_the_command_is_decorated(url: object) -> None:
    """What no request can be sent to is a ValueError at once, that says what would be right."""
    with pytest.raises(ValueError, match=r"is no URL to post to: https:// and a host"):
        mcli.background(on_finish=url)  # type: ignore[call-overload]
