from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from pyconnector.connector.datagrams import v2
from pyconnector.connector.datagrams.session import LIMITED
from pyconnector.protocol.datagrams import TraceIdentity, TracingSpans, UdpPayload, decode_v2
from pyconnector.protocol.rpc.edge_rpc import EdgeRpcServer, UdpSessionEnded, UdpSessionRequested
from pyconnector.protocol.streams.openings import OpeningDecoder, RpcOpening
from tests.connector.datagrams.world import next_datagram, open_world, settle
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.transport.memory import MemoryConnection

pytestmark = pytest.mark.usefixtures("virtual_time")

SESSION = UUID(int=7)


def wanted(
    port: int, session_id: UUID = SESSION, *, host: str = "127.0.0.1", idle: float = 210.0
) -> UdpSessionRequested:
    return UdpSessionRequested(1, session_id, ip_address(host), port, idle, "")


def payload(data: bytes, session_id: UUID = SESSION) -> bytes:
    return UdpPayload(session_id=session_id, payload=data).encode()


async def told_end(edge: MemoryConnection) -> UdpSessionEnded:
    """Serve the RPC stream by which the connector says that a session ended."""
    stream = await edge.accept_stream()
    decoder, server = OpeningDecoder(), EdgeRpcServer()
    opening = None
    while opening is None:
        opening = decoder.feed(await stream.receive())
    assert isinstance(opening, RpcOpening)
    data = decoder.leftover
    while True:
        for event in server.receive_data(data):
            assert isinstance(event, UdpSessionEnded)
            server.answer_udp_end(event.call)
            stream.send_nowait(server.bytes_to_send(), finish=True)
            return event
        stream.send_nowait(server.bytes_to_send())
        data = await stream.receive()
        assert data


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_payloads_travel_both_ways_whatever_their_size(host: str) -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService(host=host) as service:
            assert link.register(wanted(service.port, host=host)) == ""
            for data in (b"", b"x", bytes(1280)):
                edge.send_datagram(payload(data))
                assert decode_v2(await next_datagram(edge)) == UdpPayload(session_id=SESSION, payload=data)
            assert (world.counters.v2_active, world.counters.v2_total) == (1, 1)


async def test_what_a_service_sends_beyond_the_limit_is_dropped_and_the_session_goes_on() -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService(lambda data: data * 1281 if data == b"x" else data) as service:
            link.register(wanted(service.port))
            edge.send_datagram(payload(b"x"))
            edge.send_datagram(payload(b"next"))
            assert decode_v2(await next_datagram(edge)) == UdpPayload(session_id=SESSION, payload=b"next")
            assert world.counters.dropped == {(0, "read_too_large"): 1}
            assert world.counters.too_big == 1


async def test_payloads_of_unknown_sessions_are_dropped_and_counted() -> None:
    async with open_world(2) as world:
        _, edge = world.connect()
        edge.send_datagram(payload(b"x"))
        await settle()
        assert world.counters.dropped == {(0, "write_flow_unknown"): 1}


async def test_datagrams_that_cannot_be_used_end_nothing() -> None:
    """The reference's packet router ends the connection where the edge sends tracing spans."""

    async with open_world(2) as world:
        link, edge = world.connect()
        trace = TraceIdentity(trace_id=1, span_id=2, flags=1)
        async with UdpService() as service:
            link.register(wanted(service.port))
            for data in (b"", b"\x09", b"short\x00", TracingSpans(spans=b"s", trace=trace).encode()):
                edge.send_datagram(data)
            edge.send_datagram(payload(b"still here"))
            assert decode_v2(await next_datagram(edge)) == UdpPayload(session_id=SESSION, payload=b"still here")
        assert world.counters.dropped == {(0, "malformed"): 3, (0, "unsupported"): 1}


async def test_an_idle_session_ends_and_the_edge_is_told() -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService() as service:
            started = asyncio.get_running_loop().time()
            link.register(wanted(service.port, idle=30.0))
            await asyncio.sleep(20)
            edge.send_datagram(payload(b"x"))
            await next_datagram(edge)
            event = await told_end(edge)
            assert (event.session_id, event.message) == (SESSION, "session idle for 30s")
            assert asyncio.get_running_loop().time() - started == pytest.approx(50.0)
            assert (world.counters.v2_active, world.limiter.active) == (0, 0)


async def test_a_session_whose_service_refuses_ends_and_says_so() -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        assert link.register(wanted(port)) == ""
        edge.send_datagram(payload(b"x"))
        event = await told_end(edge)
        assert event.message == f"127.0.0.1:{port} refused the connection"
        assert world.counters.dropped[0, "read_failed"] == 1


async def test_the_edge_ends_a_session_and_is_not_told_so() -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService() as service:
            link.register(wanted(service.port))
            assert link.unregister(UdpSessionEnded(2, SESSION, "done")) == ""
            assert link.unregister(UdpSessionEnded(3, SESSION, "done")) == ""
            assert (world.counters.v2_active, world.limiter.active) == (0, 0)
            edge.send_datagram(payload(b"x"))
            await asyncio.sleep(300)
            assert service.received == []
            assert edge.statistics().streams_open == 0


async def test_registering_an_id_again_replaces_its_session() -> None:
    """The reference leaves the old socket open."""

    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService() as first, UdpService() as second:
            link.register(wanted(first.port))
            link.register(wanted(second.port))
            assert (world.limiter.active, world.counters.v2_active) == (1, 1)
            edge.send_datagram(payload(b"x"))
            await next_datagram(edge)
            assert (first.received, second.received) == ([], [b"x"])


async def test_sessions_beyond_the_flow_limit_are_refused_in_the_reference_s_words() -> None:
    async with open_world(2, limit=1) as world:
        link, _ = world.connect()
        async with UdpService() as service:
            assert link.register(wanted(service.port)) == ""
            assert link.register(wanted(service.port, uuid4())) == LIMITED
            assert world.counters.limited == 1
            link.unregister(UdpSessionEnded(2, SESSION, ""))
            assert link.register(wanted(service.port, uuid4())) == ""


async def test_an_address_without_a_way_is_refused_and_holds_nothing() -> None:
    async with open_world(2) as world:
        link, _ = world.connect()
        assert link.register(wanted(0)).startswith("Unable to open a UDP socket: ")
        assert link.register(wanted(9, host="255.255.255.255")).startswith("Unable to open a UDP socket: ")
        assert (world.limiter.active, world.counters.v2_active) == (0, 0)


async def test_a_connection_that_ends_takes_its_sessions_with_it() -> None:
    async with open_world(2) as world:
        link, _ = world.connect()
        async with UdpService() as service:
            link.register(wanted(service.port))
            link.close()
            assert (world.limiter.active, world.counters.v2_active) == (0, 0)
            assert link.register(wanted(service.port, uuid4())) == "the connection is being closed"


async def test_sessions_are_their_connection_s_own() -> None:
    async with open_world(2) as world:
        link, _ = world.connect()
        _, other = world.connect()
        async with UdpService() as service:
            link.register(wanted(service.port))
            other.send_datagram(payload(b"x"))
            await settle()
            assert service.received == []
            assert world.counters.dropped == {(1, "write_flow_unknown"): 1}


async def test_many_ends_at_once_are_told_over_few_streams() -> None:
    async with open_world(2) as world:
        link, edge = world.connect()
        async with UdpService() as service:
            ids = {uuid4() for _ in range(20)}
            for each in ids:
                link.register(wanted(service.port, each, idle=1.0))
            await asyncio.sleep(2)
            assert edge.statistics().streams_open == v2.TELLERS
            assert {(await told_end(edge)).session_id for _ in range(20)} == ids
