"""Openings of streams: the recorded ones, every chunking, the library's opinion, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.capnp_format import schemas
from pyconnector.protocol.capnp_format.framing import read_frame
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams import connect_codec
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import (
    DATA_SIGNATURE,
    MAX_OPENING_BYTES,
    RPC_SIGNATURE,
    VERSION,
    ConnectResponseDecoder,
    OpeningDecoder,
    RpcOpening,
    encode_connect_request,
    encode_connect_response,
    encode_rpc_opening,
)
from tests.support.wire import strategies
from tests.support.wire.vectors import vectors
from tests.support.wire.wire import PREAMBLE, framed, illegal_openings, raw_opening, words

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = {"http": ConnectionType.HTTP, "ws": ConnectionType.WEBSOCKET, "tcp": ConnectionType.TCP}


def pairs(metadata: list[list[str]] | None) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((key.encode(), value.encode()) for key, value in metadata or ())


REQUESTS = [
    (
        bytes.fromhex(case["hex"]),
        ConnectRequest(dest=case["dest"], type=TYPES[case["type"]], metadata=pairs(case["metadata"])),
    )
    for case in vectors("streams")["connect_requests"]
]
RESPONSES = [
    (
        bytes.fromhex(case["hex"]),
        ConnectResponse(error=case["error"] or "", metadata=pairs(case["metadata"])),
    )
    for case in vectors("streams")["connect_responses"]
]


def feed(decoder: Any, pieces: list[bytes]) -> tuple[Any, bytes]:
    """The value, and everything that is left for the payload."""
    value = None
    rest = b""
    for piece in pieces:
        if value is None:
            value = decoder.feed(piece)
        else:
            rest += piece
    return value, decoder.leftover + rest


@pytest.mark.parametrize(("raw", "value"), REQUESTS)
def test_recorded_requests_are_understood_in_any_pieces(raw: bytes, value: ConnectRequest) -> None:
    for pieces in strategies.every_chunking(raw + b"payload", splits=256):
        assert feed(OpeningDecoder(), pieces) == (value, b"payload")


@pytest.mark.parametrize(("raw", "value"), RESPONSES)
def test_recorded_responses_are_understood_in_any_pieces(raw: bytes, value: ConnectResponse) -> None:
    for pieces in strategies.every_chunking(raw + b"payload", splits=256):
        assert feed(ConnectResponseDecoder(), pieces) == (value, b"payload")


def oracle_request(message: bytes) -> ConnectRequest:
    with schemas.stream().ConnectRequest.from_bytes(message) as root:
        return ConnectRequest(
            dest=root.dest,
            type=ConnectionType(root.type.raw),
            metadata=tuple((entry.key.encode(), entry.val.encode()) for entry in root.metadata),
        )


def oracle_response(message: bytes) -> ConnectResponse:
    with schemas.stream().ConnectResponse.from_bytes(message) as root:
        return ConnectResponse(
            error=root.error, metadata=tuple((entry.key.encode(), entry.val.encode()) for entry in root.metadata)
        )


@pytest.mark.parametrize("value", [value for _, value in REQUESTS])
def test_the_library_reads_our_requests(value: ConnectRequest) -> None:
    raw = encode_connect_request(value)
    assert raw[:8] == DATA_SIGNATURE + VERSION
    assert oracle_request(raw[8:]) == value


@pytest.mark.parametrize("value", [value for _, value in RESPONSES])
def test_the_library_reads_our_responses(value: ConnectResponse) -> None:
    raw = encode_connect_response(value)
    assert raw[:8] == DATA_SIGNATURE + VERSION
    assert oracle_response(raw[8:]) == value


@pytest.mark.parametrize("first_segment_words", [1, 2, 3, 4, 5, 8, 20, 1024])
@pytest.mark.parametrize(("_raw", "value"), REQUESTS)
def test_requests_in_several_segments_are_understood(
    first_segment_words: int, _raw: bytes, value: ConnectRequest
) -> None:
    root = schemas.stream().ConnectRequest.new_message(first_segment_words)
    root.dest = value.dest
    root.type = value.type.name.lower()
    entries = root.init("metadata", len(value.metadata))
    for entry, (key, val) in zip(entries, value.metadata, strict=True):
        # The other way round than usual, so that the texts are not in the order of their pointers.
        entry.val = val.decode()
        entry.key = key.decode()
    raw = PREAMBLE + root.to_bytes()
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        assert feed(OpeningDecoder(), pieces)[0] == value


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17])
def test_texts_of_every_length_modulo_eight(size: int) -> None:
    text = "x" * size
    metadata = ((text.encode(), b""), (b"", text.encode()), (b"", b""), (text.encode(), text.encode()))
    request = ConnectRequest(dest=text, type=ConnectionType.TCP, metadata=metadata)
    response = ConnectResponse(error=text, metadata=metadata)
    assert OpeningDecoder().feed(encode_connect_request(request)) == request
    assert ConnectResponseDecoder().feed(encode_connect_response(response)) == response
    assert oracle_request(encode_connect_request(request)[8:]) == request
    assert oracle_response(encode_connect_response(response)[8:]) == response


@settings(max_examples=200, deadline=None)
@given(strategies.connect_requests, strategies.cuts, st.binary(max_size=9))
def test_what_is_encoded_is_decoded(value: ConnectRequest, cuts: list[int], rest: bytes) -> None:
    raw = encode_connect_request(value) + rest
    assert feed(OpeningDecoder(), strategies.chunked(raw, cuts)) == (value, rest)


@settings(max_examples=200, deadline=None)
@given(strategies.connect_responses, strategies.cuts, st.binary(max_size=9))
def test_what_is_answered_is_understood(value: ConnectResponse, cuts: list[int], rest: bytes) -> None:
    raw = encode_connect_response(value) + rest
    assert feed(ConnectResponseDecoder(), strategies.chunked(raw, cuts)) == (value, rest)


@pytest.mark.parametrize(("raw", "value"), REQUESTS)
def test_the_fast_reader_takes_what_the_reference_writes(raw: bytes, value: ConnectRequest) -> None:
    # Only a key that is empty is left to the thorough reader.
    expected = value if all(key for key, _ in value.metadata) else None
    assert connect_codec.fast_request(raw, 16, len(raw)) == expected
    assert connect_codec.decode_request(raw, read_frame(raw, 8, MAX_OPENING_BYTES), 8) == value


@pytest.mark.parametrize(("raw", "value"), RESPONSES)
def test_the_fast_reader_takes_what_the_reference_answers(raw: bytes, value: ConnectResponse) -> None:
    expected = value if all(key for key, _ in value.metadata) else None
    assert connect_codec.fast_response(raw, 16, len(raw)) == expected
    assert connect_codec.decode_response(raw, read_frame(raw, 8, MAX_OPENING_BYTES), 8) == value


@settings(max_examples=400, deadline=None)
@given(strategies.connect_requests, strategies.damage)
def test_the_fast_reader_never_accepts_what_the_thorough_one_refuses(value: ConnectRequest, damage: Any) -> None:
    raw = encode_connect_request(value)
    broken = raw[:16] + strategies.damaged(raw[16:], damage)
    broken = broken[: len(broken) // 8 * 8]
    fast = connect_codec.fast_request(broken, 16, len(broken))
    if fast is not None:
        segment = framed(broken[16:])
        assert connect_codec.decode_request(segment, read_frame(segment, 0, MAX_OPENING_BYTES), 0) == fast


def test_rpc_streams_are_told_from_data_streams() -> None:
    raw = encode_rpc_opening() + b"rpc"
    assert raw.startswith(RPC_SIGNATURE)
    for pieces in strategies.every_chunking(raw):
        assert feed(OpeningDecoder(), pieces) == (RpcOpening(), b"rpc")


def test_any_version_is_accepted() -> None:
    raw, value = REQUESTS[0]
    for version in (b"99", b"\0\0", b"\xff\xff"):
        assert OpeningDecoder().feed(raw[:6] + version + raw[8:]) == value


def test_only_data_streams_are_answered() -> None:
    with pytest.raises(ProtocolError, match="no known signature"):
        ConnectResponseDecoder().feed(encode_rpc_opening())


@pytest.mark.parametrize(("name", "raw"), illegal_openings().items())
def test_illegal_openings_are_refused_in_any_pieces(name: str, raw: bytes) -> None:
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))], [raw[:7], raw[7:]]):
        decoder = OpeningDecoder()
        with pytest.raises(ProtocolError):
            feed(decoder, pieces)
        assert decoder.leftover == b"", name
        with pytest.raises(ProtocolError):
            decoder.feed(b"more")


def test_a_wrong_signature_is_refused_at_its_first_wrong_byte() -> None:
    decoder = OpeningDecoder()
    assert decoder.feed(DATA_SIGNATURE[:3]) is None
    with pytest.raises(ProtocolError, match="no known signature"):
        decoder.feed(b"!")


def test_a_message_too_large_is_refused_before_it_arrives() -> None:
    limit = 4_096
    size = limit // 8
    fits = raw_opening("x" * (limit - 8 - 32 - 1))
    assert int.from_bytes(fits[12:16], "little") == size - 1
    assert OpeningDecoder(max_bytes=limit).feed(fits) is not None
    with pytest.raises(ProtocolError, match="beyond the limit of 4096"):
        OpeningDecoder(max_bytes=limit).feed(PREAMBLE + b"\0\0\0\0" + size.to_bytes(4, "little"))
    whole = raw_opening("x" * limit)
    with pytest.raises(ProtocolError, match="beyond the limit of 4096"):
        OpeningDecoder(max_bytes=limit).feed(whole)


@pytest.mark.parametrize("encode", [encode_connect_request, encode_connect_response])
def test_nothing_is_encoded_that_the_other_end_would_refuse(encode: Callable[[Any], bytes]) -> None:
    def value(size: int) -> Any:
        metadata = ((b"HttpHeader:X", b"v" * size),)
        if encode is encode_connect_request:
            return ConnectRequest(dest="", type=ConnectionType.HTTP, metadata=metadata)
        return ConnectResponse(metadata=metadata)

    decoder: Any = OpeningDecoder() if encode is encode_connect_request else ConnectResponseDecoder()
    assert MAX_OPENING_BYTES >= 1_000_000  # the reference takes 900 kB of headers
    assert decoder.feed(encode(value(MAX_OPENING_BYTES - 200))) == value(MAX_OPENING_BYTES - 200)
    with pytest.raises(ProtocolError, match="beyond the limit"):
        encode(value(MAX_OPENING_BYTES))


def test_feeding_a_finished_decoder_is_a_mistake() -> None:
    for piece in ([REQUESTS[0][0]], [REQUESTS[0][0][:9], REQUESTS[0][0][9:]]):
        decoder = OpeningDecoder()
        for part in piece:
            decoder.feed(part)
        with pytest.raises(RuntimeError, match="payload"):
            decoder.feed(b"x")


def test_an_unfinished_opening_is_no_error() -> None:
    raw = REQUESTS[0][0]
    for end in range(len(raw)):
        assert OpeningDecoder().feed(raw[:end]) is None


def test_later_fields_are_ignored_and_missing_ones_have_defaults() -> None:
    # A newer peer: three words of data, three pointers. An older one: nothing at all.
    newer = framed(words(3 << 32 | 3 << 48, 2, 7, 7, 0, 0, 0))
    assert OpeningDecoder().feed(PREAMBLE + newer) == ConnectRequest(dest="", type=ConnectionType.TCP)
    older = framed(words(0xFFFF_FFFC))
    assert OpeningDecoder().feed(PREAMBLE + older) == ConnectRequest(dest="", type=ConnectionType.HTTP)
    null = framed(words(0))
    assert OpeningDecoder().feed(PREAMBLE + null) == ConnectRequest(dest="", type=ConnectionType.HTTP)


def test_the_encoder_remembers_a_bounded_number_of_keys() -> None:
    for i in range(3 * connect_codec.MAX_CACHED_KEYS):
        metadata = ((b"HttpHeader:X-%d" % i, b"a"), (b"k" * (connect_codec.MAX_CACHED_KEY_BYTES + 1), b""))
        response = ConnectResponse(metadata=metadata)
        assert ConnectResponseDecoder().feed(encode_connect_response(response)) == response
    assert 0 < len(connect_codec._keys) <= connect_codec.MAX_CACHED_KEYS
    assert all(len(key) <= connect_codec.MAX_CACHED_KEY_BYTES for key in connect_codec._keys)


def test_a_header_of_half_a_gibibyte_is_refused() -> None:
    # Its size does not even fit in a pointer. Its pages are never touched.
    response = ConnectResponse(metadata=((b"HttpHeader:X", bytes(1 << 29)),))
    with pytest.raises(ProtocolError, match="than a message can hold"):
        encode_connect_response(response)
