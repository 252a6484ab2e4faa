"""The frames of a packet are walked over whatever they are, and those are found that concern streams."""

from __future__ import annotations

import random

import pytest

from pyconnector.transport.quic.qh3_engine.frames import frames_of_streams
from tests.transport.quic.attacker import numbers, reset_frame, stream_frame

LAST = stream_frame(4, b"abc", offset=100)
OTHERS = {
    "padding": bytes(50),
    "ping": numbers(0x01),
    "ack": numbers(0x02, 70_000, 25, 2, 5, 1, 7, 300, 9),
    "ack with congestion marks": numbers(0x03, 70_000, 25, 1, 5, 1, 7, 1, 2, 3),
    "reset": reset_frame(8, 0, 1 << 40),
    "crypto": numbers(0x06, 0, 5) + b"hello",
    "token": numbers(0x07, 3) + b"tok",
    "credit of the connection": numbers(0x10, 1 << 50),
    "credit of streams": numbers(0x12, 1 << 20) + numbers(0x13, 3),
    "blocked": numbers(0x14, 7) + numbers(0x15, 4, 7) + numbers(0x16, 7) + numbers(0x17, 7),
    "connection ID": numbers(0x18, 3, 1, 8) + bytes(8 + 16),
    "retired connection ID": numbers(0x19, 3),
    "path": numbers(0x1A) + bytes(8) + numbers(0x1B) + bytes(8),
    "handshake done": numbers(0x1E),
    "datagram": numbers(0x31, 400) + bytes(400),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_frame_without_data_of_a_stream_is_passed_over(name: str) -> None:
    assert frames_of_streams(OTHERS[name] + LAST) == [(4, 103)]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (numbers(0x08, 4) + b"abc", (4, 3)),
        (numbers(0x0C, 4, 1000) + b"abc", (4, 1003)),
        (numbers(0x0A, 4, 3) + b"abc", (4, 3)),
        (numbers(0x0B, 400_000, 0), (400_000, 0)),
        (numbers(0x0F, 4, 1 << 40, 3) + b"abc", (4, (1 << 40) + 3)),
        (numbers(0x05, 8, 1), (8, 0)),
        (numbers(0x11, 8, 1 << 30), (8, 0)),
    ],
)
def test_what_has_a_stream_kept_is_found(frame: bytes, expected: tuple[int, int]) -> None:
    assert frames_of_streams(LAST + frame) == [(4, 103), expected]


@pytest.mark.parametrize("end", [numbers(0x1C, 1, 0, 2) + b"no", numbers(0x1D, 1, 2) + b"no", numbers(0x30) + b"data"])
def test_a_frame_up_to_the_end_is_the_last(end: bytes) -> None:
    assert frames_of_streams(LAST + end + LAST) == [(4, 103)]


def test_nonsense_ends_the_list_and_no_more() -> None:
    assert frames_of_streams(LAST + numbers(0x3F) + LAST) == [(4, 103)]
    whole = b"".join(OTHERS.values()) + LAST
    for size in range(len(whole)):
        frames_of_streams(whole[:size])
    chance = random.Random(3)
    for _ in range(2000):
        frames_of_streams(chance.randbytes(chance.randrange(100)))
