"""The gateway over HTTP/3: CONNECT, CONNECT-UDP and other extended CONNECTs, asked by a client of aioquic alone."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge.private.gateway import stream_client
from pyconnector.edge.private.gateway.http3 import client as http3_client
from pyconnector.protocol.capsules import encode_integer, encode_udp_capsule
from pyconnector.transport.settings import QuicSettings
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of, record_of
from tests.support.peers.gateway import CLIENT_ID, SECRET, rule, token
from tests.support.peers.h3_visitor import H3Visitor, h3_visitor
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.stream_flow import StreamFlow
    from pyconnector.protocol.proxying.handshake import Extended
    from tests.support.houses.private_house import PrivateHouse

BASIC = (b"proxy-authorization", b"Basic " + base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()))
WRONG = (b"proxy-authorization", b"Basic " + base64.b64encode(f"{CLIENT_ID}:wrong".encode()))
CONNECT = (b":method", b"CONNECT")
GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"edge"), (b":path", b"/"))
ENGINES = ["aioquic", "qh3"]
#: More than windows and sockets hold between a client and its destination.
TOO_MUCH = 8 * 1024 * 1024


def visitor_of(house: PrivateHouse, **more: Any) -> AbstractAsyncContextManager[H3Visitor]:
    address = gateway_of(house).http3_address
    assert address is not None
    assert address == gateway_of(house).http_address
    return h3_visitor(address, **more)


@asynccontextmanager
async def h3_house(*, engine: str = "aioquic", **more: Any) -> AsyncIterator[tuple[PrivateHouse, H3Visitor]]:
    edge = {"quic": QuicSettings(engine=engine)}
    async with gateway_house(own_certificate=True, edge=edge, **more) as house, visitor_of(house) as client:
        yield house, client


def connect(client: H3Visitor, authority: str, *more: tuple[bytes, bytes]) -> int:
    return client.open(CONNECT, (b":authority", authority.encode()), *(more or (BASIC,)))


def extended(client: H3Visitor, protocol: bytes, path: str, *more: tuple[bytes, bytes]) -> int:
    pseudo = ((b":protocol", protocol), (b":scheme", b"https"), (b":authority", b"edge"), (b":path", path.encode()))
    return client.open(CONNECT, *pseudo, *(more or (BASIC,)))


def connect_udp(client: H3Visitor, port: int, path: str = "/.well-known/masque/udp/127.0.0.1/{}/") -> int:
    return extended(client, b"connect-udp", path.format(port), BASIC, (b"capsule-protocol", b"?1"))


@pytest.mark.parametrize("gateway_engine", ENGINES)
@pytest.mark.usefixtures("each_loop")
async def test_streams_of_one_connection_are_flows_with_a_record_each(gateway_engine: str) -> None:
    async with h3_house(engine=gateway_engine) as (house, client), echo_service() as port:
        flows = [connect(client, f"127.0.0.1:{port}") for _ in range(20)]
        for number, stream_id in enumerate(flows):
            assert (await client.head(stream_id)).status == 200
            client.send(stream_id, b"%03d" % number * 2000, end=True)
        for number, stream_id in enumerate(flows):
            answer = await client.end(stream_id)
            assert (answer.body, answer.ended) == (b"%03d" % number * 2000, True)
        record = await record_of(house, count=20)
        assert (record["Onramp"], record["Protocol"], record["BytesSent"], record["BytesReceived"]) == (
            "http3-connect", "TCP", 6000, 6000,
        )  # fmt: skip
        assert {each["ConnectionCloseReason"] for each in gateway_of(house).records.recent} == {"CLIENT_CLOSED"}
        assert len(gateway_of(house).judge) == 0


async def test_refusals_end_their_stream_alone() -> None:
    async with h3_house(rules=(rule(ports=["1024-65535"]),)) as (house, client), echo_service() as port:
        good = connect(client, f"127.0.0.1:{port}")
        statuses = {
            connect(client, f"127.0.0.1:{port}", WRONG): 407,
            connect(client, f"127.0.0.1:{port}", (b"x", b"y")): 407,
            connect(client, "127.0.0.1:22"): 403,
            connect(client, "nonsense"): 400,
            connect(client, f"127.0.0.1:{port}", BASIC, BASIC): 400,
            client.open(*GET, BASIC): 400,
            extended(client, b"websocket", "/"): 400,
            connect_udp(client, 53, "/elsewhere/{}/"): 400,
            connect_udp(client, 53): 403,
        }  # fmt: skip
        for stream_id, status in statuses.items():
            answer = await client.end(stream_id)
            assert (answer.status, answer.ended) == (status, True)
        denied = client.answer(next(each for each, status in statuses.items() if status == 403))
        assert denied.fields[b"proxy-status"] == b"pyconnector; error=http_request_denied"
        assert denied.body == b"No network rule allows this.\n"
        client.send(good, b"goes on")
        await client.until(lambda: client.answer(good).body == b"goes on")
        assert client.closed is None
        assert len(gateway_of(house).records.recent) == 4


@pytest.mark.parametrize("gateway_engine", ENGINES)
@pytest.mark.usefixtures("each_loop")
async def test_udp_travels_in_datagrams(gateway_engine: str) -> None:
    async with h3_house(engine=gateway_engine) as (house, client), UdpService() as service:
        stream_id = connect_udp(client, service.port)
        answer = await client.head(stream_id)
        assert (answer.status, answer.fields[b"capsule-protocol"]) == (200, b"?1")
        packets = [b"%04d" % number + bytes(size) for number, size in enumerate((0, 60, 1000))]
        for packet in packets:
            client.send_datagram(stream_id, b"\0" + packet)
        client.send_datagram(stream_id, b"\x02of another context")
        client.send(stream_id, encode_udp_capsule(b"in a capsule"))
        await client.until(lambda: len(answer.datagrams) == 4)
        assert sorted(answer.datagrams) == [b"\0" + packet for packet in (*packets, b"in a capsule")]
        assert answer.body == b""
        client.send(stream_id, b"", end=True)
        assert (await client.end(stream_id)).ended
        record = await record_of(house)
        assert (record["Onramp"], record["Protocol"], record["BytesSent"]) == ("connect-udp", "UDP", 1084)
        assert record["ConnectionCloseReason"] == "CLIENT_CLOSED"


async def test_udp_that_fits_no_datagram_comes_in_capsules() -> None:
    async with gateway_house(own_certificate=True) as house, UdpService() as service:
        for datagrams, frame_size in ((False, 65_535), (True, 100), (True, 0)):
            async with visitor_of(house, datagrams=datagrams, frame_size=frame_size) as client:
                stream_id = connect_udp(client, service.port)
                answer = await client.head(stream_id)
                noise = encode_integer(0x29) + encode_integer(5) + b"other"
                client.send(stream_id, noise + encode_udp_capsule(bytes(200)))
                await client.until(lambda: bool(answer.body))  # noqa: B023 - within this turn
                assert answer.body == encode_udp_capsule(bytes(200))
                assert answer.datagrams == []


async def test_malformed_capsules_and_datagrams_end_their_flow_alone() -> None:
    async with h3_house() as (house, client), UdpService() as service:
        flows = [connect_udp(client, service.port) for _ in range(3)]
        for stream_id in flows:
            assert (await client.head(stream_id)).status == 200
        client.send(flows[0], encode_integer(0) + encode_integer(70_000))
        client.send_datagram(flows[1], b"")
        for number, stream_id in enumerate(flows[:2]):
            assert (await client.end(stream_id)).reset == 0x10F
            assert (await record_of(house, number, count=number + 1))["ConnectionCloseReason"] == "CLIENT_ERROR"
        client.send_datagram(flows[2], b"\0goes on")
        await client.until(lambda: client.answer(flows[2]).datagrams == [b"\0goes on"])
        assert client.closed is None


async def test_a_revoked_token_resets_its_streams() -> None:
    async with h3_house() as (house, client), echo_service() as port, UdpService() as service:
        flows = [connect(client, f"127.0.0.1:{port}"), connect_udp(client, service.port)]
        for stream_id in flows:
            assert (await client.head(stream_id)).status == 200
        house.edge.gate.state.put("service_token", replace(token(), enabled=False))
        for stream_id in flows:
            assert (await client.end(stream_id)).reset is not None
        for number in (0, 1):
            assert (await record_of(house, number, count=2))["Detail"] == "the token was revoked"
        assert client.closed is None


async def test_half_of_a_flow_may_go_on_and_a_reset_ends_it() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got %d" % len(await reader.read()))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, h3_house() as (house, client), echo_service() as echo:
        stream_id = connect(client, f"127.0.0.1:{port}")
        await client.head(stream_id)
        client.send(stream_id, b"x" * 1000, end=True)
        assert (await client.end(stream_id)).body == b"got 1000"
        stream_id = connect(client, f"127.0.0.1:{echo}")
        await client.head(stream_id)
        client.reset(stream_id)
        assert (await record_of(house, count=2))["ConnectionCloseReason"] == "CLIENT_CLOSED"
        assert len(gateway_of(house).judge) == 0


async def test_credit_goes_back_as_the_destination_takes() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        while data := await reader.read(65_536):
            taken.append(len(data))
        taken.append(-1)
        writer.close()

    release, taken = asyncio.Event(), [0]
    server = await asyncio.start_server(stall, "127.0.0.1", 0, limit=4096)
    port = server.sockets[0].getsockname()[1]
    async with server, h3_house() as (house, client), echo_service() as echo:
        stalled, other = connect(client, f"127.0.0.1:{port}"), connect(client, f"127.0.0.1:{echo}")
        await client.head(stalled)
        await client.head(other)
        client.send(stalled, bytes(TOO_MUCH), end=True)
        record = next(each for each in gateway_of(house).judge._held if each.record.wanted[1] == port).record
        before = -1
        while before != (before := record.sent):
            await asyncio.sleep(0.3)
        assert record.sent < TOO_MUCH
        client.send(other, b"x" * 10_000)  # one that stalls holds up nobody else
        await client.until(lambda: len(client.answer(other).body) == 10_000)
        release.set()
        async with asyncio.timeout(60):
            while taken[-1] != -1:
                await asyncio.sleep(0.05)
        assert sum(taken) + 1 == TOO_MUCH


async def test_what_extends_connect_otherwise_is_served_by_its_name() -> None:
    async def shout(flow: StreamFlow, wanted: Extended) -> None:
        flow.stream.send_head([(b":status", b"200")])
        flow.stream.set_datagram_handler(lambda data: said.append(flow.stream.send_datagram(data.upper())))
        while data := await flow.stream.receive():
            await flow.stream.send(wanted.path + data.upper())
        flow.stream.finish()

    said: list[bool | None] = []
    async with h3_house() as (house, client):
        gateway_of(house).extensions["shout"] = shout
        stream_id, refused = extended(client, b"shout", "/a"), extended(client, b"shout", "/a", WRONG)
        assert (await client.head(stream_id)).status == 200
        assert (await client.head(refused)).status == 407
        client.send_datagram(stream_id, b"aside")
        await client.until(lambda: client.answer(stream_id).datagrams == [b"ASIDE"])
        client.send(stream_id, b"loud", end=True)
        assert (await client.end(stream_id)).body == b"/aLOUD"
        assert said == [True]
        assert (await record_of(house, count=2))["Onramp"] == "shout"


HOSTILE = {
    "data before a head": (b"\x00\x01x", 0x105),
    "settings on a request": (b"\x04\x00", 0x105),
    "a frame of http2": (b"\x06\x00", 0x105),
    "a head beyond any": (b"\x01" + encode_integer(100_000), 0x107),
    "a head that needs a table": (b"\x01\x03\x02\x00\x80", 0x200),
}


async def test_broken_requests_end_their_connection() -> None:
    async with gateway_house(own_certificate=True) as house:
        for name, (wire, code) in HOSTILE.items():
            async with visitor_of(house) as client:
                client.open_raw(wire)
                await client.until(lambda: False)
                assert client.closed is not None
                assert client.closed.error_code == code, name
        assert len(gateway_of(house).records.recent) == 0


UNIDIRECTIONAL = {
    "a second control stream": (b"\x00\x04\x00", 0x103),
    "a push": (b"\x01\x00", 0x103),
    "a second encoder": (b"\x02", 0x103),
    "datagrams of no stream": (b"\xff" * 8, 0x33),
}


async def test_broken_control_ends_the_connection() -> None:
    async with gateway_house(own_certificate=True) as house:
        for name, (wire, code) in UNIDIRECTIONAL.items():
            async with visitor_of(house) as client:
                if name == "datagrams of no stream":
                    client.send_raw_datagram(wire)
                else:
                    client.open_unidirectional(wire)
                await client.until(lambda: False)
                assert client.closed is not None
                assert client.closed.error_code == code, name


async def test_streams_and_frames_that_mean_nothing_are_passed_over() -> None:
    async with h3_house() as (_, client), echo_service() as port:
        ignored = client.open_unidirectional(encode_integer(0x21 + 0x1F) + bytes(100))
        await client.until(lambda: client.answer(ignored).stopped == 0x103)
        client.send_raw_datagram(encode_integer(1000) + b"for no request")
        stream_id = connect(client, f"127.0.0.1:{port}")
        await client.head(stream_id)
        client.send_raw(stream_id, encode_integer(0x40) + encode_integer(70_000) + bytes(70_000) + b"\x00\x00" * 2000)
        client.send(stream_id, b"still here", end=True)
        assert (await client.end(stream_id)).body == b"still here"


async def test_whoever_takes_requests_back_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http3_client, "TAKEN_BACK", 20)
    monkeypatch.setattr(http3_client, "TAKEN_BACK_A_SECOND", 0.001)
    async with h3_house() as (_, client):
        for _ in range(25):
            stream_id = client.open_raw(b"\x01\x40")
            client.reset(stream_id)
            if client.closed is not None:
                break
            await asyncio.sleep(0)
        await client.until(lambda: False)
        assert client.closed is not None
        assert client.closed.error_code == 0x107


async def test_a_connection_without_flows_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_client, "IDLE_TIMEOUT", 0.1)
    async with h3_house() as (_, client):
        await client.until(lambda: False)
        assert client.closed is not None
        assert client.closed.error_code == 0x100


async def test_without_tls_or_by_setting_there_is_no_http3() -> None:
    async with gateway_house(own_certificate=True, http3=False) as house:
        assert gateway_of(house).http3_address is None
    async with gateway_house() as house:
        assert gateway_of(house).http3_address is None
