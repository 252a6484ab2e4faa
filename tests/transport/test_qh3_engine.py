"""The qh3 engine on the network: handshakes that fail, paths that change, peers that misbehave or vanish."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from qh3 import tls as qh3_tls

from tests.transport.aioquic_pair import client_tls, credentials
from tests.transport.conformance import PATIENCE, open_both, read_all, send_all, until
from tests.transport.qh3_pair import Server, qh3_pair, quic_pair, serve
from tests.transport.qh3_relay import Relay, relay_to
from tests.transport.test_udp import Shim
from transport.certificates import make_authority
from transport.errors import ConnectFailed, ConnectionClosed
from transport.quic import connect, listen, qh3_connection, qh3_driver, qh3_engine, qh3_listener, qh3_native
from transport.quic.aioquic_stream import AioquicStream
from transport.quic.qh3_connection import Qh3Connection
from transport.quic.qh3_listener import Qh3Listener
from transport.settings import ClientTls, QuicSettings
from transport.udp import UdpEndpoint

USUAL = QuicSettings(engine="qh3")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def dial(address: tuple[str, int], settings: QuicSettings = USUAL, tls: ClientTls | None = None) -> Qh3Connection:
    connection = await connect(address, tls=tls or client_tls(), settings=settings)
    assert isinstance(connection, Qh3Connection)
    return connection


async def accepted(server: Server) -> Qh3Connection:
    connection = await server.next()
    assert isinstance(connection, Qh3Connection)
    return connection


def listener_of(server: Server) -> Qh3Listener:
    assert isinstance(server.listener, Qh3Listener)
    return server.listener


async def exchange(client: Any, server: Any) -> None:
    near, far = await open_both(client, server)
    near.finish()
    assert await read_all(far) == b""
    far.send_nowait(b"answer", finish=True)
    assert await read_all(near) == b"answer"


# -- handshakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_name", ["quic.cftunnel.com", "somebody.else.example"])
def test_a_certificate_that_does_not_convince_is_told_apart(server_name: str, tmp_path: Any) -> None:
    tls = ClientTls(ca_file=credentials().ca_file, server_name=server_name)
    if server_name == "quic.cftunnel.com":
        stranger = tmp_path / "ca.pem"
        stranger.write_bytes(make_authority("somebody else").certificate_pem)
        tls = ClientTls(ca_file=str(stranger))

    async def main() -> None:
        async with serve(USUAL) as server:
            with pytest.raises(ConnectFailed) as caught:
                await dial(server.listener.address, tls=tls)
            assert caught.value.untrusted
            assert "certificate" in caught.value.reason
            await until(lambda: not listener_of(server)._connections, "the server forgets the failed handshake")
            assert server.arrived.empty()

    run(main)


def test_nobody_listens_is_known_at_once() -> None:
    async def main() -> None:
        gone = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 16, on_datagrams=lambda _: None)
        gone.close()
        with pytest.raises(ConnectFailed, match="nothing listens at 127"):
            await asyncio.wait_for(dial(gone.address), 2)

    run(main)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (replace(USUAL, handshake_timeout=0.2), "did not answer within 0.2 s"),
        (replace(USUAL, idle_timeout=0.1), "did not answer"),
    ],
)
def test_silence_ends_a_handshake(settings: QuicSettings, reason: str) -> None:
    async def main() -> None:
        silent = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 16, on_datagrams=lambda _: None)
        try:
            with pytest.raises(ConnectFailed, match=reason) as caught:
                await asyncio.wait_for(dial(silent.address, settings), PATIENCE)
            assert not caught.value.untrusted
        finally:
            silent.close()

    run(main)


def test_a_cancelled_handshake_leaves_no_socket() -> None:
    async def main() -> None:
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

    run(main)


def test_another_protocol_is_refused() -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            with pytest.raises(ConnectFailed):
                await dial(server.listener.address, tls=replace(client_tls(), alpn="h3"))

    run(main)


@pytest.mark.parametrize("post_quantum_only", [False, True])
def test_the_key_exchange_is_post_quantum(post_quantum_only: bool) -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            client = await dial(server.listener.address, tls=client_tls(post_quantum_only=post_quantum_only))
            far = await accepted(server)
            assert far.quic.tls is not None
            assert far.quic.tls._x25519_kyber_768_private_key is not None
            assert client.quic.tls is not None
            offered = client.quic.tls._supported_groups
            assert (offered == [qh3_tls.Group.X25519ML768]) is post_quantum_only
            client.close()

    run(main)


def test_a_client_with_an_empty_connection_id_is_served() -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            configuration = replace(qh3_native.client_configuration(client_tls(), USUAL), connection_id_length=0)
            connections: list[Qh3Connection] = []
            address = server.listener.address

            def arrived(datagrams: list[Any]) -> None:
                connections[0].receive([data for data, _ in datagrams], address)

            endpoint = await UdpEndpoint.open(
                "127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=arrived, remote=address
            )
            quic = qh3_native.NativeQuic(configuration)
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

    run(main)


def test_unusable_credentials_are_refused_without_quoting_them() -> None:
    async def main() -> None:
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

    run(main)


def test_addresses_that_cannot_be_bound_are_refused() -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            host, port = server.listener.address
            with pytest.raises(ConnectFailed, match="cannot listen on"):
                await listen(host, port, tls=credentials().server, settings=USUAL, on_connection=lambda _: None)
            with pytest.raises(ConnectFailed, match="cannot send to"):
                await connect(
                    server.listener.address, tls=client_tls(), settings=USUAL, local_host=host, local_port=port
                )

    run(main)


def test_the_local_port_can_be_chosen_again_at_once() -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            first = await dial(server.listener.address)
            port = first.local_address[1]
            first.close()
            again = await connect(server.listener.address, tls=client_tls(), settings=USUAL, local_port=port)
            assert again.local_address == ("127.0.0.1", port)
            again.close()

    run(main)


# -- strangers at the listener ---------------------------------------------------------------------------------------


def test_junk_that_looks_like_a_first_packet_leaves_no_state() -> None:
    async def main() -> None:
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
            assert listener_of(server)._half_open == {}
            client.close()
            sender.close()

    run(main)


def test_unfinished_handshakes_are_bounded_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qh3_listener, "HALF_OPEN_LIMIT", 2)
    settings = replace(USUAL, handshake_timeout=0.3)

    async def main() -> None:
        async with serve(settings) as server, relay_to(server.listener.address) as relay:
            relay.to_client = lambda _: ()
            failed = [
                asyncio.create_task(dial(relay.address, replace(settings, handshake_timeout=0.2))) for _ in range(4)
            ]
            await asyncio.wait(failed, timeout=0.1)
            assert len(listener_of(server)._half_open) == 2
            for task in failed:
                with pytest.raises(ConnectFailed):
                    await task
            await until(lambda: not listener_of(server)._connections, "unfinished handshakes are given up")
            (await dial(server.listener.address)).close()

    run(main)


def test_an_unknown_version_is_answered_with_the_known_one() -> None:
    async def main() -> None:
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

    run(main)


def test_many_connections_share_one_socket() -> None:
    async def main() -> None:
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

    run(main)


# -- paths -----------------------------------------------------------------------------------------------------------


def test_a_connection_survives_another_port_in_the_middle_of_a_transfer() -> None:
    async def main() -> None:
        async with serve(USUAL) as server, relay_to(server.listener.address) as relay:
            client = await dial(relay.address)
            far = await accepted(server)
            assert far.peer_address == relay.outer_address
            near, other = await open_both(client, far)
            sending = asyncio.create_task(send_all(near, bytes(3_000_000)))
            received = 0
            while received < 500_000:
                received += len(await asyncio.wait_for(other.receive(), PATIENCE))
            await relay.rebind()
            assert received + len(await read_all(other)) == 3_000_000
            await sending
            await until(lambda: far.peer_address == relay.outer_address, "the new address is validated")
            await exchange(far, client)
            client.close()

    run(main)


def test_lost_repeated_late_and_spoilt_packets_harm_nothing() -> None:
    chance = random.Random(5)

    def mangle(data: bytes) -> list[bytes]:
        what = chance.random()
        if what < 0.02:
            return []
        if what < 0.04:
            return [data, data]
        if what < 0.06:
            at = chance.randrange(len(data))
            return [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], data]
        return [data]

    async def main() -> None:
        async with serve(USUAL) as server, relay_to(server.listener.address) as relay:
            client = await dial(relay.address)
            far = await accepted(server)
            relay.to_client = relay.to_server = mangle
            data = random.Random(6).randbytes(300_000)
            for opener, acceptor in ((client, far), (far, client)):
                near, other = await open_both(opener, acceptor)
                sending = asyncio.create_task(send_all(near, data))
                assert await read_all(other) == data
                await sending
            assert client.statistics().packets_lost
            client.close()

    run(main)


async def _over_relay(
    settings: QuicSettings, act: Callable[[Qh3Connection, Qh3Connection, Relay], Coroutine[Any, Any, None]]
) -> None:
    async with serve(settings) as server, relay_to(server.listener.address) as relay:
        client = await dial(relay.address, settings)
        await act(client, await accepted(server), relay)
        client.close()


class Clock:
    """What the engine takes for the time; a test sets it forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(qh3_driver, "monotonic", made)
    monkeypatch.setattr(qh3_connection, "monotonic", made)
    return made


# Longer than any test may last, and PINGs that come soon enough to be waited for.
PATIENT = replace(USUAL, idle_timeout=60.0, keepalive=0.1)


def test_silence_ends_a_connection_on_both_sides(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        near, _ = await open_both(client, far)
        relay.is_cut = True
        clock.ahead += 2 * PATIENT.idle_timeout
        for end in (client, far):
            info = await asyncio.wait_for(end.wait_closed(), PATIENCE)
            assert (info.idle, info.local) == (True, False)
        with pytest.raises(ConnectionClosed, match=r"nothing was heard .* for 60 s") as caught:
            await near.receive()
        assert caught.value.idle

    run(lambda: _over_relay(PATIENT, act))


def test_keepalive_bridges_idleness(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        for _ in range(4):  # nearly three times as long as silence may last
            heard = client.statistics().bytes_received, far.statistics().bytes_received
            clock.ahead += 0.7 * PATIENT.idle_timeout
            await until(
                lambda before=heard: all(  # type: ignore[misc]
                    end.closed is not None or end.statistics().bytes_received > count
                    for end, count in zip((client, far), before, strict=True)
                ),
                "a PING and its answer",
            )
        assert client.closed is None
        assert far.closed is None

    run(lambda: _over_relay(PATIENT, act))


def test_without_keepalive_idleness_ends_it(clock: Clock) -> None:
    async def act(client: Qh3Connection, far: Qh3Connection, relay: Relay) -> None:
        clock.ahead += 2 * PATIENT.idle_timeout
        client._on_timer()
        assert (await asyncio.wait_for(client.wait_closed(), PATIENCE)).idle

    run(lambda: _over_relay(replace(PATIENT, keepalive=600.0), act))


def test_a_full_socket_delays_and_loses_nothing() -> None:
    async def main() -> None:
        async with qh3_pair() as (client, far):
            shim = Shim(client.endpoint._socket)
            client.endpoint._socket = shim  # type: ignore[assignment]
            near, other = await open_both(client, far)
            for name in ("send", "sendmsg"):
                shim.refusals[name] = [BlockingIOError("full") for _ in range(5)]
            sending = asyncio.create_task(send_all(near, bytes(1_000_000)))
            assert len(await read_all(other)) == 1_000_000
            await sending
            assert client.endpoint.dropped == 0
            assert not shim.refusals["sendmsg"]

    run(main)


# -- details of the engine -------------------------------------------------------------------------------------------


def test_the_first_frame_of_a_stream_holds_what_was_written_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first: dict[int, int] = {}
    real = AioquicStream.stream_frame

    def seen(self: AioquicStream, offset: int, data: bytes, fin: bool) -> int:
        if offset == 0:
            first.setdefault(self.stream_id, len(data))
        return real(self, offset, data, fin)

    monkeypatch.setattr(AioquicStream, "stream_frame", seen)
    chance = random.Random(1)

    async def main() -> None:
        async with quic_pair(USUAL, replace(USUAL, engine="aioquic")) as (client, server):
            answering: set[asyncio.Task[None]] = set()

            async def answer(stream: Any) -> None:
                await read_all(stream)
                stream.send_nowait(b"", finish=True)

            server.set_stream_handler(lambda stream: answering.add(asyncio.create_task(answer(stream))))

            async def work() -> None:
                for _ in range(30):
                    stream = await client.open_stream()
                    stream.send_nowait(bytes(chance.choice([8, 20, 60, 150, 1000])))
                    if chance.random() < 0.5:
                        await asyncio.sleep(0)
                    stream.send_nowait(bytes(chance.choice([10, 5000, 40_000])), finish=True)
                    await read_all(stream)

            await asyncio.gather(*(work() for _ in range(32)))

    run(main)
    assert len(first) == 32 * 30
    assert min(first.values()) >= 8


def test_datagrams_that_congestion_control_holds_back_are_bounded() -> None:
    async def main() -> None:
        async with qh3_pair() as (client, far):
            sent = [client.send_datagram(bytes([n])) for n in range(qh3_driver.OUTGOING_DATAGRAMS + 8)]
            assert sent == [True] * qh3_driver.OUTGOING_DATAGRAMS + [False] * 8
            for n in range(qh3_driver.OUTGOING_DATAGRAMS):
                assert await asyncio.wait_for(far.receive_datagram(), PATIENCE) == bytes([n])
            assert client.send_datagram(b"again")

    run(main)


def test_a_peer_at_its_limit_of_streams_goes_on_as_others_end() -> None:
    async def main() -> None:
        async with qh3_pair(server=replace(USUAL, incoming_streams=5)) as (client, far):
            for _ in range(4):
                await client.open_stream()
            for _ in range(50):
                await exchange(client, far)
            assert far.closed is None

    run(main)


def test_a_late_copy_of_an_old_stream_is_no_new_stream() -> None:
    async def main() -> None:
        async with qh3_pair() as (client, far):
            await exchange(client, far)
            await until(lambda: not far.streams, "the stream is forgotten")
            assert not far._is_new(0)
            assert far._is_new(4)

    run(main)


@pytest.mark.skipif(os.name == "nt", reason="uvloop is not for Windows")
def test_it_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main() -> None:
        async with qh3_pair() as (client, far):
            near, other = await open_both(client, far)
            sending = asyncio.create_task(send_all(near, bytes(1_000_000)))
            assert len(await read_all(other)) == 1_000_000
            await sending
            statistics = client.statistics()
            assert statistics.rtt_smoothed is not None
            assert 0 < statistics.rtt_smoothed < 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_reprs_show_state_and_no_secrets() -> None:
    async def main() -> None:
        async with serve(USUAL) as server:
            client = await dial(server.listener.address)
            far = await accepted(server)
            assert repr(client).startswith("<Qh3Connection peer=('127.0.0.1', ")
            assert "connections=1" in repr(server.listener)
            near, _ = await open_both(client, far)
            assert repr(near) == "<Qh3Stream 0 receiving=open sending=open buffered=0>"
            client.close()

    run(main)
    assert qh3_engine.connect.__doc__


# -- when packets leave ----------------------------------------------------------------------------------------------


def test_much_that_is_written_in_one_turn_leaves_in_parts_and_little_leaves_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qh3_driver, "FLUSH_BYTES", 800)  # so that congestion control has no say in it

    async def main() -> None:
        async with qh3_pair() as (near, far):
            await exchange(near, far)
            streams = [await near.open_stream() for _ in range(31)]
            near.flush()  # what is still to be said of the exchange
            sent: list[int] = []
            send, written = near.endpoint.send, [0]

            def counted(datagrams: Any) -> None:
                sent.append(written[0])
                send(datagrams)

            near.endpoint.send = counted  # type: ignore[method-assign]
            answer = bytes(100)
            for stream in streams:
                written[0] += 1
                stream.send_nowait(answer, finish=True)
            assert sent == [8, 16, 24]
            for _ in streams:
                assert await read_all(await far.accept_stream()) == answer

    run(main)


class Sent:
    """Counts the datagrams that an end sends from now on."""

    def __init__(self, connection: Qh3Connection) -> None:
        self.count = 0
        self._send = connection.endpoint.send
        connection.endpoint.send = self._counted  # type: ignore[method-assign]

    def _counted(self, datagrams: Any) -> None:
        self.count += len(datagrams)
        self._send(datagrams)


async def settled(client: Qh3Connection, server: Qh3Connection) -> None:
    """Wait until nothing of the handshake is left to be acknowledged."""
    await exchange(client, server)
    await until(lambda: not client.core.bytes_in_flight and not server.core.bytes_in_flight, "silence")


def test_an_acknowledgement_rides_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with qh3_pair() as (client, server):
            await settled(client, server)
            monkeypatch.setattr(qh3_driver, "ACK_DELAY", 10.0)
            sent = Sent(client)
            for _ in range(3):
                asked = await server.open_stream()
                asked.send_nowait(b"question", finish=True)
                answering = await client.accept_stream()
                answering.send_nowait(b"answer", finish=True)
                assert await read_all(asked) == b"answer"
            assert sent.count == 3

    run(main)


def test_an_acknowledgement_waits_for_nothing_but_the_next_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with qh3_pair() as (client, server):
            await settled(client, server)
            monkeypatch.setattr(qh3_driver, "ACK_DELAY", 10.0)
            sent = Sent(client)
            asked = await server.open_stream()
            asked.send_nowait(b"first")
            reading = await client.accept_stream()
            assert await reading.receive() == b"first"
            await asyncio.sleep(0.002)  # some turns of the loop, and far from the peer's probe
            assert sent.count == 0
            asked.send_nowait(b"second")
            await until(lambda: sent.count == 1, "the acknowledgement of two packets")
            assert await reading.receive() == b"second"

    run(main)


def test_an_acknowledgement_that_nothing_takes_along_leaves_in_time() -> None:
    async def main() -> None:
        async with qh3_pair() as (client, server):
            await settled(client, server)
            asked = await server.open_stream()
            asked.send_nowait(b"question")
            await client.accept_stream()
            began = asyncio.get_running_loop().time()
            await until(lambda: not server.core.bytes_in_flight, "the acknowledgement of one packet")
            took = asyncio.get_running_loop().time() - began
            # Before the peer would take the packet for lost, which is its estimate of the round trip and 25 ms.
            assert took < 0.3

    run(main)
