"""Trailers from an origin to an edge that offers to take them, and nothing of the kind to one that does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from pyconnector.connector.link.quic.exchange import JOIN_LIMIT, QuicExchange
from pyconnector.connector.requests.pump import pump
from pyconnector.origins.base import ByteReader, OriginError, OriginRequest, OriginResponse
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.openings import encode_connect_request
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER, FramedBodyDecoder, encode_data, encode_trailers
from pyconnector.transport.errors import StreamReset
from tests.connector.fakes import Answer, FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

pytestmark = pytest.mark.usefixtures("virtual_time")

TRAILERS = [(b"grpc-status", b"0"), (b"grpc-message", b"fine")]


def offering(kind: ConnectionType = ConnectionType.HTTP) -> bytes:
    metadata = ((b"HttpMethod", b"POST"), (b"HttpHost", b"a.test"), (b"HttpHeader:Te", b"trailers"), TRAILERS_OFFER)
    return encode_connect_request(ConnectRequest(dest="http://a.test/", type=kind, metadata=metadata))


def with_trailers(*pieces: bytes) -> FakeResponse:
    response = FakeResponse(*pieces, headers=[(b"Pyconnector-Trailers", b"from the origin")])
    response.trailers = list(TRAILERS)
    return response


async def ask(data: bytes, response: OriginResponse) -> tuple[Answer, FakeOrigin]:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        return response

    origin = FakeOrigin(serve)
    answers: list[Answer] = []
    under = PathUnderTest(origin)
    answers.append(await read_answer(await under.open(data)))
    await under.settled()
    return answers[0], origin


async def test_an_edge_that_offers_gets_the_trailers_behind_the_body() -> None:
    answer, _ = await ask(offering(), with_trailers(b"one", b"two"))
    assert answer.metadata[TRAILERS_OFFER[0]] == TRAILERS_OFFER[1]
    decoder = FramedBodyDecoder()
    assert decoder.feed(answer.body) == b"onetwo"
    assert decoder.trailers == TRAILERS


async def test_an_edge_that_does_not_offer_gets_the_raw_body() -> None:
    answer, _ = await ask(opening(), with_trailers(b"one", b"two"))
    assert TRAILERS_OFFER[0] not in answer.metadata
    assert answer.body == b"onetwo"


async def test_a_header_of_that_name_is_no_offer_and_passes_as_a_header() -> None:
    answer, origin = await ask(opening(headers=[TRAILERS_OFFER]), with_trailers(b"one"))
    assert TRAILERS_OFFER[0] not in answer.metadata
    assert answer.body == b"one"
    assert TRAILERS_OFFER in origin.requests[0].headers


async def test_the_offer_reaches_no_origin() -> None:
    _, origin = await ask(offering(), with_trailers())
    assert [name for name, _ in origin.requests[0].headers if name.startswith(b"Pyc")] == []
    assert (b"Te", b"trailers") in origin.requests[0].headers


async def test_a_tunnel_is_not_framed() -> None:
    response = FakeResponse(b"raw", status=101)
    response.tunnel = True
    answer, _ = await ask(offering(ConnectionType.WEBSOCKET), response)
    assert TRAILERS_OFFER[0] not in answer.metadata
    assert answer.body == b"raw"


class Writes:
    """A stream that records each write."""

    def __init__(self, *, full: bool = False) -> None:
        self.writes: list[tuple[bytes, bool]] = []
        self.drained = 0
        self._full = full

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        self.writes.append((data, finish))
        return self._full

    async def drain(self) -> None:
        self.drained += 1


def framed(writes: Writes) -> QuicExchange:
    """An exchange whose head is written HEAD and whose body is framed."""
    request = ConnectRequest(dest="", type=ConnectionType.HTTP, metadata=(TRAILERS_OFFER,))
    exchange = QuicExchange(cast("Stream", writes), request, b"")
    exchange._head, exchange._framed = b"HEAD", True
    return exchange


async def pumped(writes: Writes, response: FakeResponse) -> list[tuple[bytes, bool]]:
    await pump(framed(writes), response)
    return writes.writes


async def test_a_small_response_leaves_in_one_write() -> None:
    assert await pumped(Writes(), with_trailers(b"a")) == [
        (b"HEAD" + encode_data(b"a") + encode_trailers(TRAILERS), True)
    ]


async def test_large_pieces_leave_as_they_come_and_a_full_stream_is_waited_for() -> None:
    piece = bytes(JOIN_LIMIT + 1)
    writes = Writes(full=True)
    assert await pumped(writes, with_trailers(piece, b"b")) == [
        (b"HEAD", False),
        (encode_data(piece), False),
        (encode_data(b"b") + encode_trailers(TRAILERS), True),
    ]
    assert writes.drained == 1


async def test_nothing_waits_for_what_is_late() -> None:
    writes, response = Writes(), with_trailers()
    response.open = True
    task = asyncio.create_task(pump(framed(writes), response))
    expected: list[tuple[bytes, bool]] = [(b"HEAD", False)]
    for tick in (b"1", b"2"):
        await _turns()
        assert writes.writes == expected
        response.feed(tick)
        expected.append((encode_data(tick), False))
    await _turns()
    assert writes.writes == expected
    response.end()
    await task
    assert writes.writes == [*expected, (encode_trailers(TRAILERS), True)]


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("trailers", [[(b"a b", b"1")], [(b"a", b"x" * 70_000)]])
async def test_trailers_that_cannot_be_carried_break_the_response_off(trailers: list[tuple[bytes, bytes]]) -> None:
    response = with_trailers(b"one")
    response.trailers = trailers
    with pytest.raises(OriginError, match="trailers cannot be carried"):
        await pumped(Writes(), response)
    with pytest.raises(StreamReset):
        await ask(offering(), response)


async def test_an_origin_that_breaks_off_sends_no_trailers() -> None:
    response = with_trailers(b"one")
    response.end(OriginError("broke"))
    with pytest.raises(StreamReset):
        await ask(offering(), response)
