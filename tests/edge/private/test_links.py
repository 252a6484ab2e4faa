"""Both versions of the datagram protocol at the edge, against a connector in memory that answers as a test says."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

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

pytestmark = pytest.mark.usefixtures("virtual_time")

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


def linked(version: int) -> tuple[DatagramLink, MemoryConnection]:
    """The link of a connection of that version, and the connector's end of it."""
    edge, connector = memory_pair()
    link = make_link(edge, [f"support_datagram_v{version}" + ("_2" if version == 3 else "")])
    assert link is not None
    return link, connector


async def test_a_connector_without_the_feature_is_sent_no_datagrams() -> None:
    assert make_link(memory_pair()[0], ["serialized_headers"]) is None


async def test_a_lost_registration_is_sent_again_until_it_is_answered() -> None:
    link, connector = linked(3)
    opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User(), first=b"first"))
    seen = [decode_v3(await connector.receive_datagram()) for _ in range(3)]
    assert (
        seen == [SessionRegistration(request_id=ID, destination_ip=ADDRESS, destination_port=53, payload=b"first")] * 3
    )
    connector.send_datagram(SessionResponse(request_id=ID, code=ResponseCode.OK).encode())
    await opening
    assert asyncio.get_running_loop().time() == pytest.approx(ATTEMPTS[0] + ATTEMPTS[1])


async def test_a_connector_that_never_answers_is_given_up() -> None:
    link, _ = linked(3)
    with pytest.raises(OpenFailed, match="did not answer within 5 s"):
        await link.open(ID, ADDRESS, 53, User())
    assert link.sessions == {}


async def test_a_first_packet_too_large_to_travel_with_the_registration_follows_it() -> None:
    link, connector = linked(3)
    first = bytes(1280)
    link.transport.send_datagram, send = lambda data: len(data) <= 1300 and send(data), link.transport.send_datagram  # type: ignore[method-assign]
    opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User(), first=first))
    registration = decode_v3(await connector.receive_datagram())
    assert isinstance(registration, SessionRegistration)
    assert registration.payload == b""
    connector.send_datagram(SessionResponse(request_id=ID, code=ResponseCode.OK).encode())
    await opening
    assert decode_v3(await connector.receive_datagram()) == SessionPayload(request_id=ID, payload=first)


async def test_what_a_connector_of_version_2_sends_wrongly_is_counted_and_ends_nothing() -> None:
    link, connector = linked(2)
    user = User()
    link.take(ID, user)
    for data in (b"", b"\x09", b"x\x00", IpPacket(packet=b"x").encode(), bytes(16) + b"\x00"):
        connector.send_datagram(data)
    from uuid import UUID

    connector.send_datagram(UdpPayload(session_id=UUID(bytes=ID), payload=b"x").encode())
    await asyncio.sleep(1)
    assert link.dropped == {"malformed": 3, "unsupported": 1, "flow_unknown": 1}
    assert user.data == [b"x"]


async def test_what_a_connector_of_version_3_sends_wrongly_is_counted_and_ends_nothing() -> None:
    link, connector = linked(3)
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


@pytest.mark.parametrize("version", [2, 3])
async def test_sessions_of_a_connection_are_bounded(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_SESSIONS", 1)
    link, _ = linked(version)
    link.take(ID, User())
    with pytest.raises(OpenFailed, match="1 UDP sessions already"):
        await link.open(bytes(16), ADDRESS, 53, User())


@pytest.mark.parametrize("version", [2, 3])
async def test_an_open_that_is_cancelled_leaves_no_session(version: int) -> None:
    link, _ = linked(version)
    opening = asyncio.ensure_future(link.open(ID, ADDRESS, 53, User()))
    await asyncio.sleep(0.1)
    assert ID in link.sessions
    opening.cancel()
    await asyncio.wait((opening,))
    assert link.sessions == {}
