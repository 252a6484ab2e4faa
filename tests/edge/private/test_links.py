"""Both versions of the datagram protocol at the edge, against a connector in memory that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address
from typing import Any

import pytest

from pyconnector.edge.private.datagrams import link as links
from pyconnector.edge.private.datagrams.link import DatagramLink, OpenFailed
from pyconnector.edge.private.datagrams.make import make_link
from pyconnector.edge.private.datagrams.v3 import ATTEMPTS
from pyconnector.protocol.datagrams import (
    IcmpPacket,
    IpPacket,
    ResponseCode,
    SessionPayload,
    SessionRegistration,
    SessionResponse,
    UdpPayload,
    decode_v3,
)
from pyconnector.transport.memory import MemoryConnection, memory_pair
from tests.support.loop.clock import run_virtual

ID = bytes(range(16))
ADDRESS = IPv4Address("10.0.0.1")


class User:
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.reasons: list[str] = []
        self.moves = 0

    def arrived(self, data: bytes) -> None:
        self.data.append(data)

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)

    def moved(self) -> None:
        self.moves += 1


def run(version: int, scenario: Callable[[DatagramLink, MemoryConnection], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        edge, connector = memory_pair()
        link = make_link(edge, [f"support_datagram_v{version}" + ("_2" if version == 3 else "")])
        assert link is not None
        await scenario(link, connector)

    run_virtual(main())


@pytest.mark.usefixtures("virtual_time")
async def test_a_connector_without_the_feature_is_sent_no_datagrams() -> None:
    assert make_link(memory_pair()[0], ["serialized_headers"]) is None


def test_a_lost_registration_is_sent_again_until_it_is_answered() -> None:
    async def scenario(link: DatagramLink, connector: MemoryConnection) -> None:
        opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User(), first=b"first"))
        seen = [decode_v3(await connector.receive_datagram()) for _ in range(3)]
        assert (
            seen
            == [SessionRegistration(request_id=ID, destination_ip=ADDRESS, destination_port=53, payload=b"first")] * 3
        )
        connector.send_datagram(SessionResponse(request_id=ID, code=ResponseCode.OK).encode())
        await opening
        assert asyncio.get_running_loop().time() == pytest.approx(ATTEMPTS[0] + ATTEMPTS[1])

    run(3, scenario)


def test_a_connector_that_never_answers_is_given_up() -> None:
    async def scenario(link: DatagramLink, connector: MemoryConnection) -> None:
        with pytest.raises(OpenFailed, match="did not answer within 5 s"):
            await link.open(ID, ADDRESS, 53, User())
        assert link.sessions == {}

    run(3, scenario)


def test_a_first_packet_too_large_to_travel_with_the_registration_follows_it() -> None:
    async def scenario(link: DatagramLink, connector: MemoryConnection) -> None:
        first = bytes(1280)
        link.transport.send_datagram, send = lambda data: len(data) <= 1300 and send(data), link.transport.send_datagram  # type: ignore[method-assign]
        opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User(), first=first))
        registration = decode_v3(await connector.receive_datagram())
        assert isinstance(registration, SessionRegistration)
        assert registration.payload == b""
        connector.send_datagram(SessionResponse(request_id=ID, code=ResponseCode.OK).encode())
        await opening
        assert decode_v3(await connector.receive_datagram()) == SessionPayload(request_id=ID, payload=first)

    run(3, scenario)


def test_what_a_connector_sends_wrongly_is_counted_and_ends_nothing() -> None:
    async def version_2(link: DatagramLink, connector: MemoryConnection) -> None:
        user = User()
        link.take(ID, user)
        for data in (b"", b"\x09", b"x\x00", IpPacket(packet=b"x").encode(), bytes(16) + b"\x00"):
            connector.send_datagram(data)
        from uuid import UUID

        connector.send_datagram(UdpPayload(session_id=UUID(bytes=ID), payload=b"x").encode())
        await asyncio.sleep(1)
        assert link.dropped == {"malformed": 3, "unsupported": 1, "flow_unknown": 1}
        assert user.data == [b"x"]

    async def version_3(link: DatagramLink, connector: MemoryConnection) -> None:
        user = User()
        link.take(ID, user)
        strange = SessionResponse(request_id=bytes(16), code=ResponseCode.OK).encode()
        registration = SessionRegistration(request_id=ID, destination_ip=ADDRESS, destination_port=1).encode()
        for data in (b"", b"\x09", b"\x01x", strange, IcmpPacket(packet=b"x").encode(), registration):
            connector.send_datagram(data)
        connector.send_datagram(SessionPayload(request_id=bytes(16), payload=b"x").encode())
        connector.send_datagram(SessionPayload(request_id=ID, payload=b"x").encode())
        await asyncio.sleep(1)
        assert link.dropped == {"malformed": 3, "unsupported": 2, "flow_unknown": 1}
        assert user.data == [b"x"]

    run(2, version_2)
    run(3, version_3)


@pytest.mark.parametrize("version", [2, 3])
def test_sessions_of_a_connection_are_bounded(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(link: DatagramLink, connector: MemoryConnection) -> None:
        link.take(ID, User())
        with pytest.raises(OpenFailed, match="1 UDP sessions already"):
            await link.open(bytes(16), ADDRESS, 53, User())

    monkeypatch.setattr(links, "MAX_SESSIONS", 1)
    run(version, scenario)


@pytest.mark.parametrize("version", [2, 3])
def test_an_open_that_is_cancelled_leaves_no_session(version: int) -> None:
    async def scenario(link: DatagramLink, connector: MemoryConnection) -> None:
        opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User()))
        await asyncio.sleep(0.1)
        assert ID in link.sessions
        opening.cancel()
        await asyncio.wait((opening,))
        assert link.sessions == {}

    run(version, scenario)
