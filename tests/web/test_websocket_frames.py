from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import apply_mask

from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import Control, FrameDecoder, FrameError, Piece, unmask
from pyconnector.web.websocket.handshake import accept_value
from tests.support.peers.frames import Frame, masked, read_frames


def messages(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """Messages and control frames in the order in which they ended."""
    decoder = FrameDecoder()
    found: list[tuple[int, bytes]] = []
    message = b""
    begun = False
    for data in pieces:
        for item in decoder.feed(data):
            if isinstance(item, Control):
                found.append((item.opcode, item.payload))
                continue
            assert item.first is not begun
            begun = not item.last
            message += item.payload
            if item.last:
                found.append((item.opcode, message))
                message = b""
    assert not decoder.is_within
    return found


def test_frames_are_read_the_same_however_they_are_cut() -> None:
    wire = (
        masked(frames.BINARY, b"hello")
        + masked(frames.TEXT, b"a", fin=False)
        + masked(frames.PING, b"ping")
        + masked(frames.CONTINUATION, b"", fin=False)
        + masked(frames.CONTINUATION, b"bc", key=b"\0\0\0\0")
        + masked(frames.BINARY)
        + masked(frames.PONG)
        + masked(frames.BINARY, bytes(range(200)))
        + masked(frames.CLOSE, b"\x03\xe8bye")
    )
    wanted = [
        (frames.BINARY, b"hello"),
        (frames.PING, b"ping"),
        (frames.TEXT, b"abc"),
        (frames.BINARY, b""),
        (frames.PONG, b""),
        (frames.BINARY, bytes(range(200))),
        (frames.CLOSE, b"\x03\xe8bye"),
    ]
    assert messages([wire]) == wanted
    assert messages([wire[at : at + 1] for at in range(len(wire))]) == wanted
    for at in range(1, len(wire)):
        assert messages([wire[:at], wire[at:]]) == wanted


@pytest.mark.parametrize("size", [125, 126, 127, 511, 512, 513, 65535, 65536, 300_001])
def test_any_size_passes(size: int) -> None:
    payload = os.urandom(size)
    wire = masked(frames.BINARY, payload, key=os.urandom(4))
    assert messages([wire]) == [(frames.BINARY, payload)]
    assert messages([wire[:7], wire[7:1009], wire[1009:]]) == [(frames.BINARY, payload)]


def test_a_large_message_is_never_held() -> None:
    decoder = FrameDecoder()
    header = b"\x82\xff" + (1 << 40).to_bytes(8) + b"abcd"
    assert decoder.feed(header) == []
    for _ in range(3):
        [piece] = decoder.feed(bytes(65536))
        assert isinstance(piece, Piece)
        assert len(piece.payload) == 65536
        assert not piece.last
    assert decoder._held == b""


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x82\x05hello", 1002),  # not masked
        (b"\xc2\x80abcd", 1002),  # reserved bits
        (b"\xa2\x80abcd", 1002),
        (b"\x92\x80abcd", 1002),
        (b"\x83\x80abcd", 1002),  # unknown opcodes
        (b"\x87\x80abcd", 1002),
        (b"\x8b\x80abcd", 1002),
        (b"\x8f\x80abcd", 1002),
        (b"\x80\x80abcd", 1002),  # a continuation of nothing
        (b"\x02\x80abcd\x82\x80abcd", 1002),  # a message within a message
        (b"\x09\x80abcd", 1002),  # a fragmented ping
        (b"\x89\xfe\x00\x7eabcd", 1002),  # a long ping
        (b"\x82\xfe\x00\x7dabcd", 1002),  # lengths that are not the shortest form
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xffabcd", 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd", 1002),  # the highest bit of a length
        (masked(frames.CLOSE, b"\x03"), 1002),
        (masked(frames.CLOSE, (999).to_bytes(2)), 1002),
        (masked(frames.CLOSE, (1005).to_bytes(2)), 1002),
        (masked(frames.CLOSE, (1006).to_bytes(2)), 1002),
        (masked(frames.CLOSE, (2999).to_bytes(2)), 1002),
        (masked(frames.CLOSE, (5000).to_bytes(2)), 1002),
        (masked(frames.CLOSE, b"\x03\xe8\xff"), 1007),
    ],
)
def test_what_a_client_may_not_send(wire: bytes, code: int) -> None:
    for cut in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        decoder = FrameDecoder()
        with pytest.raises(FrameError) as caught:  # noqa: PT012 - whichever piece shows it
            for data in cut:
                decoder.feed(data)
        assert caught.value.code == code
        assert caught.value.reason.isprintable()


@given(st.binary(max_size=3000), st.binary(min_size=4, max_size=4))
def test_unmasking_agrees_with_another_implementation(data: bytes, key: bytes) -> None:
    assert unmask(data, key) == apply_mask(data, key)
    assert unmask(unmask(data, key), key) == data


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_raise_anything_but_a_frame_error(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for data in pieces:
            decoder.feed(data)
            assert len(decoder._held) <= 14 + frames.MAX_CONTROL
    except FrameError as error:
        assert error.code in (1002, 1007)  # noqa: PT017 - refusing is one of two right answers


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_of_a_server(size: int) -> None:
    payload = os.urandom(size)
    assert read_frames(frames.frame(frames.BINARY, payload)) == [Frame(frames.BINARY, payload, True)]
    assert read_frames(frames.frame(frames.TEXT, payload, fin=False)) == [Frame(frames.TEXT, payload, False)]


def test_close_frames() -> None:
    assert frames.close_frame(1005) == b"\x88\x00"
    assert frames.close_frame(1000, "bye") == b"\x88\x05\x03\xe8bye"
    long = frames.close_frame(1011, "ü" * 100)
    assert len(long) == 2 + 2 + 122
    long[4:].decode()
    assert frames.close_code(b"") == 1005
    assert frames.close_code(b"\x03\xe9 because") == 1001


def test_the_accept_value_is_the_one_of_the_rfc() -> None:
    assert accept_value(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_nothing_follows_a_close_frame() -> None:
    later = b"\xff" * 20  # which is no frame
    decoder = FrameDecoder()
    assert decoder.feed(masked(frames.CLOSE, b"\x03\xe8") + later) == [Control(frames.CLOSE, b"\x03\xe8")]
    assert decoder.feed(later) == []
