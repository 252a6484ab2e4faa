"""Pings from the edge through a connector, ours and the genuine one, in a network namespace that allows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge.private.network import Unreachable
from pyconnector.protocol.icmp import Echo
from tests.e2e.private.test_private_reference import genuine_house, version_flags
from tests.support.houses.house import open_descriptors
from tests.support.houses.namespaces import run_in_own_network, why_not
from tests.support.houses.private_house import PrivateHouse, private_house
from tests.support.services.genuine import needs_cloudflared

#: Datagrams are QUIC's.
QUIC_ONLY = True

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces can be made")

#: HTTP/2 carries no datagrams.
QUIC_ONLY = True
HOSTS = ("127.0.0.1", "::1")


async def ping(house: PrivateHouse, host: str, *, size: int = 56, ttl: int = 64) -> Any:
    return await house.network.ping(await house.network.find(host, 0), data=bytes(range(256))[:size], ttl=ttl)


async def pings_and_exceeds(house: PrivateHouse) -> None:
    for host in HOSTS:
        pong = await ping(house, host)
        assert (str(pong.source), pong.data, pong.expired) == (host, bytes(range(56)), False)
        hop = await ping(house, host, ttl=1)
        assert hop.expired
        assert hop.source.version == pong.source.version
        pongs = await asyncio.gather(*(ping(house, host, size=n) for n in range(20)))
        assert [len(each.data) for each in pongs] == list(range(20))


@pytest.mark.parametrize("version", [2, 3])
def test_echoes_come_back_and_used_up_hop_limits_are_told(version: int, engine: str) -> None:
    async def main() -> None:
        async with private_house(version=version, engine=engine) as house:
            await pings_and_exceeds(house)
            counters = house.connector.counters.datagrams
            assert (counters.icmp_requests, counters.icmp_replies, counters.icmp_dropped) == (42, 42, {})

    run_in_own_network(main)


@needs_cloudflared[1]
@pytest.mark.reference
@pytest.mark.parametrize("version", [2, 3])
def test_the_genuine_connector_answers_the_same(tmp_path: Path, version: int) -> None:
    async def main() -> None:
        async with genuine_house(tmp_path, *version_flags(version)) as house:
            await pings_and_exceeds(house)

    run_in_own_network(main)


def test_a_system_that_forbids_pings_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with private_house() as house:
            with pytest.raises(Unreachable, match="did not answer"):
                await ping(house, "127.0.0.1")
            assert house.connector.counters.datagrams.icmp_dropped == {(0, "unsupported"): 1}

    with caplog.at_level(logging.WARNING, "pyconnector.icmp"):
        run_in_own_network(main, ping_groups="1 0")
    assert 'sysctl -w net.ipv4.ping_group_range="0 0"' in caplog.text or "sysctl -w" in caplog.text


def on_the_wire(scenario: Callable[[PrivateHouse, Callable[[bytes], None]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with private_house() as house:
            [connection] = house.edge.connectors.all()
            assert connection.datagrams is not None
            await ping(house, "127.0.0.1")
            await scenario(house, connection.datagrams.send_packet)  # type: ignore[arg-type]

    run_in_own_network(main)


def test_replies_and_noise_of_the_edge_are_dropped_and_counted() -> None:
    async def scenario(house: PrivateHouse, send: Callable[[bytes], None]) -> None:
        counters = house.connector.counters.datagrams
        source = (await house.network.find("127.0.0.1", 0)).address
        send(Echo(source=source, destination=source, is_reply=True, identifier=1, sequence=1).encode())
        send(b"\x45noise")
        async with asyncio.timeout(30):
            while len(counters.icmp_dropped) < 2:
                await asyncio.sleep(0.01)
        assert counters.icmp_dropped == {(0, "unsupported"): 1, (0, "malformed"): 1}
        await ping(house, "127.0.0.1")

    on_the_wire(scenario)


def test_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.connector.datagrams.icmp.MAX_FLOWS", 3)

    async def scenario(house: PrivateHouse, send: Callable[[bytes], None]) -> None:
        counters = house.connector.counters.datagrams
        source = (await house.network.find("127.0.0.1", 0)).address
        for identifier in range(10):
            send(Echo(source=source, destination=source, identifier=identifier, sequence=1).encode())
        async with asyncio.timeout(30):
            while counters.icmp_requests + sum(counters.icmp_dropped.values()) < 11:
                await asyncio.sleep(0.01)
        assert counters.icmp_dropped == {(0, "write_full"): 8}

    on_the_wire(scenario)


def test_flows_that_are_idle_give_their_sockets_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.connector.datagrams.icmp.IDLE_SECONDS", 0.2)

    async def main() -> None:
        async with private_house() as house:
            before = open_descriptors()
            await asyncio.gather(*(ping(house, "127.0.0.1") for _ in range(5)))
            assert open_descriptors() == before + 5
            async with asyncio.timeout(30):
                while open_descriptors() > before:
                    await asyncio.sleep(0.05)
            assert (await ping(house, "127.0.0.1")).data

    run_in_own_network(main)
