"""A whole edge over QUIC on loopback, with a scripted connector; starting, failing to start, and stopping."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from pyconnector.edge import ControlSettings, EdgeSettings, LocalEdge, SettingsError, TcpPort, VisitorSettings
from pyconnector.edge.faults.relay import Faults
from pyconnector.protocol.rpc.registration import Registered
from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import ClientTls, QuicSettings
from tests.edge.debug_api.test_control_api import ask
from tests.edge.support import TUNNEL, memory_edge, until
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import ACCOUNT, SECRET, ScriptedConnector, connected, echo

AIOQUIC = QuicSettings(engine="aioquic")


async def dial(edge: LocalEdge, ca_file: str | None = None) -> ScriptedConnector:
    tls = ClientTls(ca_file=ca_file or str(edge.ca_path))
    connector = ScriptedConnector(await quic.connect(edge.quic_address, tls=tls, settings=AIOQUIC), echo)
    assert isinstance(await connector.register(), Registered)
    return connector


@pytest.mark.parametrize("relayed", [False, True])
async def test_a_request_crosses_quic(relayed: bool, tmp_path: Path) -> None:
    settings = EdgeSettings(
        tunnels=(TUNNEL,), tcp_ports=(TcpPort(destination="db.test"),), ca_directory=tmp_path, fault_relay=relayed
    )

    async with LocalEdge(settings) as edge:
        assert edge.ca_path == tmp_path / "ca.pem"
        connector = await dial(edge)
        if edge.relay is not None:
            edge.relay.set(Faults(loss=0.02, delay=0.005, seed=5))
        data = b"x" * 200_000
        async with RawVisitor(edge.visitor_address) as visitor:
            head = b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: %d\r\n\r\n" % len(data)
            assert (await visitor.request(head + data)).body == data
        if edge.relay is not None:
            lost = edge.relay.counts()
            assert lost["to_edge"]["lost"] + lost["to_connector"]["lost"] > 0
            edge.relay.set(None)  # the close is told once, and losing it would cost the idle timeout
        await connector.close()
        await until(lambda: not edge.connectors.all())
    assert "stopped" in repr(edge)


async def test_faults_are_set_by_the_control_api() -> None:
    async with LocalEdge(EdgeSettings(tunnels=(TUNNEL,), fault_relay=True)) as edge:
        connector = await dial(edge)
        status, told = await ask(edge, "POST", "/faults", {"loss": 1.0, "seed": 7, "direction": "to_connector"})
        assert (status, told["faults"]["loss"], told["faults"]["seed"]) == (200, 1.0, 7)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await until(lambda: edge.relay is not None and edge.relay.counts()["to_connector"]["lost"] > 0)
            assert (await ask(edge, "GET", "/faults"))[1]["packets"]["to_connector"]["lost"] > 0
            assert (await ask(edge, "DELETE", "/faults"))[1]["faults"] is None
            assert (await visitor.response()).status == 200
        for wrong in [{"loss": 2}, {"loss": "1"}, {"loss": True}, {"seed": 1.5}, {"direction": 1}, {"lost": 1}, []]:
            assert (await ask(edge, "POST", "/faults", wrong))[0] == 400
        assert (await ask(edge, "PUT", "/faults", {}))[0] == 405
        await connector.close()


def test_a_location_is_a_name() -> None:
    for wrong in ("", "a b", "a\r\nX: y", "x" * 33):
        with pytest.raises(SettingsError):
            EdgeSettings(location=wrong)


async def test_stopping_cuts_everyone_off_and_stops_again_without_harm() -> None:
    edge = LocalEdge(EdgeSettings(tunnels=(TUNNEL,)))
    await edge.start()
    with pytest.raises(RuntimeError):
        await edge.start()
    ca_path = edge.ca_path
    assert ca_path.read_bytes() == edge.ca_pem
    connector = await dial(edge)
    async with RawVisitor(edge.visitor_address) as visitor:
        await visitor.request(get())
        await edge.stop()
        await edge.stop()
        assert (await connector.connection.wait_closed()).reason == "the edge stops"
        assert await visitor.reader.read() == b""
    assert not ca_path.exists()
    await connector.close()


async def test_an_edge_that_is_not_trusted_is_not_spoken_to(tmp_path: Path) -> None:
    from pyconnector.transport.tls.certificates import make_authority

    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("other").certificate_pem)

    async with LocalEdge(EdgeSettings(tunnels=(TUNNEL,))) as edge:
        with pytest.raises(ConnectFailed) as caught:
            await dial(edge, str(other))
        assert caught.value.untrusted
        await asyncio.sleep(0.05)
        assert edge.connectors.all() == []


@pytest.mark.parametrize("which", ["quic", "visitors", "control", "tcp"])
async def test_an_address_that_is_taken_is_one_sentence_and_leaves_nothing_open(which: str) -> None:
    kind = socket.SOCK_DGRAM if which == "quic" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if which != "quic":
            taken.listen()
        address = taken.getsockname()
        settings = EdgeSettings(
            address=address if which == "quic" else ("127.0.0.1", 0),
            visitors=VisitorSettings(address=address if which == "visitors" else ("127.0.0.1", 0)),
            control=ControlSettings(address=address if which == "control" else ("127.0.0.1", 0)),
            tcp_ports=(TcpPort(destination="db.test", port=address[1] if which == "tcp" else 0),),
        )
        with pytest.raises(SettingsError) as caught:
            await LocalEdge(settings).start()
        sentence = str(caught.value)
        assert sentence.endswith(f"{address[0]}:{address[1]}: Address already in use")
        assert "attempting" not in sentence


async def test_tunnels_and_ports_can_be_added_while_it_runs() -> None:
    async with memory_edge(tunnels=()) as edge:
        edge.add_tunnel(ACCOUNT, TUNNEL.tunnel_id, SECRET, ["app.test"])
        connector = await connected(edge)
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get("/", "app.test"))).status == 200
            assert (await visitor.request(get("/", "other.test"))).status == 530
        assert 0 < await edge.add_tcp_port("App.test") < 65536
        with pytest.raises(SettingsError):
            await edge.add_tcp_port("no name")
        await connector.close()
    with pytest.raises(RuntimeError):
        await edge.add_tcp_port("app.test")
