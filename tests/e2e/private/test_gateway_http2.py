"""The gateway over HTTP/2: CONNECT and CONNECT-UDP, each stream a flow of its own, and what a client may cost."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge.private.gateway import stream_client
from pyconnector.protocol.capsules import CapsuleReader, encode_integer, encode_udp_capsule, udp_payload
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of, record_of
from tests.support.peers.gateway import CLIENT_ID, SECRET, Client, rule, token
from tests.support.peers.h2_visitor import H2Visitor, StreamLog, h2_visitor
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from tests.support.houses.private_house import PrivateHouse

pytestmark = pytest.mark.usefixtures("each_loop")

BASIC = (b"proxy-authorization", b"Basic " + base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()))
#: More than windows and sockets hold between a client and its destination.
TOO_MUCH = 32 * 1024 * 1024
WRONG = (b"proxy-authorization", b"Basic " + base64.b64encode(f"{CLIENT_ID}:wrong".encode()))


@asynccontextmanager
async def h2_house(**more: Any) -> AsyncIterator[tuple[PrivateHouse, H2Visitor]]:
    async with gateway_house(**more) as house:
        address = gateway_of(house).http_address
        assert address is not None
        async with await h2_visitor(address) as client:
            yield house, client


def connect(client: H2Visitor, authority: str, *more: tuple[bytes, bytes]) -> int:
    pseudo = {"scheme": None, "path": None, "authority": authority.encode()}
    return client.open(*(more or (BASIC,)), method=b"CONNECT", pseudo=pseudo, end=False)


def connect_udp(client: H2Visitor, port: int, path: str = "/.well-known/masque/udp/127.0.0.1/{}/") -> int:
    pseudo = {"protocol": b"connect-udp", "authority": b"edge"}
    more = (BASIC, (b"capsule-protocol", b"?1"))
    return client.open(*more, method=b"CONNECT", path=path.format(port).encode(), pseudo=pseudo, end=False)


async def head(client: H2Visitor, stream_id: int) -> StreamLog:
    log = client.streams[stream_id]
    await client.until(lambda: bool(log.fields) or log.reset is not None or client.lost)
    return log


async def body(client: H2Visitor, stream_id: int, size: int) -> bytes:
    log = client.streams[stream_id]
    await client.until(lambda: len(log.body) >= size or log.ended or log.reset is not None, 30)
    return bytes(log.body)


async def test_streams_of_one_connection_are_flows_with_a_record_each() -> None:
    async with h2_house() as (house, client), echo_service() as port:
        flows = [connect(client, f"127.0.0.1:{port}") for _ in range(50)]
        for number, stream_id in enumerate(flows):
            assert (await head(client, stream_id)).status == 200
            await client.send(stream_id, b"%03d" % number * 2000, end=True)
        for number, stream_id in enumerate(flows):
            assert await body(client, stream_id, 6000) == b"%03d" % number * 2000
            assert (await client.answer(stream_id)).ended
        record = await record_of(house, count=50)
        assert (record["Onramp"], record["Protocol"], record["BytesSent"], record["BytesReceived"]) == (
            "http2-connect", "TCP", 6000, 6000,
        )  # fmt: skip
        assert {each["ConnectionCloseReason"] for each in gateway_of(house).records.recent} == {"CLIENT_CLOSED"}
        assert len(gateway_of(house).judge) == 0


async def test_refusals_end_their_stream_alone() -> None:
    async with h2_house(rules=(rule(ports=["1024-65535"]),)) as (house, client), echo_service() as port:
        good = connect(client, f"127.0.0.1:{port}")
        statuses = {
            connect(client, f"127.0.0.1:{port}", WRONG): 407,
            connect(client, f"127.0.0.1:{port}", (b"x", b"y")): 407,
            connect(client, "127.0.0.1:22"): 403,
            connect(client, "10.1.2.3:80"): 403,
            connect(client, "nonsense"): 400,
            connect(client, f"127.0.0.1:{port}", BASIC, BASIC): 400,
            connect(client, f"127.0.0.1:{port}", BASIC, (b"content-length", b"5")): 400,
            client.open(BASIC, end=False): 400,
            client.open(BASIC, method=b"CONNECT", end=False): 400,
            client.open(BASIC, method=b"CONNECT", pseudo={"protocol": b"websocket"}, end=False): 400,
            connect_udp(client, 53, "/elsewhere/{}/"): 400,
            connect_udp(client, 53): 403,
        }  # fmt: skip
        for stream_id, status in statuses.items():
            log = await client.answer(stream_id)
            assert (log.status, log.ended) == (status, True)
        denied = client.streams[next(each for each, status in statuses.items() if status == 403)]
        assert denied.field(b"proxy-status") == b"pyconnector; error=http_request_denied"
        assert denied.body == b"No network rule allows this.\n"
        await client.send(good, b"goes on")
        assert await body(client, good, 7) == b"goes on"
        assert client.settings_seen[8] == 1  # ENABLE_CONNECT_PROTOCOL
        # One record for each who was told from nonsense.
        assert len(gateway_of(house).records.recent) == 5


async def test_a_revoked_token_resets_its_streams() -> None:
    async with h2_house() as (house, client), echo_service() as port, UdpService() as service:
        flows = [connect(client, f"127.0.0.1:{port}"), connect_udp(client, service.port)]
        for stream_id in flows:
            assert (await head(client, stream_id)).status == 200
        house.edge.gate.state.put("service_token", replace(token(), enabled=False))
        for stream_id in flows:
            assert (await client.answer(stream_id)).reset is not None
        for number in (0, 1):
            assert (await record_of(house, number, count=2))["Detail"] == "the token was revoked"
        assert not client.lost


async def test_half_of_a_flow_may_go_on_and_a_reset_ends_it() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(b"got %d" % len(got))
        await writer.drain()
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, h2_house() as (house, client), echo_service() as echo:
        stream_id = connect(client, f"127.0.0.1:{port}")
        await head(client, stream_id)
        await client.send(stream_id, b"x" * 1000, end=True)
        assert await body(client, stream_id, 8) == b"got 1000"
        await ended.wait()
        assert (await record_of(house))["ConnectionCloseReason"] == "CLIENT_CLOSED"
        stream_id = connect(client, f"127.0.0.1:{echo}")
        await head(client, stream_id)
        client.reset(stream_id)
        assert (await record_of(house, count=2))["ConnectionCloseReason"] == "CLIENT_CLOSED"
        assert len(gateway_of(house).judge) == 0


async def test_credit_goes_back_as_the_destination_takes() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        while data := await reader.read(65_536):
            taken.append(len(data))
        writer.close()

    release, taken = asyncio.Event(), [0]
    server = await asyncio.start_server(stall, "127.0.0.1", 0, limit=4096)
    port = server.sockets[0].getsockname()[1]
    async with server, h2_house() as (_, client), echo_service() as echo:
        stalled, other = connect(client, f"127.0.0.1:{port}"), connect(client, f"127.0.0.1:{echo}")
        await head(client, stalled)
        await head(client, other)
        sending = asyncio.create_task(client.send(stalled, bytes(TOO_MUCH), end=True))
        before = -1
        while before != (before := client.h2.outbound_flow_control_window):
            await asyncio.sleep(0.3)
        assert client.h2.local_flow_control_window(stalled) == 0
        assert not sending.done()
        await client.send(other, b"x" * 100_000)  # one that stalls holds up nobody else
        assert len(await body(client, other, 100_000)) == 100_000
        release.set()
        async with asyncio.timeout(30):
            await sending
            while sum(taken) < TOO_MUCH:
                await asyncio.sleep(0.01)


async def test_what_a_client_does_not_read_waits_at_the_service() -> None:
    sent = [0]

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(65_536))
                await writer.drain()
                sent[0] += 65_536
        except ConnectionError:
            pass

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, gateway_house() as house:
        address = gateway_of(house).http_address
        assert address is not None
        async with await h2_visitor(address, hold=True) as client:
            assert (await head(client, connect(client, f"127.0.0.1:{port}"))).status == 200
            before = -1
            while before != (before := sent[0]):
                await asyncio.sleep(0.3)
            assert sent[0] < 48 * 1024 * 1024
        assert (await record_of(house))["ConnectionCloseReason"] == "CLIENT_CLOSED"


async def test_floods_of_frames_that_carry_nothing_have_an_end() -> None:
    async with h2_house() as (_, client):
        for _ in range(900):
            client.h2.ping(b"12345678")
        client.flush()
        await client.until(lambda: client.pongs == 900)
        for _ in range(1_000):
            client.h2.ping(b"12345678")
        client.flush()
        await client.until(lambda: client.lost)
        assert client.pongs < 1_900


async def test_a_connection_without_flows_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_client, "IDLE_TIMEOUT", 0.2)

    async with h2_house() as (_, client), echo_service() as port:
        stream_id = connect(client, f"127.0.0.1:{port}")
        await head(client, stream_id)
        await asyncio.sleep(0.4)
        assert not client.lost
        await client.send(stream_id, b"", end=True)
        await client.until(lambda: client.lost)


async def test_http2_is_chosen_by_alpn() -> None:
    async with gateway_house(own_certificate=True) as house, echo_service() as port:
        address = gateway_of(house).http_address
        assert address is not None
        for protocols, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
            context = ssl.create_default_context(cafile=house.edge.ca_path)
            if protocols:
                context.set_alpn_protocols(protocols)
            if chosen != "h2":
                client = await Client.at(address, context)
                found = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
                assert await client.http_connect("127.0.0.1", port) == 200
                client.close()
            else:
                loop = asyncio.get_running_loop()
                transport, visitor = await loop.create_connection(H2Visitor, *address, ssl=context)
                found = transport.get_extra_info("ssl_object").selected_alpn_protocol()
                assert (await head(visitor, connect(visitor, f"127.0.0.1:{port}"))).status == 200
                await visitor.close()
            assert found == chosen


Carrier = Callable[[bytes], Any]


def datagrams(data: bytes) -> list[bytes]:
    reader, found = CapsuleReader(), []
    reader.feed(data)
    while (datagram := reader.next()) is not None:
        payload = udp_payload(datagram)
        assert payload is not None
        found.append(payload)
    return found


NOISE = encode_integer(0x29) + encode_integer(5) + b"other" + encode_integer(0) + encode_integer(3) + b"\x02no"


async def test_udp_travels_in_capsules_over_http2() -> None:
    async with h2_house() as (house, client), UdpService() as service:
        stream_id = connect_udp(client, service.port)
        log = await head(client, stream_id)
        assert (log.status, log.field(b"capsule-protocol")) == (200, b"?1")
        sizes = (1, 64, 1200)
        wire = NOISE + b"".join(encode_udp_capsule(bytes(size)) for size in sizes) + encode_udp_capsule(bytes(9000))
        for at in range(0, len(wire), 700):
            await client.send(stream_id, wire[at : at + 700])
        await client.until(lambda: len(datagrams(bytes(log.body))) == 3)
        assert sorted(map(len, datagrams(bytes(log.body)))) == list(sizes)
        await client.send(stream_id, encode_udp_capsule(b"last"), end=True)
        assert (await client.answer(stream_id)).ended
        record = await record_of(house)
        assert (record["Onramp"], record["Protocol"], record["BytesSent"]) == ("connect-udp", "UDP", 1269)
        assert record["ConnectionCloseReason"] == "CLIENT_CLOSED"
        assert len(gateway_of(house).judge) == 0


async def test_udp_travels_in_capsules_over_an_upgraded_connection() -> None:
    async with gateway_house() as house, UdpService() as service:
        client = await Client.at(gateway_of(house).http_address)
        lines = [
            f"GET /.well-known/masque/udp/127.0.0.1/{service.port}/ HTTP/1.1", "Host: edge", "Connection: Upgrade",
            f"Proxy-Authorization: {BASIC[1].decode()}", "Upgrade: connect-udp", "Capsule-Protocol: ?1", "", "",
        ]  # fmt: skip
        client.writer.write("\r\n".join(lines).encode() + NOISE + encode_udp_capsule(b"first"))
        assert await client.status() == 101
        assert await client.read(8) == encode_udp_capsule(b"first")
        client.writer.write(b"".join(encode_udp_capsule(b"%04d" % number) for number in range(200)))
        got = datagrams(await client.read(7 * 200))
        assert sorted(got) == [b"%04d" % number for number in range(200)]
        client.writer.write(encode_integer(0) + encode_integer(70_000))
        assert await client.rest() == b""
        record = await record_of(house)
        assert (record["ConnectionCloseReason"], record["BytesReceived"]) == ("CLIENT_ERROR", 805)
        client.close()
