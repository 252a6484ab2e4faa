"""Bodies with trailers: whole, in every pieces, damaged, too large."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.trailers import (
    MAX_DATA_BYTES,
    MAX_TRAILER_BYTES,
    FramedBodyDecoder,
    encode_data,
    encode_trailers,
)
from tests.support.wire.strategies import chunked, cuts, damaged, every_chunking, header_lists

TRAILERS = [(b"grpc-status", b"5"), (b"Grpc-Message", b"not \xc3\xa4 there"), (b"x-bin", b""), (b"x-bin", b"2")]
WHOLE = encode_data(b"hello ") + encode_data(b"world") + encode_trailers(TRAILERS)


def decode(pieces: list[bytes]) -> tuple[bytes, FramedBodyDecoder]:
    decoder = FramedBodyDecoder()
    body = b""
    for at, piece in enumerate(pieces):
        body += decoder.feed(piece)
        if decoder.finished:
            assert not any(pieces[at + 1 :])
            break
    return body, decoder


def test_the_frames_on_the_wire() -> None:
    assert encode_data(b"ab") == b"\0\0\0\0\2ab"
    assert encode_trailers([(b"a", b"b")]) == b"\1\0\0\0\5YQ:Yg"
    assert encode_trailers([]) == b"\1\0\0\0\0"


def test_a_body_comes_back_in_whatever_pieces() -> None:
    for pieces in every_chunking(WHOLE):
        body, decoder = decode(pieces)
        assert body == b"hello world"
        assert decoder.trailers == TRAILERS
        assert decoder.leftover == b""


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), header_lists, cuts)
def test_every_body_survives(pieces: list[bytes], trailers: list[tuple[bytes, bytes]], places: list[int]) -> None:
    trailers = [field for field in trailers if not field[0].lower().startswith(b"cf-")]
    wire = b"".join(map(encode_data, pieces)) + encode_trailers(trailers)
    body, decoder = decode(chunked(wire, places))
    assert body == b"".join(pieces)
    assert decoder.trailers == trailers


def test_data_goes_through_before_its_frame_is_whole() -> None:
    decoder = FramedBodyDecoder()
    assert decoder.feed(encode_data(bytes(1000))[:105]) == bytes(100)
    assert not decoder.finished


def test_a_cut_off_body_never_finishes() -> None:
    for end in range(len(WHOLE)):
        decoder = FramedBodyDecoder()
        decoder.feed(WHOLE[:end])
        assert not decoder.finished


def test_what_follows_the_trailers_is_kept_apart() -> None:
    decoder = FramedBodyDecoder()
    assert decoder.feed(WHOLE + b"more") == b"hello world"
    assert decoder.leftover == b"more"
    with pytest.raises(RuntimeError):
        decoder.feed(b"x")


@pytest.mark.parametrize(
    "wire",
    [
        b"\0\0\0\0\0",
        b"\0" + (MAX_DATA_BYTES + 1).to_bytes(4, "big"),
        b"\1" + (MAX_TRAILER_BYTES + 1).to_bytes(4, "big"),
        b"\2\0\0\0\1a",
        b"\1\0\0\0\3!:!",
        b"\1\0\0\0\5YQ:Cg",  # a line feed
        b"HTTP/1.1 200",
    ],
)
def test_what_is_no_framed_body_is_refused_for_good(wire: bytes) -> None:
    decoder = FramedBodyDecoder()
    with pytest.raises(ProtocolError):
        decoder.feed(wire)
    with pytest.raises(ProtocolError):
        decoder.feed(encode_trailers([]))


def test_what_cannot_be_framed_is_not() -> None:
    for piece in (b"", bytes(MAX_DATA_BYTES + 1)):
        with pytest.raises(ProtocolError):
            encode_data(piece)
    for trailers in ([(b"a b", b"")], [(b"a", b"1\r\nb: 2")], [(b"a", bytes(40) * 3000)], [(b"a", b"x" * 70_000)]):
        with pytest.raises(ProtocolError):
            encode_trailers(trailers)


def test_what_edge_and_connector_say_to_each_other_is_no_trailer() -> None:
    body, decoder = decode([encode_trailers([(b"cf-int-x", b"1"), (b":status", b"200"), (b"a", b"b")])])
    assert (body, decoder.trailers) == (b"", [(b"a", b"b")])


@given(st.integers(0, (1 << 32) - 1))
def test_damage_raises_nothing_but_protocol_errors(seed: int) -> None:
    rng = random.Random(seed)
    wire = damaged(WHOLE, rng)
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        decoder = FramedBodyDecoder()
        try:
            for piece in pieces:
                decoder.feed(piece)
                if decoder.finished:
                    break
        except ProtocolError:
            pass
