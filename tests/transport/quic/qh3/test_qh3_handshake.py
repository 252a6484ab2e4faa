"""Handshakes of the qh3 engine that fail or succeed, and strangers at its listener."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from qh3 import tls as qh3_tls

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic import connect, listen
from pyconnector.transport.quic.qh3_engine import listener as qh3_listener
from pyconnector.transport.quic.qh3_engine.configuration import client_configuration
from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection
from pyconnector.transport.quic.qh3_engine.internals import NativeQuic
from pyconnector.transport.settings import ClientTls, QuicSettings
from pyconnector.transport.tls.certificates import make_authority
from pyconnector.transport.udp.batched import UdpEndpoint
from tests.transport.conformance import PATIENCE, exchange, open_both, read_all, send_all, until
from tests.transport.pairs.aioquic_pair import client_tls, credentials
from tests.transport.pairs.qh3_pair import (
    USUAL,
    accepted,
    dial,
    listener_of,
    serve,
)
from tests.transport.pairs.qh3_relay import relay_to

# -- handshakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_name", ["quic.cftunnel.com", "somebody.else.example"])
async def test_a_certificate_that_does_not_convince_is_told_apart(server_name: str, tmp_path: Any) -> None:
    tls = ClientTls(ca_file=credentials().ca_file, server_name=server_name)
    if server_name == "quic.cftunnel.com":
        stranger = tmp_path / "ca.pem"
        stranger.write_bytes(make_authority("somebody else").certificate_pem)
        tls = ClientTls(ca_file=str(stranger))

    async with serve(USUAL) as server:
        with pytest.raises(ConnectFailed) as caught:
            await dial(server.listener.address, tls=tls)
        assert caught.value.untrusted
        assert "certificate" in caught.value.reason
        if server_name != "quic.cftunnel.com":
            assert caught.value.reason.endswith(": it is for quic.cftunnel.com and not for somebody.else.example")
        await until(lambda: not listener_of(server)._connections, "the server forgets the failed handshake")
        assert server.arrived.empty()


async def test_nobody_listens_is_known_at_once() -> None:
    gone = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 16, on_datagrams=lambda _: None)
    gone.close()
    with pytest.raises(ConnectFailed, match="nothing listens at 127"):
        await asyncio.wait_for(dial(gone.address), 2)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (replace(USUAL, handshake_timeout=0.2), "did not answer within 0.2 s"),
        (replace(USUAL, idle_timeout=0.1), "did not answer"),
    ],
)
async def test_silence_ends_a_handshake(settings: QuicSettings, reason: str) -> None:
    silent = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 16, on_datagrams=lambda _: None)
    try:
        with pytest.raises(ConnectFailed, match=reason) as caught:
            await asyncio.wait_for(dial(silent.address, settings), PATIENCE)
        assert not caught.value.untrusted
    finally:
        silent.close()


async def test_a_cancelled_handshake_leaves_no_socket() -> None:
    heard: list[Any] = []
    silent = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 16, on_datagrams=heard.extend)
    try:
        dialing = asyncio.create_task(dial(silent.address))
        await until(lambda: bool(heard), "the first flight")
        port = heard[0][1]
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        again = await UdpEndpoint.open(*port, socket_buffer=1 << 16, on_datagrams=heard.extend)
        again.close()
    finally:
        silent.close()


async def test_another_protocol_is_refused() -> None:
    async with serve(USUAL) as server:
        with pytest.raises(ConnectFailed):
            await dial(server.listener.address, tls=replace(client_tls(), alpn="h3"))


@pytest.mark.parametrize("post_quantum_only", [False, True])
async def test_the_key_exchange_is_post_quantum(post_quantum_only: bool) -> None:
    async with serve(USUAL) as server:
        client = await dial(server.listener.address, tls=client_tls(post_quantum_only=post_quantum_only))
        far = await accepted(server)
        assert far.quic.tls is not None
        assert far.quic.tls._x25519_kyber_768_private_key is not None
        assert client.quic.tls is not None
        offered = client.quic.tls._supported_groups
        assert (offered == [qh3_tls.Group.X25519ML768]) is post_quantum_only
        client.close()


async def test_a_client_with_an_empty_connection_id_is_served() -> None:
    async with serve(USUAL) as server:
        configuration = replace(client_configuration(client_tls(), USUAL), connection_id_length=0)
        connections: list[Qh3Connection] = []
        address = server.listener.address

        def arrived(datagrams: list[Any]) -> None:
            connections[0].receive([data for data, _ in datagrams], address)

        endpoint = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=arrived, remote=address)
        quic = NativeQuic(configuration)
        quic._original_destination_connection_id = os.urandom(12)
        client = Qh3Connection(quic, endpoint, address, USUAL)
        client.on_gone = endpoint.close
        connections.append(client)
        client.start()
        await asyncio.wait_for(client.handshake_over, PATIENCE)
        far = await accepted(server)
        assert far.quic.host_cid == far.quic.original_destination_connection_id
        for opener, acceptor in ((client, far), (far, client)):
            near, other = await open_both(opener, acceptor)
            sending = asyncio.create_task(send_all(near, bytes(500_000)))
            assert len(await read_all(other)) == 500_000
            await sending
        client.close()
        assert not (await far.wait_closed()).local


async def test_unusable_credentials_are_refused_without_quoting_them() -> None:
    good = credentials().server
    other = make_authority("other").issue(["x.example"])[1]
    for broken in (
        replace(good, private_key=b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"),
        replace(good, certificate_chain=b"nothing"),
        replace(good, private_key=other),
    ):
        with pytest.raises(ConnectFailed) as caught:
            await listen("127.0.0.1", 0, tls=broken, settings=USUAL, on_connection=lambda _: None)
        assert "secret" not in str(caught.value)


async def test_addresses_that_cannot_be_bound_are_refused() -> None:
    async with serve(USUAL) as server:
        host, port = server.listener.address
        with pytest.raises(ConnectFailed, match="cannot listen on"):
            await listen(host, port, tls=credentials().server, settings=USUAL, on_connection=lambda _: None)
        with pytest.raises(ConnectFailed, match="cannot send to"):
            await connect(server.listener.address, tls=client_tls(), settings=USUAL, local_host=host, local_port=port)


async def test_the_local_port_can_be_chosen_again_at_once() -> None:
    async with serve(USUAL) as server:
        first = await dial(server.listener.address)
        port = first.local_address[1]
        first.close()
        again = await connect(server.listener.address, tls=client_tls(), settings=USUAL, local_port=port)
        assert again.local_address == ("127.0.0.1", port)
        again.close()


# -- strangers at the listener ---------------------------------------------------------------------------------------


async def test_junk_that_looks_like_a_first_packet_leaves_no_state() -> None:
    async with serve(USUAL) as server:
        address = server.listener.address
        sender = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=lambda _: None)
        chance = random.Random(3)
        for source in (b"", b"12345678"):
            head = b"\xc0\x00\x00\x00\x01\x08" + os.urandom(8) + bytes([len(source)]) + source
            sender.send([(head + b"\x00\x44\x90" + chance.randbytes(1160), address)])
        sender.send([(chance.randbytes(size), address) for size in (0, 1, 5, 20, 1200, 1400) for _ in range(20)])
        client = await dial(address)
        await exchange(client, await accepted(server))
        assert len(listener_of(server)._connections) == 1
        assert len(listener_of(server)._half_open) == 0
        client.close()
        sender.close()


async def test_unfinished_handshakes_are_bounded_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_listener, "HALF_OPEN_LIMIT", 2)
    settings = replace(USUAL, handshake_timeout=0.3)

    async with serve(settings) as server, relay_to(server.listener.address) as relay:
        relay.to_client = lambda _: ()
        failed = [asyncio.create_task(dial(relay.address, replace(settings, handshake_timeout=0.2))) for _ in range(4)]
        await asyncio.wait(failed, timeout=0.1)
        assert len(listener_of(server)._half_open) == 2
        for task in failed:
            with pytest.raises(ConnectFailed):
                await task
        await until(lambda: not listener_of(server)._connections, "unfinished handshakes are given up")
        (await dial(server.listener.address)).close()


async def test_an_unknown_version_is_answered_with_the_known_one() -> None:
    answers: list[Any] = []
    async with serve(USUAL) as server:
        sender = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=answers.extend)
        packet = b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(8) + b"\x04abcd" + bytes(1200)
        sender.send([(packet, server.listener.address)])
        await until(lambda: bool(answers), "version negotiation")
        answer = answers[0][0]
        assert answer[1:5] == bytes(4)
        assert answer[5:10] == b"\x04abcd"
        assert answer.endswith(b"\x00\x00\x00\x01")
        sender.close()


async def test_many_connections_share_one_socket() -> None:
    async with serve(USUAL) as server:
        clients = await asyncio.gather(*(dial(server.listener.address) for _ in range(8)))
        by_port = {}
        for _ in clients:
            far = await accepted(server)
            by_port[far.peer_address] = far
        await asyncio.gather(*(exchange(client, by_port[client.local_address]) for client in clients))
        for client in clients:
            client.close()
        await until(lambda: not listener_of(server)._connections, "ended connections are forgotten")
        assert listener_of(server)._by_key == {}


async def test_an_edge_that_has_nothing_but_p_256_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from aioquic import tls as aioquic_tls

    from pyconnector.transport.quic.aioquic_engine.hybrid_group import HybridContext

    def adopt(context: aioquic_tls.Context, *, hybrid_only: bool) -> None:
        context._supported_groups = [aioquic_tls.Group.SECP256R1]

    monkeypatch.setattr(HybridContext, "adopt", adopt)

    async with serve(QuicSettings(engine="aioquic")) as server:
        connection = await dial(server.listener.address)
        await exchange(connection, await server.next())
        connection.close()
