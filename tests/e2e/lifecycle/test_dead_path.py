"""A connection whose path swallows everything is left while the others live, sooner than QUIC would end it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from pyconnector import Connector
from pyconnector.connector.link.paths import path_health
from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import Eager, config_for, tunnel
from tests.transport.pairs.relay import relay_to

QUIC_ONLY = True


async def test_a_connection_leaves_its_dead_path(
    engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pyconnector")
    monkeypatch.setattr(path_health, "SILENCE", 1.8)  # a sign of life is asked for every second
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge:
        async with relay_to(edge.quic_address) as first, relay_to(edge.quic_address) as second:
            config = config_for(edge, [{"service": "http_status:418"}], engine=engine, connections=2)
            places = tuple("{}:{}".format(*relay.address) for relay in (first, second))
            connector = Connector(replace(config, edge=replace(config.edge, addresses=places)))
            connector._random = Eager()
            async with connector, asyncio.timeout(30):
                await connector.wait_ready(2)
                left = next(info for info in connector.connections if info.address == first.address)
                first.filter = lambda _data, _up: 0
                while connector.connections[left.index].connection_id == left.connection_id:
                    await asyncio.sleep(0.01)
    (line,) = [record for record in caplog.records if record.getMessage() == "A path to the edge is dead"]
    told = line.fields  # type: ignore[attr-defined]
    assert (told["connIndex"], told["engine"]) == (left.index, engine)
    assert float(told["silent"].removesuffix("s")) < 5.0
