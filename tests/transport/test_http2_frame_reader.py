"""Frames are cut out of one space that the socket writes into, and that space is bounded."""

from __future__ import annotations

import pytest

from pyconnector.transport.http2.frame_reader import LEAST_ROOM, SPACE, FrameReader
from pyconnector.web.http2.frames import DATA, HEADER, PING, PREFACE, FrameTooLarge, NoPreface

LONGEST = 256 * 1024


def wire(kind: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream_id.to_bytes(4, "big") + payload


def write(reader: FrameReader, data: bytes, most: int) -> int:
    """As a socket does, which fills as much of the room as it has; return how much."""
    room = reader.room()
    size = min(len(room), len(data), most)
    room[:size] = data[:size]
    reader.filled(size)
    return size


def read_all(reader: FrameReader, data: bytes, most: int) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        data = data[write(reader, data, most) :]
        while reader.has_next:
            frame = reader.next()
            assert frame is not None
            found.append((frame.kind, frame.stream_id, frame.payload))
        assert reader.next() is None
    return found


@pytest.mark.parametrize("most", [1, 9, 1000, SPACE])
def test_frames_are_cut_out_of_whatever_pieces(most: int) -> None:
    bodies = [bytes([at]) * size for at, size in enumerate((0, 1, 300, 2000))]
    if most >= 1000:
        bodies += [b"x" * 50_000, b"y" * LONGEST, b"z" * 100_000]
    expected = [(DATA, at + 1, body) for at, body in enumerate(bodies)]
    reader = FrameReader(LONGEST, preface=PREFACE)
    assert read_all(reader, PREFACE + b"".join(wire(*each) for each in expected), most) == expected
    assert len(reader) == 0


def test_space_holds_one_frame_and_one_read() -> None:
    reader = FrameReader(LONGEST, preface=b"")
    data = wire(DATA, 1, bytes(LONGEST)) + wire(PING, 0, bytes(8)) * 3
    largest = 0
    while data:
        room = reader.room()
        assert len(room) >= LEAST_ROOM
        largest = max(largest, len(reader) + len(room))
        data = data[write(reader, data, 120_000) :]
        while reader.next():
            pass
    assert largest <= HEADER + LONGEST + LEAST_ROOM + SPACE
    assert len(reader.room()) == SPACE, "what was needed for a long frame is given back"


def test_unread_frames_stay_while_more_is_read() -> None:
    reader = FrameReader(LONGEST, preface=b"")
    data = wire(DATA, 1, b"a" * 1000) * 150
    while data:
        data = data[write(reader, data, 20_000) :]
    assert len(reader) == 150 * 1009
    frames = [frame.payload for frame in iter(reader.next, None)]
    assert frames == [b"a" * 1000] * 150


def test_a_frame_that_is_too_long_is_not_gathered() -> None:
    reader = FrameReader(LONGEST, preface=b"")
    write(reader, (LONGEST + 1).to_bytes(3, "big") + bytes(6), 9)
    assert reader.has_next
    assert len(reader.room()) < SPACE
    with pytest.raises(FrameTooLarge):
        reader.next()


def test_what_begins_without_the_preface_is_refused() -> None:
    reader = FrameReader(LONGEST, preface=PREFACE)
    write(reader, PREFACE[:10], 10)
    with pytest.raises(NoPreface):
        write(reader, b"GET / HTTP/1.1\r\n", 100)
