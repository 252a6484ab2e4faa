"""Flows of `mesh join` over QUIC: TCP and UDP, where UDP is blocked, when a connection is lost, and revocation."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pyconnector.agent import Mesh, MeshError
from pyconnector.agent.quic import flow as quic_flow
from pyconnector.agent.quic import way
from pyconnector.agent.quic.flow import DatagramFlow
from pyconnector.connector.cli.mesh import join
from pyconnector.transport.errors import ConnectFailed
from tests.agent.test_client import TOKEN, joined
from tests.agent.test_proxy import proxied, socks
from tests.agent.test_udp import program_at
from tests.support.houses.gateway_house import echo_service, gateway_of, record_of
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.peers.gateway import CLIENT_ID
from tests.support.services.udp_service import UdpService


@pytest.mark.usefixtures("each_loop")
async def test_flows_share_one_quic_connection(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), echo_service() as port,
        proxied(tmp_path, tls=True, protocol="auto") as (house, proxy),
    ):  # fmt: skip
        clients = [(await socks(proxy, "127.0.0.1", port))[1] for _ in range(20)]
        assert len(gateway_of(house)._clients) == 1
        answers = await asyncio.gather(*(client.ask(b"%d" % n * 5_000) for n, client in enumerate(clients)))
        assert answers == [b"%d" % n * 5_000 for n in range(20)]
        for client in clients[1:]:
            client.close()
        code, refused = await socks(proxy, "10.9.9.9", 1)
        assert code == 2
        refused.close()
        assert await clients[0].ask(b"goes on") == b"goes on"
        clients[0].writer.write_eof()
        assert await clients[0].rest() == b""
        clients[0].close()
        assert (await record_of(house, count=21))["Onramp"] == "http3-connect"
        assert proxy._mesh.protocol == "quic"
        while len(gateway_of(house).judge):
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("each_loop")
async def test_udp_of_a_program_travels_in_datagrams(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), UdpService() as one, UdpService(lambda data: data[::-1]) as other,
        proxied(tmp_path, tls=True, protocol="auto") as (house, proxy), program_at(proxy) as program,
    ):  # fmt: skip
        for service, answer in ((one, b"abc"), (other, b"cba")):
            program.send("127.0.0.1", service.port, b"abc")
            assert await program.receive() == ("127.0.0.1", service.port, answer)
        program.close()
        assert {(await record_of(house, number, count=2))["Protocol"] for number in (0, 1)} == {"UDP"}
        assert proxy._mesh.protocol == "quic"


async def test_packets_beyond_the_path_travel_in_capsules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        asyncio.timeout(60), UdpService() as service,
        joined(tmp_path, tls=True, protocol="quic") as (_, mesh),
    ):  # fmt: skip
        flow = await mesh.open_udp("127.0.0.1", service.port)
        assert isinstance(flow, DatagramFlow)
        for payload in (b"hello", b"", b"x" * 1_280):
            flow.send(payload)
            assert await flow.receive() == payload
        monkeypatch.setattr(type(flow._stream), "send_datagram", lambda self, payload: None)
        flow.send(b"in a capsule")  # and it comes back in a datagram or a capsule, whichever the gateway sends
        assert await flow.receive() == b"in a capsule"
        flow.send(bytes(70_000))
        assert flow.dropped == 1
        flow.close()
        with pytest.raises(MeshError, match="it was closed"):
            await flow.receive()
        with pytest.raises(MeshError, match="No network rule"):
            await mesh.open_udp("10.9.9.9", 53)


async def test_packets_that_nobody_receives_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_flow, "MAX_WAITING", 3)
    async with (
        asyncio.timeout(60), UdpService() as service,
        joined(tmp_path, tls=True, protocol="quic") as (_, mesh),
    ):  # fmt: skip
        flow = await mesh.open_udp("127.0.0.1", service.port)
        for _ in range(5):
            flow.send(b"x")
        while flow.dropped < 2:
            await asyncio.sleep(0.01)
        for _ in range(3):
            assert await flow.receive() == b"x"
        flow.close()


async def test_a_revoked_token_ends_flows_of_both_kinds(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), echo_service() as port, UdpService() as service,
        joined(tmp_path, tls=True, protocol="auto") as (house, mesh),
    ):  # fmt: skip
        end, flow = await mesh.open_end("127.0.0.1", port), await mesh.open_udp("127.0.0.1", service.port)
        await end.send(b"x")
        assert await end.receive() == b"x"
        house.edge.gate.state.drop("service_token", CLIENT_ID)
        with pytest.raises(OSError, match="ended the flow"):
            await end.receive()
        with pytest.raises(MeshError, match=r"ended the flow|broke the flow off"):
            await flow.receive()
        end.abort()
        flow.close()
        with pytest.raises(MeshError) as caught:
            await mesh.open_end("127.0.0.1", port)
        assert caught.value.status == 407


async def test_a_lost_connection_cuts_its_flows_and_is_made_anew(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), echo_service() as port,
        proxied(tmp_path, tls=True, protocol="auto") as (house, proxy),
    ):  # fmt: skip
        _, running = await socks(proxy, "127.0.0.1", port)
        assert await running.ask(b"x") == b"x"
        for client in tuple(gateway_of(house)._clients):
            client.abort()
        assert await running.rest() == b""
        running.close()
        code, other = await socks(proxy, "127.0.0.1", port)
        assert code == 0
        assert await other.ask(b"y") == b"y"
        assert proxy._mesh.protocol == "quic"
        other.close()


@asynccontextmanager
async def silent_udp(port: int) -> AsyncIterator[None]:
    """Take what comes by UDP to a port, and answer nothing: as a network that drops it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", port))
        yield


@pytest.mark.parametrize("silent", [False, True])
async def test_without_udp_http2_carries_until_quic_reaches_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, silent: bool
) -> None:
    monkeypatch.setattr(way, "DIAL_TIMEOUT", 0.3 if silent else 5.0)
    monkeypatch.setattr(way, "TRY_AGAIN", 0.05)
    caplog.set_level("INFO", "pyconnector.agent")
    async with (
        asyncio.timeout(60), UdpService() as service, echo_service() as port,
        joined(tmp_path, tls=True, protocol="auto", http3=False) as (house, mesh),
    ):  # fmt: skip
        gateway = gateway_of(house)
        if silent:
            async with silent_udp(mesh.port):
                end = await mesh.open_end("127.0.0.1", port)
        else:
            end = await mesh.open_end("127.0.0.1", port)
        assert mesh.protocol == "http2"
        assert mesh.protocol_note in ("it does not answer over UDP", f"nothing listens at 127.0.0.1:{mesh.port}")
        assert "no QUIC to the gateway" in caplog.text
        flow = await mesh.open_udp("127.0.0.1", service.port)
        flow.send(b"in capsules")
        assert await flow.receive() == b"in capsules"
        flow.close()
        await gateway.serve_http3()
        while mesh.protocol != "quic":
            await asyncio.sleep(0.02)
        assert mesh.protocol_note == ""
        assert "QUIC reaches the gateway again" in caplog.text
        await end.send(b"goes on")  # what began over HTTP/2 ends there
        assert await end.receive() == b"goes on"
        end.abort()
        other = await mesh.open_end("127.0.0.1", port)
        await other.send(b"x")
        assert await other.receive() == b"x"
        other.abort()
        assert await mesh.probe() == ""


async def test_quic_alone_says_what_is_missing(tmp_path: Path) -> None:
    async with asyncio.timeout(60), joined(tmp_path, tls=True, protocol="quic", http3=False) as (_, mesh):
        with pytest.raises(MeshError, match="nothing listens"):
            await mesh.open_end("127.0.0.1", 80)
        assert "nothing listens" in await mesh.probe()
        assert mesh.protocol == ""


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("http://127.0.0.1:1", {"protocol": "quic"}, "needs https and no proxy"),
        ("https://127.0.0.1:1", {"protocol": "quic", "proxy": "http://127.0.0.1:2"}, "needs https and no proxy"),
        ("https://127.0.0.1:1", {"protocol": "masque"}, "choose auto, quic, http2, http1.1"),
    ],
)
def test_protocols_that_cannot_be_are_refused(url: str, more: dict[str, str], message: str) -> None:
    with pytest.raises(MeshError, match=message):
        Mesh(url, TOKEN, **more)


async def test_a_gateway_that_is_not_trusted_is_not_used(tmp_path: Path) -> None:
    async with asyncio.timeout(60), joined(tmp_path, tls=True) as (house, trusted):
        mesh = Mesh(f"https://127.0.0.1:{trusted.port}", TOKEN, protocol="quic")
        with pytest.raises(MeshError, match="certificate"):
            await mesh.open_end("127.0.0.1", 80)
        assert len(gateway_of(house).records.recent) == 0
        await mesh.close()


async def test_a_flow_that_is_cancelled_ends_its_stream_alone(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), echo_service() as port,
        joined(tmp_path, tls=True, protocol="quic") as (house, mesh),
    ):  # fmt: skip

        async def used() -> None:
            end = await mesh.open_end("127.0.0.1", port)
            try:
                await end.send(b"x")
                assert await end.receive() == b"x"
            finally:
                end.abort()

        async def nothing_is_left() -> None:
            assert mesh._multiplexed is not None
            assert mesh._multiplexed.quic is not None
            while len(gateway_of(house).judge):
                await asyncio.sleep(0.005)
            assert not mesh._multiplexed.quic._connection._requests  # type: ignore[union-attr]

        await used()
        assert await cancel_everywhere(used, nothing_is_left) >= 2


def test_status_says_what_carries_flows() -> None:
    names = ("gateway", "gateway_error", "client_id", "proxy", "since", "process", "connections", "opened", "direct")
    status = dict.fromkeys((*names, "failed", "bytes_sent", "bytes_received", "last_error"), "")
    over_http2 = {**status, "include": [], "protocol": "http2", "protocol_note": "it does not answer over UDP"}
    assert ("over", "http2") in join._lines(over_http2)
    assert ("", "no QUIC: it does not answer over UDP") in join._lines(over_http2)
    over_quic = {**over_http2, "protocol": "quic", "protocol_note": ""}
    assert ("over", "quic") in join._lines(over_quic)
    assert "no QUIC" not in str(join._lines(over_quic))


def test_a_connection_for_each_flow_leaves_no_protocol_to_choose() -> None:
    assert join._protocol({"no_http2": False, "protocol": "quic"}) == "quic"
    assert join._protocol({"no_http2": True, "protocol": "auto"}) == "http1.1"
    with pytest.raises(ValueError, match="nothing to choose"):
        join._protocol({"no_http2": True, "protocol": "quic"})


async def test_udp_that_is_blocked_later_gives_way_to_http2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def blocked(*_: object) -> None:
        raise ConnectFailed("no answer")

    monkeypatch.setattr(way, "SETTINGS", replace(way.SETTINGS, idle_timeout=0.5, keepalive=0.1))
    async with (
        asyncio.timeout(60), echo_service() as port,
        proxied(tmp_path, tls=True, protocol="auto") as (_, proxy),
    ):  # fmt: skip
        _, running = await socks(proxy, "127.0.0.1", port)
        assert await running.ask(b"x") == b"x"
        found = proxy._mesh._multiplexed
        assert found is not None
        assert found.quic is not None
        monkeypatch.setattr(found.quic._connection.quic, "_send", lambda datagrams: None)  # type: ignore[union-attr]
        monkeypatch.setattr(found.quic, "_dial", blocked)
        with pytest.raises(ConnectionError):
            await running.reader.read()
        running.close()
        code, other = await socks(proxy, "127.0.0.1", port)
        assert code == 0
        assert await other.ask(b"y") == b"y"
        assert (proxy._mesh.protocol, proxy._mesh.protocol_note) == ("http2", "no answer")
        other.close()
