"""The fault relay: packets are lost, delayed and doubled as the seed says, the same each time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyconnector.edge import SettingsError
from pyconnector.edge.faults import relay as edge_faults
from pyconnector.edge.faults.relay import FaultRelay, Faults
from pyconnector.transport.udp.batched import UdpEndpoint
from tests.edge.support import until


class Ends:
    """A server that answers each datagram, behind a relay, and a client before it."""

    async def __aenter__(self) -> Ends:
        self.at_server: list[bytes] = []
        self.at_client: list[tuple[float, bytes]] = []
        loop = asyncio.get_running_loop()

        def serve(datagrams: list[Any]) -> None:
            self.at_server += [data for data, _ in datagrams]
            self.server.send([(b"re " + data, address) for data, address in datagrams])

        def take(datagrams: list[Any]) -> None:
            self.at_client += [(loop.time(), data) for data, _ in datagrams]

        self.server = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1_000_000, on_datagrams=serve)
        self.relay = FaultRelay("127.0.0.1", 0, self.server.address)
        self.address = await self.relay.start()
        self.client = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1_000_000, on_datagrams=take)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.relay.close()
        await self.relay.close()
        self.client.close()
        self.server.close()

    async def exchange(self, count: int, size: int = 10) -> None:
        for number in range(count):
            self.client.send([(b"%05d" % number + b"x" * size, self.address)])
            if number % 50 == 49:
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        before = -1
        while before != (now := len(self.at_client) + len(self.at_server)):
            before = now
            await asyncio.sleep(0.05)


async def test_without_faults_everything_passes_in_order() -> None:
    async with Ends() as ends:
        await ends.exchange(1)  # until its socket is open, only so many wait
        await until(lambda: len(ends.at_client) == 1)
        await ends.exchange(300)
        await until(lambda: len(ends.at_client) == 301)
        assert [data[3:8] for _, data in ends.at_client[1:]] == [b"%05d" % number for number in range(300)]
        assert ends.relay.counts()["to_edge"] == {"passed": 301, "lost": 0, "duplicated": 0}


async def test_losses_are_those_of_the_seed() -> None:
    lost: list[list[bytes]] = []

    for seed in (1, 1, 2):
        async with Ends() as ends:
            await ends.exchange(1)
            await until(lambda ends=ends: len(ends.at_client) == 1)  # type: ignore[misc]
            ends.relay.set(Faults(loss=0.3, seed=seed, direction="to_edge"))
            await ends.exchange(400)
            await ends.quiet()
            lost.append(list(ends.at_server))
            counts = ends.relay.counts()
            assert counts["to_edge"]["lost"] == 401 - len(ends.at_server)
            assert counts["to_connector"]["lost"] == 0
            ends.relay.set(None)
            before = len(ends.at_server)
            await ends.exchange(100)
            await until(lambda ends=ends, before=before: len(ends.at_server) == before + 100)  # type: ignore[misc]
    assert lost[0] == lost[1]
    assert lost[0] != lost[2]
    assert 80 < 401 - len(lost[0]) < 160


async def test_duplicates_arrive_twice() -> None:
    async with Ends() as ends:
        ends.relay.set(Faults(duplicate=1.0, direction="to_edge"))
        await ends.exchange(10)
        await until(lambda: len(ends.at_server) == 20)


async def test_a_delay_each_way_makes_a_round_trip_and_keeps_the_order() -> None:
    async with Ends() as ends:
        await ends.exchange(1)
        await until(lambda: len(ends.at_client) == 1)
        ends.relay.set(Faults(delay=0.05))
        start = asyncio.get_running_loop().time()
        await ends.exchange(200)
        await until(lambda: len(ends.at_client) == 201)
        assert ends.at_client[1][0] - start >= 0.099
        assert [data[3:8] for _, data in ends.at_client[1:]] == [b"%05d" % number for number in range(200)]


async def test_jitter_lets_packets_overtake_each_other() -> None:
    async with Ends() as ends:
        ends.relay.set(Faults(jitter=0.05, direction="to_edge", seed=3))
        await ends.exchange(50)
        await until(lambda: len(ends.at_server) == 50)
        assert ends.at_server != sorted(ends.at_server)


async def test_what_is_delayed_and_who_is_relayed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_faults, "MAX_DELAYED", 10)
    monkeypatch.setattr(edge_faults, "MAX_CLIENTS", 2)

    async with Ends() as ends:
        ends.relay.set(Faults(delay=5.0))
        await ends.exchange(50)
        await until(lambda: ends.relay.counts()["to_edge"]["lost"] == 40)
        others = [
            await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=65536, on_datagrams=lambda _: None) for _ in range(4)
        ]
        for other in others:
            other.send([(b"hello", ends.address)])
        await asyncio.sleep(0.05)
        assert "clients=2" in repr(ends.relay)
        for other in others:
            other.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.1},
        {"loss": -0.1},
        {"duplicate": 2},
        {"delay": -1},
        {"delay": 11},
        {"jitter": -1},
        {"direction": "up"},
    ],
)
def test_faults_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Faults(**wrong)
