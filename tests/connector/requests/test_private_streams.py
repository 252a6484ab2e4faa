"""Streams of the private network and of RPC on the request path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import ByteReader, OriginError, OriginRequest, OriginResponse
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.protocol.streams.openings import encode_rpc_opening
from pyconnector.transport.errors import StreamReset
from tests.connector.fakes import FakeOrigin, FakeResponse, PathUnderTest, opening

if TYPE_CHECKING:
    pass
from tests.connector.requests.support import later

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_a_tcp_stream_goes_to_its_address_and_is_acknowledged_before_data() -> None:
    answer = FakeResponse()
    answer.open = True
    private = FakeOrigin(lambda request, body: later(answer))
    under = PathUnderTest(private=private)
    stream = await under.open(opening(ConnectionType.TCP, dest="10.0.0.1:22"), finish=False)
    first = await stream.receive()
    assert first.startswith(bytes.fromhex("0a36cd12a13e3031"))
    assert private.requests[0].destination == "10.0.0.1:22"
    assert (under.counters.tcp_active, under.orchestrator.limiter.active) == (1, 1)
    answer.feed(b"SSH-2.0")
    assert await stream.receive() == b"SSH-2.0"
    answer.end()
    assert await stream.receive() == b""
    await under.settled()
    assert (under.counters.tcp_active, under.counters.tcp_total, under.orchestrator.limiter.active) == (0, 1, 0)


async def test_a_service_that_breaks_off_resets_its_tcp_stream_and_puts_no_words_of_ours_into_it() -> None:
    answer = FakeResponse(b"SSH-2.0")
    answer.open = True
    under = PathUnderTest(private=FakeOrigin(lambda request, body: later(answer)))
    stream = await under.open(opening(ConnectionType.TCP, dest="10.0.0.1:22"), finish=False)
    received = await stream.receive()
    answer.end(OriginError("it broke the connection off"))
    with pytest.raises(StreamReset):
        received += await stream.receive()
    await under.settled()
    assert b"broke" not in received
    assert answer.aborted
    assert (under.counters.request_errors, under.counters.connect_errors) == (1, 0)


async def test_a_flow_beyond_the_limit_is_refused_as_such() -> None:
    under = PathUnderTest()
    under.orchestrator.limiter.limit = 1
    under.orchestrator.limiter.acquire()
    found = await under.ask(kind=ConnectionType.TCP, dest="10.0.0.1:22")
    assert "too many active flows" in found.error
    assert found.metadata == {b"FlowConnectRateLimited": b"true"}
    assert under.counters.flows_limited == 1
    assert under.orchestrator.limiter.active == 1


async def test_a_failed_dial_gives_its_place_in_the_limit_back() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("no route to 10.0.0.1")

    under = PathUnderTest(private=FakeOrigin(serve))
    found = await under.ask(kind=ConnectionType.TCP, dest="10.0.0.1:22")
    assert found.error.endswith("no route to 10.0.0.1")
    await under.settled()
    assert under.orchestrator.limiter.active == 0
    assert under.counters.connect_errors == 1


async def test_the_time_to_connect_a_stream_service_is_measured() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await asyncio.sleep(0.02)
        return FakeResponse(status=101)

    under = PathUnderTest(FakeOrigin(serve), service="tcp://localhost:1")
    await under.ask()
    assert dict(under.counters.connect_latency_ms.cumulative())["25"] == 1


async def test_an_rpc_stream_is_handed_on_with_what_follows_its_signature() -> None:
    under = PathUnderTest()
    stream = await under.open(encode_rpc_opening() + b"rpc bytes")
    assert await stream.receive() == b""
    assert under.rpc == [b"rpc bytes"]
