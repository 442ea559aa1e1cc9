"""Frames: what is sent comes out again, in whatever pieces it arrives."""

import json
from typing import Any

import pytest

from mcli import frames

SENT: list[tuple[int, dict[str, Any]]] = [
    (frames.PING, {"protocol": 1}),
    (frames.SUBMIT, {"argv": ["ä", "\udcff", "\ud800"], "nested": [None, 1.5, True]}),
    (frames.PAUSED, {}),
]


def test_whole_frames_come_out_as_they_went_in() -> None:
    """Several frames in one piece come out one by one, in order, with nothing left."""
    decoder = frames.Decoder()
    found = list(decoder.feed(b"".join(frames.encode(*each) for each in SENT)))
    assert [(kind, json.loads(payload)) for kind, payload in found] == SENT
    assert list(decoder.feed(b"")) == []


def test_frames_may_arrive_byte_by_byte() -> None:
    """A frame comes out with its last byte, and not before."""
    decoder = frames.Decoder()
    whole = [frames.encode(*each) for each in SENT]
    ends = {sum(map(len, whole[: at + 1])) for at in range(len(whole))}
    for at, byte in enumerate(b"".join(whole), start=1):
        assert len(list(decoder.feed(bytes([byte])))) == (at in ends)


def test_output_is_carried_as_bytes() -> None:
    """Output is not text: any bytes survive, with their stream and the offset to go on from."""
    data = bytes(range(256))
    (kind, payload) = next(frames.Decoder().feed(frames.encode_output(2, 1 << 40, data)))
    assert kind == frames.OUTPUT
    assert frames.decode_output(payload) == (2, 1 << 40, data)


def test_payloads_are_ascii() -> None:
    """What no encoding can carry is escaped, so that every frame can be sent."""
    assert frames.encode(1, {"word": "\udcff"}).endswith(b'{"word":"\\udcff"}')


def test_another_protocol_is_found_out_at_once() -> None:
    """A length that no frame has is refused before its payload is waited for."""
    greeting = b"GET / HTTP/1.1\r\n"
    with pytest.raises(ValueError, match="not the mcli protocol"):
        list(frames.Decoder().feed(greeting))
    with pytest.raises(ValueError, match=f"a frame of {frames.LENGTH_MAX + 1} bytes"):
        list(frames.Decoder().feed(frames.HEADER.pack(frames.LENGTH_MAX + 1, frames.PING)))


def test_frames_before_a_wrong_one_are_not_lost() -> None:
    """What came whole before the other end went wrong is still given."""
    decoder = frames.Decoder()
    found = decoder.feed(frames.encode(frames.PING, {}) + b"\xff" * 5)
    assert next(found) == (frames.PING, b"{}")
    with pytest.raises(ValueError):
        next(found)


def test_kinds_are_numbers_of_their_own() -> None:
    """No two kinds of frame share a number, and each fits its byte."""
    words = {name: value for name, value in vars(frames).items() if isinstance(value, int)}
    del words["LENGTH_MAX"]
    assert len(set(words.values())) == len(words)
    assert all(0 < number < 256 for number in words.values())
