from __future__ import annotations

import socket
import struct

import pytest

from pyconnector.transport.udp.batch import (
    MAX_SEGMENTS,
    MAX_TRAIN_BYTES,
    RECEIVED_WHOLE,
    UDP_GRO,
    UDP_SEGMENT,
    gso_control,
    received_segment_size,
    run_end,
    split_segments,
)


def sized(*sizes: int, to: str = "a") -> list[tuple[bytes, object]]:
    return [(b"x" * size, to) for size in sizes]


@pytest.mark.parametrize(
    ("datagrams", "end"),
    [
        (sized(1200), 1),
        (sized(1200, 1200, 1200), 3),
        (sized(1200, 1200, 300, 1200), 3),
        (sized(300, 1200), 1),
        (sized(1200, 0, 1200), 1),
        (sized(0, 0), 1),
        (sized(9, 9) + sized(9, to="b"), 2),
        (sized(*[100] * (MAX_SEGMENTS + 1)), MAX_SEGMENTS),
        (sized(*[1452] * 60), MAX_TRAIN_BYTES // 1452),
        (sized(65_507, 65_507), 1),
    ],
)
def test_run_ends_where_one_call_must(datagrams: list[tuple[bytes, object]], end: int) -> None:
    assert run_end(datagrams, 0) == end


def test_run_starts_anywhere() -> None:
    assert run_end(sized(9, 5, 5, 4), 1) == 4


def test_control_message_names_the_segment_size() -> None:
    assert gso_control(1200) == [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", 1200))]


@pytest.mark.parametrize(
    ("control", "size"),
    [
        ([], RECEIVED_WHOLE),
        ([(socket.IPPROTO_UDP, UDP_GRO, struct.pack("@i", 1200))], 1200),
        ([(socket.IPPROTO_IP, UDP_GRO, struct.pack("@i", 1200))], RECEIVED_WHOLE),
        ([(socket.IPPROTO_UDP, UDP_GRO, b"\x01")], RECEIVED_WHOLE),
        ([(socket.IPPROTO_UDP, UDP_GRO, struct.pack("@i", 0))], RECEIVED_WHOLE),
    ],
)
def test_segment_size_comes_from_its_own_control_message(control: list[tuple[int, int, bytes]], size: int) -> None:
    assert received_segment_size(control) == size


def test_a_train_is_cut_into_copies() -> None:
    buffer = bytearray(b"aabbc")
    pieces = split_segments(memoryview(buffer), 2)
    buffer[:] = b"zzzzz"
    assert pieces == [b"aa", b"bb", b"c"]
