"""HTTP/3's frames, settings and datagram numbers: whole, in pieces, damaged, and never kept beyond a bound."""

from __future__ import annotations

import contextlib
import random

import pytest
from aioquic.h3.connection import encode_frame as peer_frame
from aioquic.h3.connection import encode_settings as peer_settings
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.web.http3.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    MAX_CONTROL,
    MAX_SECTION,
    PASSED_OVER,
    SETTINGS,
    ErrorCode,
    FrameReader,
    Http3Error,
    control_reader,
    encode_frame,
    message_reader,
)
from pyconnector.web.http3.settings import encode_datagram, encode_settings, parse_datagram, parse_settings
from pyconnector.web.varints import MAX_INTEGER, encode_integer
from tests.support.wire.strategies import chunked, cuts, damage, damaged

frames_of_a_message = st.lists(
    st.tuples(st.sampled_from((DATA, HEADERS, 0x21, 0x40, MAX_INTEGER)), st.binary(max_size=300)), max_size=8
)


def read(reader: FrameReader, pieces: list[bytes], most: int = 1 << 16) -> list[tuple[int, bytes]]:
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next(most)) is not None:
            found.append(frame)
    return found


def joined(frames: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Bodies together, as a reader of any pieces sees them."""
    result: list[tuple[int, bytes]] = []
    for kind, payload in frames:
        if kind not in (DATA, HEADERS):
            continue
        if kind == DATA and result and result[-1][0] == DATA:
            result[-1] = DATA, result[-1][1] + payload
        elif kind == HEADERS or payload:
            result.append((kind, payload))
    return result


@given(frames_of_a_message, cuts, st.integers(1, 500))
def test_frames_are_read_in_any_pieces(frames: list[tuple[int, bytes]], places: list[int], most: int) -> None:
    wire = b"".join(peer_frame(kind, payload) for kind, payload in frames)
    assert wire == b"".join(encode_frame(kind, payload) for kind, payload in frames)
    reader = message_reader()
    assert joined(read(reader, chunked(wire, places), most)) == joined(frames)
    assert reader.is_between


@given(frames_of_a_message, damage)
def test_damaged_frames_are_read_or_refused(frames: list[tuple[int, bytes]], rng: random.Random) -> None:
    wire = damaged(b"".join(encode_frame(kind, payload) for kind, payload in frames), rng)
    for reader in (message_reader(), control_reader()):
        with contextlib.suppress(Http3Error):
            read(reader, [wire])


@pytest.mark.parametrize("kind", [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xD])
def test_messages_hold_no_frames_of_control(kind: int) -> None:
    with pytest.raises(Http3Error) as caught:
        read(message_reader(), [encode_frame(kind, b"")])
    assert caught.value.code is ErrorCode.FRAME_UNEXPECTED


@pytest.mark.parametrize("kind", [0x0, 0x1, 0x2, 0x5, 0x6, 0x8, 0x9])
def test_control_holds_no_frames_of_messages(kind: int) -> None:
    with pytest.raises(Http3Error) as caught:
        read(control_reader(), [encode_frame(kind, b"")])
    assert caught.value.code is ErrorCode.FRAME_UNEXPECTED


@pytest.mark.parametrize(
    ("reader", "kind", "limit"), [(message_reader, HEADERS, MAX_SECTION), (control_reader, SETTINGS, MAX_CONTROL)]
)
def test_frames_beyond_their_bound_are_refused_before_they_come(reader: object, kind: int, limit: int) -> None:
    made = reader()  # type: ignore[operator]
    assert read(made, [encode_frame(kind, bytes(limit))]) == [(kind, bytes(limit))]
    made.feed(encode_integer(kind) + encode_integer(limit + 1))
    with pytest.raises(Http3Error) as caught:
        made.next(1)
    assert caught.value.code is ErrorCode.EXCESSIVE_LOAD


def test_unknown_frames_are_not_kept() -> None:
    reader = message_reader()
    reader.feed(encode_integer(0x21) + encode_integer(MAX_INTEGER))
    for _ in range(100):
        reader.feed(bytes(65_536))
        while (frame := reader.next(1)) is not None:
            assert frame == (PASSED_OVER, b"")
        assert len(reader._data) - reader._at == 0
    assert not reader.is_between


@given(st.dictionaries(st.integers(6, MAX_INTEGER).filter(lambda key: key not in (8, 0x33)), st.integers(0, 99)))
def test_settings_come_back(settings: dict[int, int]) -> None:
    assert parse_settings(encode_settings(settings)) == settings


def test_settings_of_a_peer_are_understood() -> None:
    assert parse_settings(peer_settings({1: 4096, 7: 16, 8: 1, 0x33: 1})) == {1: 4096, 7: 16, 8: 1, 0x33: 1}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x33\x01\x33\x01", ErrorCode.SETTINGS_ERROR),
        (b"\x33\x02", ErrorCode.SETTINGS_ERROR),
        (b"\x08\x02", ErrorCode.SETTINGS_ERROR),
        (b"\x02\x00", ErrorCode.SETTINGS_ERROR),
        (b"\x33", ErrorCode.FRAME_ERROR),
        (b"\x33\x40", ErrorCode.FRAME_ERROR),
    ],
)
def test_settings_that_cannot_be_are_refused(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(Http3Error) as caught:
        parse_settings(payload)
    assert caught.value.code is code


@given(st.integers(0, 2**60 - 1), st.binary(max_size=100))
def test_datagrams_name_their_stream(quarter: int, payload: bytes) -> None:
    assert parse_datagram(encode_datagram(quarter * 4, payload)) == (quarter * 4, payload)


@given(st.binary(max_size=20))
def test_any_datagram_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Http3Error):
        stream_id, payload = parse_datagram(data)
        assert stream_id % 4 == 0
        assert data.endswith(payload)


@pytest.mark.parametrize("data", [b"", b"\x40", encode_integer(2**60)])
def test_datagrams_of_no_stream_are_refused(data: bytes) -> None:
    with pytest.raises(Http3Error) as caught:
        parse_datagram(data)
    assert caught.value.code is ErrorCode.DATAGRAM_ERROR


def test_goaway_is_kept_whole() -> None:
    assert read(control_reader(), [encode_frame(GOAWAY, b"\x04")[:2], b"\x04"]) == [(GOAWAY, b"\x04")]
