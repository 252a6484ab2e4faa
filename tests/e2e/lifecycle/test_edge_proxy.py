"""An edge behind a proxy: HTTP CONNECT and SOCKS5, with and without a password, on either event loop."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from pyconnector import Connector
from pyconnector.connector.discovery.prechecks import Status, run_prechecks
from pyconnector.connector.discovery.probes import probes_for
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.transport.proxy.address import parse_proxy
from tests.support.houses.house import Eager, config_for, tunnel
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.forward_proxy import ForwardProxy, forward_proxy

pytestmark = pytest.mark.usefixtures("each_loop")

RULES = [{"service": "http_status:418"}]


def connector_through(
    edge: LocalEdge, proxy: ForwardProxy, credentials: str = "", host: str = "127.0.0.1"
) -> Connector:
    config = config_for(edge, RULES, engine="aioquic", connections=2)
    port = edge.quic_address[1]
    reach = replace(
        config.edge,
        protocol="auto",
        addresses=(f"{host}:{port}",),
        proxy=parse_proxy(proxy.url.replace("://", f"://{credentials}")),
    )
    connector = Connector(replace(config, edge=reach))
    connector._random = Eager()
    return connector


@pytest.mark.parametrize(("kind", "password"), [("http", True), ("http", False), ("socks5", True), ("socks5", False)])
async def test_requests_go_through_the_proxy_over_http2(
    kind: str, password: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pyconnector")

    required = (b"hugo", b"hu:sh") if password else None
    async with (
        LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge,
        forward_proxy(kind, required) as proxy,
        connector_through(edge, proxy, "hugo:hu%3Ash@" if password else "") as connector,
    ):
        async with asyncio.timeout(30):
            await connector.wait_ready(2)
        assert {info.protocol for info in connector.connections} == {"http2"}
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 418
        assert proxy.asked == [f"127.0.0.1:{edge.quic_address[1]}"] * 2
        assert connector.counters.quic_connections == 0, "QUIC is not dialled past it"
    assert any("through the proxy" in record.getMessage() for record in caplog.records)
    assert "hu:sh" not in caplog.text
    assert "hugo" not in caplog.text


async def test_refused_credentials_are_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge,
        forward_proxy("http", (b"hugo", b"right")) as proxy,
        connector_through(edge, proxy, "hugo:wrong@") as connector,
    ):
        async with asyncio.timeout(30):
            while proxy.refused < 2:
                await asyncio.sleep(0.01)
            proxy.credentials = (b"hugo", b"wrong")
            await connector.wait_ready()
    assert "does not accept these credentials (407)" in caplog.text
    assert "wrong" not in caplog.text


async def test_names_that_this_network_does_not_know_are_left_to_the_proxy() -> None:
    async with (
        LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge,
        forward_proxy("http") as proxy,
    ):
        proxy.names["edge.invalid"] = ("127.0.0.1", edge.quic_address[1])
        async with connector_through(edge, proxy, host="edge.invalid") as connector, asyncio.timeout(30):
            await connector.wait_ready(2)
            assert proxy.asked == [f"edge.invalid:{edge.quic_address[1]}"] * 2


async def test_prechecks_go_the_same_way() -> None:
    async with (
        LocalEdge(EdgeSettings(tunnels=(tunnel(),), control=None)) as edge,
        forward_proxy("socks5") as proxy,
    ):
        reach = connector_through(edge, proxy).config.edge
        report = await run_prechecks(probes_for(reach))
        rows = {row.component: row for row in report.rows}
        assert rows["TCP Connectivity"].status is Status.PASS
        assert rows["UDP Connectivity"].details == "QUIC is not dialled past the proxy"
        assert report.suggested == "http2"
        assert proxy.asked == [f"127.0.0.1:{edge.quic_address[1]}"]
        broken = replace(reach, proxy=parse_proxy("http://127.0.0.1:1"))
        report = await run_prechecks(probes_for(broken), budget=0.5)
        assert report.hard_fail
