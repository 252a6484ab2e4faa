from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from uuid import uuid4

import pytest

from pyconnector.connector.datagrams import shared
from pyconnector.connector.datagrams.v3 import NO_REGISTER, NO_UNREGISTER
from pyconnector.protocol.datagrams import (
    ResponseCode,
    SessionPayload,
    SessionRegistration,
    SessionResponse,
    decode_v3,
)
from pyconnector.protocol.rpc.edge_rpc import UdpSessionEnded, UdpSessionRequested
from tests.connector.datagrams.world import next_datagram, open_world, settle
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.usefixtures("virtual_time")

ID = bytes(range(16))
OK = SessionResponse(request_id=ID, code=ResponseCode.OK)


def wanted(port: int, request_id: bytes = ID, *, data: bytes = b"", idle: int = 210, host: str = "127.0.0.1") -> bytes:
    return SessionRegistration(
        request_id=request_id, destination_ip=ip_address(host), destination_port=port, idle_seconds=idle, payload=data
    ).encode()


def payload(data: bytes, request_id: bytes = ID) -> bytes:
    return SessionPayload(request_id=request_id, payload=data).encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_session_is_registered_and_carries_payloads(host: str) -> None:
    async with open_world(3) as world:
        _, edge = world.connect()
        async with UdpService(host=host) as service:
            edge.send_datagram(wanted(service.port, host=host))
            assert decode_v3(await next_datagram(edge)) == OK
            for data in (b"", b"x", bytes(1280)):
                edge.send_datagram(payload(data))
                assert decode_v3(await next_datagram(edge)) == SessionPayload(request_id=ID, payload=data)
            assert (world.counters.active, world.counters.total) == ({0: 1}, {0: 1})


async def test_a_payload_that_comes_with_the_registration_is_delivered_once() -> None:
    """The reference reads it and drops it."""

    async with open_world(3) as world:
        _, edge = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port, data=b"first"))
            assert decode_v3(await next_datagram(edge)) == OK
            assert decode_v3(await next_datagram(edge)) == SessionPayload(request_id=ID, payload=b"first")
            edge.send_datagram(wanted(service.port, data=b"first"))
            assert decode_v3(await next_datagram(edge)) == OK
            await settle()
            assert service.received == [b"first"]
            assert (world.counters.retries, world.counters.total) == ({0: 1}, {0: 1})


async def test_a_session_moves_to_the_connection_that_registers_it_again() -> None:
    async with open_world(3) as world:
        first, edge = world.connect()
        _, other = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port))
            await next_datagram(edge)
            edge.send_datagram(payload(b"a"))
            await next_datagram(edge)
            other.send_datagram(wanted(service.port, data=b"b"))
            assert decode_v3(await next_datagram(other)) == OK
            assert decode_v3(await next_datagram(other)) == SessionPayload(request_id=ID, payload=b"b")
            assert service.peers[0] == service.peers[1], "it kept its socket"
            assert world.counters.migrated == {1: 1}
            first.close()
            other.send_datagram(payload(b"c"))
            assert decode_v3(await next_datagram(other)) == SessionPayload(request_id=ID, payload=b"c")
            assert world.counters.active == {0: 1}, "counted where it was registered"


async def test_payloads_are_taken_from_any_connection() -> None:
    async with open_world(3) as world:
        _, edge = world.connect()
        _, other = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port))
            await next_datagram(edge)
            other.send_datagram(payload(b"x"))
            assert decode_v3(await next_datagram(edge)) == SessionPayload(request_id=ID, payload=b"x")


async def test_a_connection_that_ends_takes_the_sessions_it_has_now() -> None:
    async with open_world(3) as world:
        link, edge = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port))
            await next_datagram(edge)
            link.close()
            assert (world.counters.active[0], world.limiter.active) == (0, 0)


async def test_an_idle_session_is_forgotten_without_a_word() -> None:
    async with open_world(3) as world:
        _, edge = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port, idle=10))
            await next_datagram(edge)
            await asyncio.sleep(9)
            edge.send_datagram(wanted(service.port, idle=10))  # a retry counts as activity
            await next_datagram(edge)
            await asyncio.sleep(9)
            assert world.counters.active == {0: 1}
            await asyncio.sleep(2)
            assert (world.counters.active[0], world.counters.failed) == (0, {})
            edge.send_datagram(payload(b"x"))
            await settle()
            assert world.counters.dropped == {(0, "write_flow_unknown"): 1}
            assert edge.statistics().streams_open == 0


async def test_a_service_that_refuses_ends_the_session_as_failed() -> None:
    async with open_world(3) as world:
        _, edge = world.connect()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        edge.send_datagram(wanted(port, data=b"x"))
        assert decode_v3(await next_datagram(edge)) == OK
        await settle()
        assert (world.counters.failed, world.counters.active[0]) == ({0: 1}, 0)


async def test_a_registration_that_fails_is_answered_and_gives_its_place_back() -> None:
    """The reference keeps the place for ever: with a limit, no flow is served any more after a while."""

    async with open_world(3, limit=1) as world:
        _, edge = world.connect()
        for _ in range(3):
            edge.send_datagram(wanted(0))
            answer = decode_v3(await next_datagram(edge))
            assert answer == SessionResponse(request_id=ID, code=ResponseCode.UNABLE_TO_BIND)
        assert world.limiter.active == 0


@pytest.mark.parametrize("places", [1, 0])
async def test_sessions_beyond_a_limit_are_refused_as_too_many(monkeypatch: pytest.MonkeyPatch, places: int) -> None:
    """That of the configuration, or, where it sets none, that of the process."""
    if not places:
        monkeypatch.setattr(shared, "MAX_SESSIONS", 1)
    async with open_world(3, limit=places) as world:
        _, edge = world.connect()
        async with UdpService() as service:
            edge.send_datagram(wanted(service.port))
            await next_datagram(edge)
            edge.send_datagram(wanted(service.port, uuid4().bytes))
            answer = decode_v3(await next_datagram(edge))
            assert isinstance(answer, SessionResponse)
            assert (answer.code, world.counters.limited) == (ResponseCode.TOO_MANY_FLOWS, 1)


def test_half_of_the_files_are_left_to_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert shared._most_sessions() == 512


async def test_calls_of_version_2_are_refused_and_counted() -> None:
    async with open_world(3) as world:
        link, _ = world.connect()
        session = uuid4()
        assert link.register(UdpSessionRequested(1, session, ip_address("10.0.0.1"), 53, 210.0, "")) == NO_REGISTER
        assert link.unregister(UdpSessionEnded(2, session, "")) == NO_UNREGISTER
        assert world.counters.unsupported_commands == {
            (0, "register_udp_session"): 1,
            (0, "unregister_udp_session"): 1,
        }


async def test_datagrams_that_cannot_be_used_end_nothing() -> None:
    """The reference reads beyond the end of a registration that is cut short, and the process dies."""

    async with open_world(3) as world:
        _, edge = world.connect()
        async with UdpService() as service:
            whole = wanted(service.port, host="::1")
            for end in range(len(whole)):
                edge.send_datagram(whole[:end])
            edge.send_datagram(b"\x01" + ID + bytes(1281))
            edge.send_datagram(OK.encode())
            edge.send_datagram(b"\x09")
            await settle()
            assert world.counters.dropped == {(0, "malformed"): len(whole) + 2, (0, "unsupported"): 1}
            edge.send_datagram(wanted(service.port))
            assert decode_v3(await next_datagram(edge)) == OK
