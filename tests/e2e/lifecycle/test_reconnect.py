"""Connections that end: the connector comes back, from the same port, and visitors are served meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from pyconnector import Connector
from pyconnector.connector.api.events import Disconnected, Event, Registered
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.faults.relay import Faults
from tests.support.houses.house import Eager, config_for, config_to, tunnel
from tests.support.peers.hostile import sentences
from tests.support.peers.load import under_load
from tests.support.peers.raw_visitor import RawVisitor, get

#: These tests look at UDP ports and lose packets.
QUIC_ONLY = True
RULES = [{"service": "http_status:204"}]


class Watch:
    """Events of a connector, and waiting for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: type[Event], count: int) -> None:
        async with asyncio.timeout(15):
            while sum(isinstance(event, kind) for event in self.events) < count:
                self._news.clear()
                await self._news.wait()


async def ask_control(edge: LocalEdge, method: str, path: str, body: Any = None) -> Any:
    assert edge.control_address is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.request(method, "http://{}:{}{}".format(*edge.control_address, path), json=body)
        assert response.status_code == 200, response.text
        return response.json()


async def peers(edge: LocalEdge) -> dict[int, str]:
    """The address that each connection index comes from."""
    connections = (await ask_control(edge, "GET", "/connections"))["connections"]
    return {one["connection_index"]: one["peer"] for one in connections if one["state"] == "registered"}


@asynccontextmanager
async def watched(
    engine: str, connections: int, *, quic: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[LocalEdge, Connector, Watch]]:
    watch = Watch()
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), **settings)) as edge:
        config = config_to(edge.quic_address, edge.ca_path, RULES, engine=engine, connections=connections, quic=quic)
        connector = Connector(config, on_event=watch.observe)
        connector._random = Eager()
        async with connector:
            async with asyncio.timeout(15):
                await connector.wait_ready(connections)
            yield edge, connector, watch


async def test_a_killed_connection_comes_back_from_its_port_while_the_others_serve(engine: str) -> None:
    async with watched(engine, 3) as (edge, connector, watch):
        before = await peers(edge)
        assert sorted(before) == [0, 1, 2]
        async with under_load(edge.visitor_address) as load:
            listed = (await ask_control(edge, "GET", "/connections"))["connections"]
            victim = next(one for one in listed if one["connection_index"] == 1)
            # New requests go to the other connections at once; those under way on it are answered with an error.
            await ask_control(edge, "POST", f"/connections/{victim['id']}/kill")
            await load.until(50, status=204)
            await watch.until(Registered, 4)
            await load.until(50, status=204)
        assert set(load.statuses) <= {204, 502}
        assert load.statuses[502] <= 8, "only what was under way at that moment is lost"
        assert await peers(edge) == before
        (lost,) = [event for event in watch.events if isinstance(event, Disconnected)]
        assert "killed by the control API" in lost.reason
        assert connector.counters.registrations == 4


async def test_the_only_connection_comes_back(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    async with watched(engine, 1) as (edge, _, watch):
        before = await peers(edge)
        for round in range(2, 4):
            for connection in edge.connectors.all():
                connection.close("again")
            await watch.until(Registered, round)
            async with RawVisitor(edge.visitor_address) as visitor:
                assert (await visitor.request(get())).status == 204
        assert await peers(edge) == before
        assert sentences(caplog) == ["Lost the connection to the edge: again"] * 2


async def test_an_edge_that_falls_silent_is_noticed_and_found_again(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No packet says that it is gone: the idle timeout does."""

    quic = {"idle_timeout": 1.0, "keepalive": 0.2, "handshake_timeout": 1.0}
    async with watched(engine, 1, quic=quic, fault_relay=True) as (edge, _, watch):
        assert edge.relay is not None
        edge.relay.set(Faults(loss=1.0))
        await watch.until(Disconnected, 1)
        (sentence,) = sentences(caplog)  # though the call that was under way failed too
        assert sentence.startswith("Lost the connection to the edge: nothing was heard from the peer")
        edge.relay.set(None)
        await watch.until(Registered, 2)
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 204


async def test_an_edge_that_restarts_is_registered_with_again(engine: str) -> None:
    watch = Watch()
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as probe:
        directory = probe.ca_path.parent
        settings = EdgeSettings(tunnels=(tunnel(),), ca_directory=directory / "kept")
        async with LocalEdge(settings) as first:
            address = first.quic_address
            config = config_for(first, RULES, engine=engine)
            connector = Connector(config, on_event=watch.observe)
            connector._random = Eager()
            await connector.start()
            await connector.wait_ready()
        await watch.until(Disconnected, 1)
        async with LocalEdge(EdgeSettings(address=address, tunnels=(tunnel(),), ca_directory=directory / "kept")):
            await watch.until(Registered, 2)
            await connector.stop()


async def test_packets_that_are_lost_delayed_and_doubled_cost_time_alone(engine: str) -> None:
    async with watched(engine, 2, fault_relay=True) as (edge, connector, _):
        faults = {"loss": 0.03, "duplicate": 0.02, "delay": 0.005, "jitter": 0.002, "seed": 20261124}
        await ask_control(edge, "POST", "/faults", faults)
        async with under_load(edge.visitor_address, visitors=16) as load:
            await load.until(400)
        assert set(load.statuses) == {204}
        counts = (await ask_control(edge, "GET", "/faults"))["packets"]
        assert counts["to_edge"]["lost"] > 0
        assert counts["to_connector"]["lost"] > 0
        assert connector.counters.registrations == 2
        await ask_control(edge, "DELETE", "/faults")
