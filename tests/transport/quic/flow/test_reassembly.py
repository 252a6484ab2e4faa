"""Whatever order, overlap and size the pieces have, the bytes come out once and in order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.quic.flow.reassembly import Reassembly


def test_a_gap_holds_back_what_follows() -> None:
    held = Reassembly()
    held.insert(5, b"fghij")
    assert held.take(0) == b""
    held.insert(0, b"abcde")
    assert held.take(0) == b"abcdefghij"
    assert len(held) == 0


def test_overlaps_are_kept_once() -> None:
    held = Reassembly()
    held.insert(2, b"cd")
    held.insert(6, b"gh")
    held.insert(1, b"bcdefghi")
    held.insert(3, b"def")
    assert held.take(1) == b"bcdefghi"
    assert len(held) == 0


def test_what_was_delivered_already_is_dropped() -> None:
    held = Reassembly()
    held.insert(0, b"abcdef")
    assert held.take(4) == b"ef"
    held.insert(0, b"abc")
    assert held.take(6) == b""
    assert len(held) == 0


@given(seed=st.integers(), size=st.integers(min_value=1, max_value=300))
def test_any_order_of_overlapping_pieces(seed: int, size: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(size)
    pieces = [(start, data[start : start + 7]) for start in range(0, size, 5)]
    pieces += [(start, data[start : start + chance.randrange(1, 50)]) for start in chance.choices(range(size), k=20)]
    chance.shuffle(pieces)
    held, offset, out = Reassembly(), 0, b""
    for start, piece in pieces:
        held.insert(start, piece)
        assert len(held) <= size
        taken = held.take(offset)
        out += taken
        offset += len(taken)
    assert out == data
    assert len(held) == 0
