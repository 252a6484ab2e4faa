"""Frames of a send queue put together again are what was written, whatever is lost and however small packets are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.quic.flow.send_queue import FIRST_FRAME, SMALLEST_PIECE, Frame, SendQueue

PLENTY = 1 << 20


def test_a_write_is_one_frame_where_it_fits() -> None:
    queue = SendQueue()
    queue.write(b"hello", True)
    assert queue.next_frame(1000, PLENTY) == (0, b"hello", True)
    assert not queue.has_frame
    assert queue.next_frame(1000, PLENTY) is None
    assert queue.acknowledged()


def test_pieces_are_joined_and_split_at_packet_borders() -> None:
    queue = SendQueue()
    for letter in (b"a", b"b", b"c"):
        queue.write(letter * 100, False)
    assert queue.next_frame(150, PLENTY) == (0, b"a" * 100 + b"b" * 50, False)
    assert queue.next_frame(150, PLENTY) == (150, b"b" * 50 + b"c" * 100, False)
    assert queue.unsent == 0


def test_the_end_alone_is_a_frame_without_data() -> None:
    queue = SendQueue()
    queue.write(b"x", False)
    assert queue.next_frame(100, PLENTY) == (0, b"x", False)
    queue.write(b"", True)
    assert queue.next_frame(-1, PLENTY) is None
    assert queue.next_frame(0, 0) == (1, b"", True)


def test_no_tiny_first_frame_unless_that_is_all() -> None:
    for room in range(SMALLEST_PIECE):
        queue = SendQueue()
        queue.write(bytes(1000), False)
        assert queue.next_frame(room, PLENTY) is None
    for credit in range(FIRST_FRAME):
        queue = SendQueue()
        queue.write(bytes(1000), False)
        assert queue.next_frame(1000, credit) is None
    queue = SendQueue()
    queue.write(b"abc", False)
    assert queue.next_frame(1000, PLENTY) == (0, b"abc", False), "nothing more was written: it must leave"


def test_flow_control_holds_new_data_only() -> None:
    queue = SendQueue()
    queue.write(bytes(100), True)
    frame = queue.next_frame(1000, 60)
    assert frame == (0, bytes(60), False)
    assert queue.next_frame(1000, 0) is None
    queue.lost(frame)
    assert queue.next_frame(1000, 0) == frame
    assert queue.next_frame(1000, 40) == (60, bytes(40), True)


def test_a_lost_first_frame_is_not_split_into_a_tiny_one() -> None:
    queue = SendQueue()
    queue.write(bytes(1000), True)
    frame = queue.next_frame(1000, PLENTY)
    assert frame is not None
    queue.lost(frame)
    assert queue.next_frame(SMALLEST_PIECE - 1, 0) is None
    assert queue.next_frame(SMALLEST_PIECE, 0) == (0, bytes(SMALLEST_PIECE), False)
    assert queue.next_frame(1000, 0) == (SMALLEST_PIECE, bytes(1000 - SMALLEST_PIECE), True)
    assert not queue.acknowledged()
    assert queue.acknowledged()


def test_middles_come_neither_first_nor_last_nor_before_what_was_lost() -> None:
    queue = SendQueue()
    queue.write(bytes(range(100)) * 10, True)
    assert queue.next_middle(300) is None
    first = queue.next_frame(300, PLENTY)
    assert first is not None
    assert queue.next_middle(300) == (300, bytes(range(100)) * 3, False)
    queue.lost(first)
    assert queue.next_middle(300) is None
    assert queue.next_frame(300, PLENTY) == first
    assert queue.next_middle(300) is not None
    assert queue.next_middle(100) is None, "the end belongs to the last frame"
    assert queue.next_frame(300, PLENTY) == (900, bytes(range(100)), True)


def test_a_cleared_queue_has_nothing_to_send() -> None:
    queue = SendQueue()
    queue.write(bytes(1000), True)
    frame = queue.next_frame(500, PLENTY)
    queue.clear()
    assert frame is not None
    assert not queue.has_frame
    assert queue.unsent == 0


@given(
    writes=st.lists(st.binary(max_size=3000), max_size=12),
    rooms=st.lists(st.integers(min_value=0, max_value=1400), min_size=1, max_size=20),
    losses=st.lists(st.booleans(), min_size=1, max_size=20),
)
def test_everything_arrives_whatever_is_lost(writes: list[bytes], rooms: list[int], losses: list[bool]) -> None:
    queue = SendQueue()
    for data in writes:
        queue.write(data, False)
    queue.write(b"", True)
    total = b"".join(writes)
    received = bytearray(len(total))
    seen: set[int] = set()
    in_flight: list[Frame] = []
    ended = False
    step = 0
    while not queue.is_over:
        step += 1
        # Every third packet is whole and arrives, so that the run ends.
        sure = step % 3 == 0
        frame = queue.next_frame(1400 if sure else rooms[step % len(rooms)], PLENTY)
        if frame is not None:
            in_flight.append(frame)
        while in_flight and (sure or len(in_flight) > 4):
            offset, data, ends = in_flight.pop()
            if not sure and losses[step % len(losses)]:
                queue.lost((offset, data, ends))
                continue
            assert offset or ends or len(data) >= min(FIRST_FRAME, len(total))
            received[offset : offset + len(data)] = data
            seen.update(range(offset, offset + len(data)))
            ended = ended or ends
            queue.acknowledged()
    assert bytes(received) == total
    assert len(seen) == len(total)
    assert ended
