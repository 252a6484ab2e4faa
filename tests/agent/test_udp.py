"""UDP through the gateway: in programs, and by UDP ASSOCIATE of the local proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyconnector.agent import MeshError, associate
from pyconnector.agent.associate import MAX_DESTINATIONS, Association
from pyconnector.agent.carry import SocketEnd
from pyconnector.agent.split import Includes
from pyconnector.agent.udp import MAX_UNSENT, Flow, UdpFlow
from pyconnector.edge import PrivateHostname
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp
from tests.agent.test_client import joined
from tests.agent.test_proxy import proxied
from tests.support.houses.gateway_house import gateway_of, record_of
from tests.support.houses.house import TUNNEL_ID
from tests.support.loop.suspensions import cancel_everywhere
from tests.support.peers.gateway import Client, rule
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.agent.proxy import LocalProxy

pytestmark = pytest.mark.usefixtures("each_loop")


class Program:
    """A program's UDP through a SOCKS5 proxy."""

    def __init__(self, client: Client, where: tuple[str, int]) -> None:
        self.client = client
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(where)

    def send(self, host: str, port: int, payload: bytes) -> None:
        self._socket.send(encode_udp(host, port, payload))

    async def receive(self) -> tuple[str, int, bytes]:
        data = await asyncio.get_running_loop().sock_recv(self._socket, 65_535)
        found = decode_udp(data)
        assert found is not None
        return found

    def close(self) -> None:
        self.client.close()
        self._socket.close()


@asynccontextmanager
async def program_at(proxy: LocalProxy) -> AsyncIterator[Program]:
    client = await Client.at(proxy.address)
    client.writer.write(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
    reply = await client.read(12)
    assert reply[:6] == b"\x05\x00\x05\x00\x00\x01"
    program = Program(client, (".".join(map(str, reply[6:10])), int.from_bytes(reply[10:12], "big")))
    try:
        yield program
    finally:
        program.close()


@pytest.mark.parametrize("http2", [False, True])
async def test_packets_of_a_program_pass_through_the_gateway(tmp_path: Path, http2: bool) -> None:
    async with (
        asyncio.timeout(60),
        UdpService() as service,
        joined(tmp_path, tls=True, http2=http2) as (house, mesh),
    ):
        flow = await mesh.open_udp("127.0.0.1", service.port)
        for payload in (b"hello", b"", b"x" * 1_200):
            flow.send(payload)
            assert await flow.receive() == payload
        flow.close()
        record = await record_of(house)
        assert (record["Protocol"], record["BytesSent"], record["BytesReceived"]) == ("UDP", 1_205, 1_205)
        with pytest.raises(MeshError, match="No network rule"):
            await mesh.open_udp("10.9.9.9", 53)


async def test_a_flow_that_may_not_be_any_more_ends(tmp_path: Path) -> None:
    async with asyncio.timeout(60), UdpService() as service, joined(tmp_path) as (house, mesh):
        flow = await mesh.open_udp("127.0.0.1", service.port)
        flow.send(b"x")
        assert await flow.receive() == b"x"
        gateway_of(house).judge.close()
        with pytest.raises(MeshError, match=r"ended the flow|broke the flow off"):
            await flow.receive()
        flow.close()


async def test_a_flow_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(60), UdpService() as service, joined(tmp_path, http2=False) as (house, mesh):

        async def used() -> None:
            flow = await mesh.open_udp("127.0.0.1", service.port)
            try:
                flow.send(b"x")
                assert await flow.receive() == b"x"
            finally:
                flow.close()

        async def nobody_is_left() -> None:
            while gateway_of(house)._clients:
                await asyncio.sleep(0.005)

        await used()
        await nobody_is_left()
        assert await cancel_everywhere(used, nobody_is_left) >= 3


async def test_the_local_proxy_carries_udp(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), UdpService() as one, UdpService(lambda data: data[::-1]) as other,
        proxied(tmp_path, tls=True) as (house, proxy), program_at(proxy) as program,
    ):  # fmt: skip
        for service, answer in ((one, b"abc"), (other, b"cba")):
            program.send("127.0.0.1", service.port, b"abc")
            assert await program.receive() == ("127.0.0.1", service.port, answer)
        assert proxy.counts.opened == 2
        program.close()
        assert {(await record_of(house, number, count=2))["Protocol"] for number in (0, 1)} == {"UDP"}


async def test_names_are_resolved_behind_the_gateway(tmp_path: Path) -> None:
    edge = {"private_hostnames": (PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),)}
    rules = (rule(names=["*.internal"]),)
    async with (
        asyncio.timeout(60), dns_service({"echo.internal": "127.0.0.1"}) as dns,
        proxied(tmp_path, resolver=dns.port, edge=edge, rules=rules) as (house, proxy),
        program_at(proxy) as program,
    ):  # fmt: skip
        program.send("echo.internal", 9, b"abc")
        record = await record_of(house)  # it is refused, since that is a loopback address
        assert (record["ResolvedFQDN"], record["OriginIP"]) == ("echo.internal", "127.0.0.1")


class Echo:
    """A flow that answers with what it is sent."""

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.send = self._packets.put_nowait
        self.receive = self._packets.get

    def close(self) -> None: ...


async def test_answers_come_from_where_the_program_sent_to() -> None:
    async def reach(host: str, port: int) -> Flow:
        return Echo()

    association = Association(reach)
    where = await association.open("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.setblocking(False)
        program.connect(where)
        for host in ("echo.internal", "10.0.0.1", "fd00::1"):
            program.send(encode_udp(host, 53, host.encode()))
            async with asyncio.timeout(30):
                data = await asyncio.get_running_loop().sock_recv(program, 2_000)
            assert decode_udp(data) == (host, 53, host.encode())
    await association.close()


async def test_what_is_not_included_goes_directly(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60), UdpService() as service,
        proxied(tmp_path, Includes(["10.0.0.0/8"])) as (house, proxy), program_at(proxy) as program,
    ):  # fmt: skip
        program.send("127.0.0.1", service.port, b"abc")
        assert await program.receive() == ("127.0.0.1", service.port, b"abc")
        program.send("10.9.9.9", 53, b"abc")
        await record_of(house)
        while proxy.counts.failed == 0:  # the refusal may still be on its way
            await asyncio.sleep(0.001)
        assert (proxy.counts.direct, proxy.counts.failed) == (1, 1)


class Silent:
    """A flow that takes everything and answers nothing."""

    def __init__(self) -> None:
        self.dropped = 0
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    def close(self) -> None:
        self.closed = True


async def test_destinations_are_bounded_and_forgotten_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associate, "IDLE_SECONDS", 0.05)

    flows: list[Silent] = []

    async def reach(host: str, port: int) -> Flow:
        if port == 1:
            raise MeshError("no")
        flows.append(Silent())
        return flows[-1]

    association = Association(reach)
    await association.open("127.0.0.1")
    program, stranger = ("127.0.0.1", 9), ("127.0.0.1", 10)
    for port in range(100, 100 + MAX_DESTINATIONS + 5):
        association.datagram_received(encode_udp("10.0.0.1", port, b"x"), program)
    assert association.dropped == 5
    association.datagram_received(encode_udp("10.0.0.1", 100, b"x"), stranger)
    association.datagram_received(b"\x00\x00\x01" + encode_udp("10.0.0.1", 100, b"x")[3:], program)  # a fragment
    association.datagram_received(b"", program)
    assert association.dropped == 8
    async with asyncio.timeout(30):
        while len(flows) < MAX_DESTINATIONS or not all(flow.closed for flow in flows):
            await asyncio.sleep(0.01)
    for _ in range(3):  # refused once, then not tried again
        association.datagram_received(encode_udp("10.0.0.1", 1, b"x"), program)
        await asyncio.sleep(0.01)
    assert association.dropped == 10
    association.datagram_received(encode_udp("10.0.0.1", 100, b"again"), program)
    await asyncio.sleep(0)
    await association.close()
    assert flows[-1].sent == [b"again"]
    assert flows[-1].closed


async def test_a_gateway_that_takes_nothing_costs_no_memory() -> None:
    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()
        writer.close()

    done = asyncio.Event()
    async with await asyncio.start_server(never_reads, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        flow = UdpFlow(SocketEnd(reader, writer))
        for _ in range(20_000):
            flow.send(b"x" * 1_200)
        assert flow.dropped > 0
        assert writer.transport.get_write_buffer_size() <= MAX_UNSENT + 1_300
        writer.transport.abort()
        done.set()
