"""Private flows, cancelled at any point while they are opened, leave nothing at edge, connector and service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.private.test_private_names import RECORDS, SETTINGS
from tests.e2e.private.test_private_udp import until
from tests.support.houses.gateway_house import echo_service
from tests.support.houses.house import open_descriptors
from tests.support.houses.private_house import PrivateHouse, private_house
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.usefixtures("each_loop")


async def _settled(house: PrivateHouse, descriptors: int) -> None:
    [connection] = house.edge.connectors.all()
    counters = house.connector.counters
    await until(lambda: not connection.in_flight and not house.network.tasks)
    await until(lambda: not counters.datagrams.v2_active)
    assert connection.datagrams is not None
    assert connection.datagrams.sessions == {}
    await until(lambda: open_descriptors() <= descriptors)


async def test_private_tcp_can_be_cancelled_anywhere() -> None:
    async with echo_service() as port, private_house(settings=SETTINGS) as house:

        async def flow() -> None:
            exchange = await house.network.open_tcp(await house.network.find("127.0.0.1", port))
            exchange.abort()

        await flow()
        await asyncio.sleep(0.1)
        descriptors = open_descriptors()
        assert await cancel_everywhere(flow, lambda: _settled(house, descriptors)) >= 1


async def test_private_udp_can_be_cancelled_anywhere() -> None:
    async with UdpService() as service, private_house() as house:
        got: asyncio.Queue[bytes] = asyncio.Queue()

        async def flow() -> None:
            destination = await house.network.find("127.0.0.1", service.port)
            opened = await house.network.open_udp(
                destination, on_data=got.put_nowait, on_end=lambda reason: None, first=b"x"
            )
            try:
                await got.get()
            finally:
                opened.close()

        await flow()
        await asyncio.sleep(0.1)
        descriptors = open_descriptors()
        assert await cancel_everywhere(flow, lambda: _settled(house, descriptors)) >= 2


async def test_private_names_can_be_cancelled_anywhere() -> None:
    async with dns_service(RECORDS) as resolver, private_house(settings=SETTINGS, resolver=resolver.port) as house:

        async def name() -> Any:
            house.network._names._kept.clear()
            return await house.network.find("db.internal", 1)

        await name()
        await asyncio.sleep(0.1)
        descriptors = open_descriptors()
        assert await cancel_everywhere(name, lambda: _settled(house, descriptors)) >= 2
        assert str((await name()).address) == "127.0.0.1"
