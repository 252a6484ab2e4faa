"""A peer is given up for frames that wait behind gaps, and for none that were delivered, came twice or came late."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.quic.qh3_engine import pieces as qh3_pieces
from pyconnector.transport.quic.qh3_engine.pieces import (
    EVERYTHING,
    EXCUSED_BY,
    HELD_FRAMES,
    OVER,
    RATE,
    UNREADABLE_PACKETS,
    PieceWatch,
)
from tests.transport.quic.attacker import stream_frame

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.packets import PacketReader

ALLOWED = HELD_FRAMES // RATE
EACH = 100


class Plain:
    """In place of a `PacketReader`: packets are not encrypted, and those that begin with a question mark unreadable."""

    def read(self, datagram: bytes) -> bytes | None:
        return None if datagram.startswith(b"?") else datagram

    def passed(self, packets: int) -> None:
        pass


def watch(delivered: dict[int, int]) -> PieceWatch:
    return PieceWatch(cast("PacketReader", Plain()), lambda stream_id: delivered.get(stream_id, 0))


def singles(start: int, stream_id: int = 0) -> bytes:
    """Return a packet with single bytes of a stream."""
    return b"".join(stream_frame(stream_id, b"x", offset=start + 2 * n) for n in range(EACH))


def notes(watch: PieceWatch, packets: list[bytes]) -> int:
    """Return how many packets were noted before the peer was given up."""
    for number, packet in enumerate(packets):
        if watch.note(packet, 1) is not None:
            return number + 1
    return len(packets)


@pytest.mark.parametrize("streams", [1, 50])
def test_single_bytes_behind_gaps_are_too_many_at_the_bound(streams: int) -> None:
    packets = [singles(1 + 2 * EACH * n, 4 * (n % streams)) for n in range(100)]
    given_up = notes(watch({}), packets)
    assert ALLOWED < given_up * EACH <= ALLOWED + 4 * EACH


def test_what_was_delivered_meanwhile_counts_no_more() -> None:
    delivered = {0: 0}
    it = watch(delivered)
    for number in range(1000):
        assert it.note(singles(1 + 2 * EACH * number), 1) is None
        if number % 10 == 9:  # the gaps were filled
            delivered[0] = 2 * EACH * (number + 1) + 1
    assert len(it._waiting) < ALLOWED


@pytest.mark.parametrize("beginning", [1 << 30, EVERYTHING])
def test_what_was_delivered_already_or_is_not_wanted_does_not_count(beginning: int) -> None:
    assert notes(watch({0: beginning}), [singles(1)] * 1000) == 1000


def test_a_frame_that_comes_again_is_one_frame() -> None:
    assert notes(watch({}), [singles(1)] * 1000) == 1000


def test_late_frames_of_streams_that_are_over_are_excused_a_few_at_a_time() -> None:
    late, honest = stream_frame(0, b"late"), stream_frame(4, b"data")
    it = watch({0: OVER, 4: 4})
    assert (
        notes(it, [late if n % (2 * EXCUSED_BY) == 0 else honest for n in range(300 * EXCUSED_BY)]) == 300 * EXCUSED_BY
    )
    assert it._late <= 1
    assert notes(it, [late] * 10_000) < ALLOWED * 1.5


def test_packets_that_cannot_be_looked_into_are_too_many_at_last() -> None:
    assert notes(watch({}), [b"?"] * 100) == UNREADABLE_PACKETS + 1
    it = watch({})
    assert all(it.note(b"?", 0) is None for _ in range(1000)), "what the core could not read either was not the peer's"


def test_one_datagram_in_so_many_is_chosen_and_none_can_be_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_pieces, "random", random.Random(5))
    it = watch({})
    seen, chance = [], random.Random(6)
    at = 0
    while at < 100_000:
        count = chance.randrange(1, 80)
        rest = count
        while (chosen := it.choose(rest)) is not None:
            seen.append(at + count - rest + chosen)
            rest -= chosen + 1
        at += count
    assert len(set(seen)) == len(seen)
    assert len(seen) == pytest.approx(at / RATE, rel=0.05)
    assert {number % RATE for number in seen} == set(range(RATE))


def test_a_packet_in_which_the_core_finds_nothing_new_does_not_count() -> None:
    it = watch({})
    for number in range(1000):
        assert it.note(singles(1 + 2 * EACH * number), 0) is None
