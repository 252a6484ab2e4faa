"""A private house whose edge has a gateway, with what its tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.houses.private_house import PrivateHouse, private_house
from tests.support.peers.gateway import Client, gateway_settings

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway


@asynccontextmanager
async def echo_service(host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, host, 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def gateway_house(
    resolver: int = 0, edge: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[PrivateHouse]:
    settings = {"gateway": gateway_settings(**more), **(edge or {})}
    async with private_house(settings=settings, resolver=resolver) as house:
        yield house


def gateway_of(house: PrivateHouse) -> Gateway:
    assert house.edge.gateway is not None
    return house.edge.gateway


async def record_of(house: PrivateHouse, number: int = -1, *, count: int = 1) -> dict[str, Any]:
    """The record of a flow, once there are `count`."""
    recent = gateway_of(house).records.recent
    async with asyncio.timeout(30):
        while len(recent) < count:
            await asyncio.sleep(0.01)
    return recent[number]


async def opened(house: PrivateHouse, onramp: str, host: str, port: int, **more: Any) -> tuple[Client, bool]:
    """Return a client, and whether it was let through."""
    gateway = gateway_of(house)
    if onramp == "http":
        client = await Client.at(gateway.http_address)
        return client, await client.http_connect(host, port, **more) == 200
    client = await Client.at(gateway.socks_address)
    return client, (await client.socks(host, port, **more))[0] == 0


ONRAMPS = ["http", "socks"]


async def associated(house: PrivateHouse) -> tuple[Client, tuple[str, int]]:
    control = await Client.at(gateway_of(house).socks_address)
    code, where = await control.socks("0.0.0.0", 0, command=3)
    assert code == 0
    return control, where


class Udp(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.packets.put_nowait(data)

    def send(self, data: bytes) -> None:
        self.transport.sendto(data)

    def close(self) -> None:
        self.transport.close()

    async def receive(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.packets.get()


async def udp_client(where: tuple[str, int]) -> Udp:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Udp, remote_addr=where)
    return protocol
