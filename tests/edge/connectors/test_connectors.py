"""Connections of connectors: registering, being refused, replaced, drained and abandoned."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from pyconnector.edge.connectors import connection as edge_connection
from pyconnector.edge.connectors.quic import session as quic_session
from pyconnector.protocol.rpc.edge_rpc import ConfigurationPushed, EdgeRpcClient, EdgeRpcServer, UdpSessionEndAnswered
from pyconnector.protocol.rpc.registration import LocalConfigurationAccepted, Refusal, Refused, Registered, Unregistered
from pyconnector.protocol.streams.openings import encode_rpc_opening
from pyconnector.transport.errors import ConnectionClosed, StreamReset
from pyconnector.transport.memory import MemoryConnection
from tests.edge.support import TUNNEL, memory_edge, until
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, attached, connected


async def test_registering_says_where_and_as_whom() -> None:
    async with memory_edge(location="here") as edge:
        connector = attached(edge)
        event = await connector.register(index=3)
        assert isinstance(event, Registered)
        (connection,) = edge.connectors.all()
        assert event.details.connection_id == connection.connection_id
        assert (event.details.location, event.details.remotely_managed) == ("here", False)
        told = connection.describe()
        assert (told["state"], told["connection_index"], told["version"]) == ("registered", 3, "test")
        assert "secret" not in repr(told)
        await connector.close()
        await until(lambda: not edge.connectors.all())


async def test_wrong_credentials_are_refused_with_a_cause_and_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge_connection, "REFUSED_LINGER", 0.01)

    async with memory_edge() as edge:
        for options, cause in [
            ({"secret": b"wrong"}, "Unauthorized: Invalid tunnel secret"),
            ({"account": "wrong"}, "Unauthorized: Tunnel not found"),
            ({"tunnel_id": uuid4()}, "Unauthorized: Tunnel not found"),
        ]:
            connector = attached(edge)
            event = await connector.register(**options)  # type: ignore[arg-type]
            assert isinstance(event, Refused)
            assert event.refusal == Refusal(cause=cause, retry_after=0.0, should_retry=False)
            assert (await connector.connection.wait_closed()).reason == "registration refused"
            await connector.close()
        await until(lambda: not edge.connectors.all())


async def test_scripted_refusals_come_first_and_in_order() -> None:
    refusals = [Refusal(cause="EDUPCONN", should_retry=True), Refusal(cause="busy", retry_after=1.5, should_retry=True)]

    async with memory_edge() as edge:
        for refusal in refusals:
            assert edge.refusals.add(refusal)
        for refusal in refusals:
            connector = attached(edge)
            event = await connector.register()
            assert isinstance(event, Refused)
            assert event.refusal == refusal
            await connector.close()
        connector = await connected(edge)
        await connector.close()


async def test_unregistering_stops_new_requests_and_lets_running_ones_end() -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.answer(200, [(b"Content-Length", b"2")], b"ok")
        exchange.stream.finish()

    async with memory_edge() as edge:
        connector = await connected(edge, script)
        async with RawVisitor(edge.visitor_address) as first, RawVisitor(edge.visitor_address) as second:
            first.send(get())
            await until(lambda: connector.streams == 1)
            connector.registration.unregister()
            assert isinstance(await connector.converse(), Unregistered)
            assert (await second.request(get())).status == 530
            assert connector.control is not None
            connector.control.finish()
            go_on.set()
            assert (await first.response()).body == b"ok"
        (connection,) = edge.connectors.all()
        assert connection.state == "draining"
        await connector.close()


async def test_the_local_configuration_is_kept() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        connector.registration.update_local_configuration(b'{"ingress": [{"hostname": "app.test"}]}')
        assert isinstance(await connector.converse(), LocalConfigurationAccepted)
        (tunnel,) = edge.tunnels.all()
        assert tunnel.learned_hostnames == ("app.test",)
        connector.registration.update_local_configuration(b"nonsense")
        assert isinstance(await connector.converse(), LocalConfigurationAccepted)
        assert tunnel.learned_hostnames == ("app.test",)
        await connector.close()


async def test_the_same_connection_coming_back_replaces_the_old_one() -> None:
    async with memory_edge() as edge:
        client = uuid4()
        old = await connected(edge, client_id=client)
        new = await connected(edge, client_id=client)
        assert "replaced" in (await old.connection.wait_closed()).reason
        await until(lambda: len(edge.connectors.all()) == 1)
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 200
        assert (old.streams, new.streams) == (0, 1)
        await old.close()
        await new.close()


async def test_requests_are_spread_over_connections_and_survive_the_loss_of_one() -> None:
    async with memory_edge() as edge:
        connectors = [await connected(edge, index=index) for index in range(4)]
        async with RawVisitor(edge.visitor_address) as visitor:
            for _ in range(8):
                assert (await visitor.request(get())).status == 200
            assert [connector.streams for connector in connectors] == [2, 2, 2, 2]
            lost = edge.connectors.all()[0].transport
            assert isinstance(lost, MemoryConnection)
            lost.lose()  # and the very next request must not notice
            for _ in range(8):
                assert (await visitor.request(get())).status == 200
        for connector in connectors:
            await connector.close()


async def test_a_request_whose_connection_is_lost_is_502() -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with memory_edge() as edge:
        connector = await connected(edge, never)
        async with RawVisitor(edge.visitor_address) as visitor:
            visitor.send(get())
            await until(lambda: connector.streams == 1)
            edge.connectors.all()[0].close("killed")
            assert (await visitor.response()).status == 502
        with pytest.raises(ConnectionClosed):
            await connector.connection.open_stream()
        await connector.close()


async def test_a_connection_that_never_registers_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_connection, "REGISTRATION_TIMEOUT", 0.05)

    async with memory_edge() as edge:
        connector = attached(edge)
        assert "no registration" in (await connector.connection.wait_closed()).reason
        await connector.close()
        registered = await connected(edge)
        await asyncio.sleep(0.1)
        assert edge.connectors.all()[0].state == "registered"
        await registered.close()


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n" * 10, b""])
async def test_garbage_on_the_control_stream_ends_that_connection_alone(data: bytes) -> None:
    async with memory_edge() as edge:
        good = await connected(edge)
        bad = attached(edge)
        control = await bad.connection.open_stream()
        control.send_nowait(data, finish=True)
        async with asyncio.timeout(30):
            await bad.connection.wait_closed()
        await bad.close()
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 200
        await good.close()


async def test_connections_are_bounded() -> None:
    async with memory_edge(max_connectors=1) as edge:
        first = await connected(edge)
        second = attached(edge)
        assert (await second.connection.wait_closed()).reason == "too many connections"
        await first.close()
        await second.close()


async def test_streams_that_a_connector_opens_are_bounded_and_judged() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        held = [await connector.connection.open_stream() for _ in range(quic_session.MAX_RPC_STREAMS)]
        for stream in held:
            await stream.send(b"\x52")
        await asyncio.sleep(0.01)
        refused = await connector.connection.open_stream()
        await refused.send(b"\x52")
        with pytest.raises(StreamReset):
            await refused.receive()
        await held[0].send(b"nonsense that is no signature")
        with pytest.raises(StreamReset):
            await held[0].receive()
        async with RawVisitor(edge.visitor_address) as visitor:
            assert (await visitor.request(get())).status == 200
        await connector.close()


async def test_a_udp_session_that_ended_is_acknowledged() -> None:
    async with memory_edge() as edge:
        connector = await connected(edge)
        client = EdgeRpcClient()
        client.unregister_udp_session(uuid4(), "session idle")
        stream = await connector.connection.open_stream()
        await stream.send(encode_rpc_opening() + client.bytes_to_send())
        events: list[object] = []
        while not events:
            events += client.receive_data(await stream.receive())
        assert isinstance(events[0], UdpSessionEndAnswered)
        stream.finish()
        await connector.close()


async def test_a_tunnel_with_a_configuration_is_remotely_managed_and_gets_it() -> None:
    pushed: list[object] = []

    async def script(exchange: Exchange) -> None:
        server = EdgeRpcServer()
        while data := await exchange.receive():
            for event in server.receive_data(data):
                if isinstance(event, ConfigurationPushed):
                    pushed.append((event.version, event.config))
                    server.answer_configuration(event.call, event.version)
            await exchange.stream.send(server.bytes_to_send())

    tunnel = replace(TUNNEL, configuration=b'{"ingress": []}')
    async with memory_edge(tunnels=(tunnel,)) as edge:
        connector = attached(edge, script)
        event = await connector.register()
        assert isinstance(event, Registered)
        assert event.details.remotely_managed
        await until(lambda: bool(pushed))
        assert pushed == [(0, b'{"ingress": []}')]
        await connector.close()
