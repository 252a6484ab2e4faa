"""Clients of the gateway who flood it: others are served meanwhile, and what is held of each is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from pyconnector.edge.private.gateway.associate import MAX_DESTINATIONS, READS_PER_TURN, Association
from pyconnector.edge.private.gateway.client import GatewayClient
from pyconnector.protocol.proxying.socks5 import encode_udp
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of, opened
from tests.support.loop.turns import TurnMeter
from tests.support.peers.gateway import Client

pytestmark = pytest.mark.usefixtures("each_loop")

#: What is sent again and again, by onramp.
UNITS = {
    "fields": ("http", b"CONNECT a:1 HTTP/1.1\r\n", b"a:\r\n"),
    "beginnings": ("http", b"", b"\r\n"),
    "methods": ("socks", b"\x05\xff", b"\x00"),
    "greetings": ("socks", b"", b"\x05\x01\x02"),
}
READ = 256 * 1024


async def _flood(address: tuple[str, int], start: bytes, unit: bytes) -> None:
    while True:
        client = await Client.at(address)
        try:
            client.writer.write(start)
            while not client.reader.at_eof():
                client.writer.write(unit * (65_536 // len(unit)))
                await client.writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await client.reader.read(65_536)
        except OSError:
            pass  # cut off: come again
        finally:
            client.writer.transport.abort()


@pytest.mark.parametrize("connections", [1, 50])
@pytest.mark.parametrize("kind", UNITS)
async def test_others_are_served_during_a_flood(kind: str, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    onramp, start, unit = UNITS[kind]
    held = 0
    taken = GatewayClient.data_received

    def data_received(client: GatewayClient, data: bytes) -> None:
        nonlocal held
        taken(client, data)
        held = max(held, len(client._data))

    monkeypatch.setattr(GatewayClient, "data_received", data_received)
    async with gateway_house() as house, echo_service() as port:
        gateway = gateway_of(house)
        address = gateway.http_address if onramp == "http" else gateway.socks_address
        assert address is not None
        floods = [asyncio.create_task(_flood(address, start, unit)) for _ in range(connections)]
        await asyncio.sleep(0)
        for _ in range(3):
            client, through = await opened(house, onramp, "127.0.0.1", port)
            assert through
            assert await client.ask(b"hello") == b"hello"
            client.close()
        for task in floods:
            task.cancel()
        await asyncio.wait(floods)
        assert 0 < held <= 2 * READ


async def test_datagrams_of_a_flood_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(Association, "_packet", meter.counting(Association._packet, lambda nothing: 1))
    async with gateway_house() as house:
        client = await Client.at(gateway_of(house).socks_address)
        code, where = await client.socks("0.0.0.0", 0, command=3)
        assert code == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding, meter:
            flooding.setblocking(False)
            for number in range(400):
                packet = encode_udp(f"10.0.{number // 250}.{number % 250}", 53, b"x")
                with contextlib.suppress(BlockingIOError):
                    flooding.sendto(packet, where)
            async with asyncio.timeout(30):
                while meter.total < 100:
                    await asyncio.sleep(0.01)
            assert meter.most <= READS_PER_TURN
            assert len(gateway_of(house).judge) <= MAX_DESTINATIONS
        client.close()
