"""Which protocol reaches the edge: chosen, fallen back to, and returned from; on either event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyconnector import Connector
from pyconnector.connector.link import quic_return
from pyconnector.connector.observe.metrics import exposition
from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import Eager, config_for, tunnel
from tests.support.peers.raw_visitor import RawVisitor, get

pytestmark = pytest.mark.usefixtures("each_loop")

RULES = [{"service": "http_status:418"}]


def with_protocol(edge: LocalEdge, protocol: str, connections: int = 1) -> Any:
    config = config_for(edge, RULES, engine="aioquic", connections=connections)
    return replace(config, edge=replace(config.edge, protocol=protocol))


@contextlib.asynccontextmanager
async def connected(config: Any, connections: int = 1) -> AsyncIterator[Connector]:
    connector = Connector(config)
    connector._random = Eager()
    async with connector:
        async with asyncio.timeout(30):
            await connector.wait_ready(connections)
        yield connector


async def status(edge: LocalEdge) -> int:
    async with RawVisitor(edge.visitor_address) as visitor:
        return (await visitor.request(get())).status


async def until(condition: Any, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("wanted", "expected"), [("quic", "quic"), ("http2", "http2"), ("auto", "quic")])
async def test_the_wanted_protocol_is_used_and_told(wanted: str, expected: str) -> None:
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge:
        async with connected(with_protocol(edge, wanted, 2), 2) as connector:
            assert {info.protocol for info in connector.connections} == {expected}
            assert {each.describe()["protocol"] for each in edge.connectors.all()} == {expected}
            assert (
                f'pyconnector_registered_connections{{protocol="{expected}"}} 2'
                in exposition(connector.registry.collect()).decode()
            )
            assert await status(edge) == 418


async def test_auto_falls_back_where_udp_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pyconnector")

    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None, protocols=("http2",))) as edge:
        async with connected(with_protocol(edge, "auto", 2), 2) as connector:
            assert [info.protocol for info in connector.connections] == ["http2", "http2"]
            assert await status(edge) == 418
    told = [record.getMessage() for record in caplog.records if "trying HTTP/2" in record.getMessage()]
    assert len(told) == 1, "the others follow the first"
    assert "neither UDP nor ICMP of private networks" in told[0]


@pytest.mark.parametrize("connections", [1, 2])
async def test_auto_returns_to_quic_once_it_works(
    connections: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quic_return, "FIRST_LOOK", 0.05)
    monkeypatch.setattr(quic_return, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(quic_return, "ROUND", 0.02)

    settings = EdgeSettings(tunnels=(tunnel(),), control=None, protocols=("http2",), ca_directory=tmp_path)
    async with LocalEdge(settings) as edge:
        config = with_protocol(edge, "auto", connections)
        async with connected(config, connections) as connector:
            assert {info.protocol for info in connector.connections} == {"http2"}
            registered = [connections]
            connector._on_event = lambda event: registered.append(connector.tracker.connected)
            # From now on UDP gets through, at the same port.
            await edge._listen_for_quic(edge._exit, edge._prepare_tls(), *edge.quic_address)
            await until(lambda: [info.protocol for info in connector.connections] == ["quic"] * connections)
            await until(lambda: connector.tracker.connected == connections)
            await until(lambda: len(edge.connectors.all()) == connections)
            assert await status(edge) == 418
            assert min(registered) == 1, "there was one at every moment"


async def test_where_http2_is_closed_too_quic_is_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens there, and nobody else can
        async with LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None, protocols=("quic",))) as edge:
            config = with_protocol(edge, "auto")
            nowhere = replace(config.edge, addresses=(f"127.0.0.1:{taken.getsockname()[1]}",))
            connector = Connector(replace(config, edge=nowhere))
            connector._random = Eager()
            async with connector:
                seen: list[str] = []
                attempts = connector._supervisor
                assert attempts is not None
                while len(seen) < 4:
                    current = attempts._choice.protocol(0)
                    if not seen or seen[-1] != current:
                        seen.append(current)
                    await asyncio.sleep(0.005)
                assert seen == ["quic", "http2", "quic", "http2"]
