"""UDP through SOCKS: each destination judged and recorded, few at a time."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.edge.private.gateway.associate import MAX_DESTINATIONS
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp
from tests.support.houses.gateway_house import associated, gateway_house, gateway_of, record_of, udp_client
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_udp_travels_through_socks_with_a_record_for_each_destination() -> None:
    async with gateway_house() as house, UdpService() as service, UdpService() as other:
        control, where = await associated(house)
        udp = await udp_client(where)
        for each in (service, other):
            for data in (b"first", b"second", bytes(1200)):
                udp.send(encode_udp("127.0.0.1", each.port, data))
                assert decode_udp(await udp.receive()) == ("127.0.0.1", each.port, data)
        control.close()
        records = [await record_of(house, number, count=2) for number in (0, 1)]
        assert {record["OriginPort"] for record in records} == {service.port, other.port}
        assert {record["Protocol"] for record in records} == {"UDP"}
        assert {(record["BytesSent"], record["BytesReceived"]) for record in records} == {(1211, 1211)}
        udp.close()


async def test_udp_that_may_not_be_is_dropped_and_recorded_once() -> None:
    async with gateway_house() as house, UdpService() as service:
        control, where = await associated(house)
        udp, stranger = await udp_client(where), await udp_client(where)
        for _ in range(5):
            udp.send(encode_udp("10.9.9.9", 53, b"x"))
            await asyncio.sleep(0.02)
        udp.send(b"noise")
        udp.send(b"\x00\x00\x01" + encode_udp("127.0.0.1", service.port, b"fragment")[3:])
        stranger.send(encode_udp("127.0.0.1", service.port, b"stranger"))
        udp.send(encode_udp("127.0.0.1", service.port, b"x"))
        assert decode_udp(await udp.receive()) == ("127.0.0.1", service.port, b"x")
        assert service.received == [b"x"]
        control.close()
        assert [(await record_of(house, n, count=2))["Action"] for n in (0, 1)] == ["block", "allow"]
        udp.close()
        stranger.close()


async def test_udp_of_many_destinations_is_bounded() -> None:
    async with gateway_house() as house, UdpService() as service:
        control, where = await associated(house)
        udp = await udp_client(where)
        for number in range(2_000):
            udp.send(encode_udp("127.0.0.1", 1 + number % 60_000, b"x"))
            udp.send(b"\x00\x00\x01" + encode_udp("127.0.0.1", service.port, b"fragment")[3:])
            if not number % 100:
                await asyncio.sleep(0.001)
        assert len(gateway_of(house).judge) <= MAX_DESTINATIONS
        control.close()
        async with asyncio.timeout(10):
            while len(gateway_of(house).judge):
                await asyncio.sleep(0.01)
        assert service.received == []
        udp.close()
