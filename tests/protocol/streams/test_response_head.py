"""The short way from an origin's answer to its bytes gives what the two steps give, refusals included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.header_names import MAX_CACHED_NAME_BYTES, MAX_CACHED_NAMES
from pyconnector.protocol.http.headers import response_metadata
from pyconnector.protocol.streams import response_head
from pyconnector.protocol.streams.connect import ConnectResponse
from pyconnector.protocol.streams.openings import MAX_OPENING_BYTES, encode_connect_response, encode_response_head
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER

NAMES = st.sampled_from([b"Content-Type", b"content-length", b"X-A", b"Transfer-Encoding", b"trailer", b"Te", b""])
FIELDS = st.lists(st.tuples(NAMES | st.binary(max_size=20), st.binary(max_size=40)), max_size=8)


Extra = tuple[tuple[bytes, bytes], ...]


def in_two_steps(status: int, fields: list[tuple[bytes, bytes]], extra: Extra = ()) -> bytes:
    return encode_connect_response(ConnectResponse(metadata=(*response_metadata(status, fields), *extra)))


def outcome(encode: Callable[..., bytes], *arguments: object) -> bytes | str:
    try:
        return encode(*arguments)
    except ProtocolError as error:
        return str(error)


@given(st.integers(min_value=98, max_value=1001) | st.just(200), FIELDS, st.sampled_from([(), (TRAILERS_OFFER,)]))
@example(200, [], ())
@example(200, [(b"", b"204")], ())
@example(200, [(b"Transfer-Encoding", b"chunked"), (b"Server", b"s")], ())
@example(200, [(b"A", b"1"), (b"A", b""), (b"a", b"1")], ())
def test_both_ways_agree(status: int, fields: list[tuple[bytes, bytes]], extra: Extra) -> None:
    arguments = (status, fields, extra)
    assert outcome(encode_response_head, *arguments) == outcome(in_two_steps, *arguments)


def test_what_is_too_large_for_the_edge_is_refused() -> None:
    with pytest.raises(ProtocolError, match="beyond the limit"):
        encode_response_head(200, [(b"X-Large", bytes([65]) * MAX_OPENING_BYTES)])


def test_names_that_a_service_invents_cost_a_bounded_amount_of_memory() -> None:
    for number in range(2 * MAX_CACHED_NAMES):
        encode_response_head(200, [(b"X-%d" % number, b"1")])
    encode_response_head(200, [(b"X" * (MAX_CACHED_NAME_BYTES + 1), b"1")])
    assert len(response_head._keys) <= MAX_CACHED_NAMES + 1
    assert max(len(name) for name in response_head._keys if name is not None) <= MAX_CACHED_NAME_BYTES
    assert encode_response_head(200, [(b"A", b"1")]) == in_two_steps(200, [(b"A", b"1")], ())
