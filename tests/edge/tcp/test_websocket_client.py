"""Frames of the edge as a WebSocket client, taken apart by hand."""

from __future__ import annotations

import os

import pytest
from websockets.frames import Opcode

from pyconnector.edge.visitors.tcp.websocket_client import MAX_FRAME_BYTES, WebSocketCarriage
from pyconnector.web.websocket.frames import FrameError, unmask
from pyconnector.web.websocket.handshake import accept_value, new_key


def frames_of(data: bytes) -> list[tuple[Opcode, bytes]]:
    """Unmask client frames by hand (RFC 6455 5.2)."""
    found = []
    position = 0
    while position < len(data):
        first, second = data[position], data[position + 1]
        assert first & 0x80
        assert second & 0x80
        length = second & 0x7F
        position += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        key = data[position : position + 4]
        position += 4
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(data[position : position + length]))
        position += length
        found.append((Opcode(first & 0x0F), payload))
    return found


def server_frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        return head + bytes((size,)) + payload
    if size < 65536:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 125, 126, 16384, 16385, 300_001])
def test_bytes_of_any_size_become_masked_binary_frames(size: int) -> None:
    data = os.urandom(size)
    frames = frames_of(WebSocketCarriage(os.urandom).to_stream(data))
    assert {opcode for opcode, _ in frames} == {Opcode.BINARY}
    assert b"".join(payload for _, payload in frames) == data
    assert max(len(payload) for _, payload in frames) <= MAX_FRAME_BYTES
    assert len(frames) == -(-size // MAX_FRAME_BYTES)


def test_nothing_becomes_no_frame() -> None:
    assert WebSocketCarriage(os.urandom).to_stream(b"") == b""


@pytest.mark.parametrize("step", [1, 2, 3, 11, 100_000])
def test_payload_comes_out_of_frames_in_pieces_of_any_size(step: int) -> None:
    data = (
        server_frame(2, b"a" * 10)
        + server_frame(9, b"ping")
        + server_frame(1, b"b" * 300, final=False)
        + server_frame(9, b"again")
        + server_frame(0, b"", final=False)
        + server_frame(0, b"c" * 70_000)
        + server_frame(8, b"\x03\xe8bye")
    )
    carriage = WebSocketCarriage(os.urandom)
    payload = b""
    replies = b""
    closed = False
    for start in range(0, len(data), step):
        piece, reply, closed = carriage.from_stream(data[start : start + step])
        payload += piece
        replies += reply
    assert payload == b"a" * 10 + b"b" * 300 + b"c" * 70_000
    assert closed
    assert (Opcode.PONG, b"again") in frames_of(replies)
    # The visitor may still have something to say: the answer to the Close frame is its last word.
    assert frames_of(carriage.to_stream(b"late")) == [(Opcode.BINARY, b"late")]
    assert frames_of(carriage.end()) == [(Opcode.CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going away"])
def test_a_close_frame_is_sent_in_answer_only(payload: bytes) -> None:
    carriage = WebSocketCarriage(os.urandom)
    assert carriage.end() == b"", "half a close: the visitor still receives"
    assert carriage.from_stream(server_frame(8, payload)) == (b"", b"", True)
    assert frames_of(carriage.end()) == [(Opcode.CLOSE, b"\x03\xe8")]


def test_a_close_frame_that_tells_of_a_failure_is_one() -> None:
    with pytest.raises(ValueError, match="failure"):
        WebSocketCarriage(os.urandom).from_stream(server_frame(2, b"half of") + server_frame(8, b"\x03\xf3broken"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x81abcda",  # masked
        b"\xc2\x01a",  # a reserved bit
        b"\x83\x01a",  # an unknown opcode
        b"\x80\x01a",  # a continuation of nothing
        b"\x02\x01a\x82\x01b",  # a message inside another
        b"\x89\x7e\x00\x80",  # a long control frame
        b"\x09\x00",  # a control frame in fragments
        b"\x82\x7f" + b"\xff" * 8,  # a negative length
    ],
)
def test_what_no_server_may_send_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        WebSocketCarriage(os.urandom).from_stream(data)


def test_masking_is_its_own_inverse() -> None:
    data = os.urandom(1001)
    assert unmask(unmask(data, b"\1\2\3\4"), b"\1\2\3\4") == data
    assert unmask(b"\0\0\0\0\0", b"\1\2\3\4") == b"\1\2\3\4\1"


def test_the_accept_value_of_the_rfc() -> None:
    assert accept_value(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert len(new_key(os.urandom)) == 24
