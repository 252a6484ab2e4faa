"""Services whose destination the visitor's client chooses, and those that need none: with real clients."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.e2e.lifecycle.test_process import printed_address
from tests.support.houses.house import House, open_house
from tests.support.peers.raw_origin import Peer, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import pyconnector

ALLOW_LOOPBACK = [{"prefix": "127.0.0.0/8", "allow": True}]
REFUSED_BY_RULES = 2


async def shout(peer: Peer) -> None:
    while data := await peer.reader.read(65536):
        await peer.send(data.upper())


def visit(house: House, host: str, **headers: str) -> connect:
    address, port = house.edge.visitor_address
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return connect(f"ws://{host}/", host=address, port=port, additional_headers=fields, proxy=None)


class SocksClient:
    """SOCKS5 (RFC 1928) over the binary messages of a WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._data = b""

    async def send(self, data: bytes) -> None:
        await self._connection.send(data)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(30):
            while len(self._data) < count:
                message = await self._connection.recv()
                assert isinstance(message, bytes)
                self._data += message
        data, self._data = self._data[:count], self._data[count:]
        return data

    async def connect(self, host: str, port: int) -> int:
        """Ask for a connection and return the reply, 0 where there is one."""
        await self.send(b"\x05\x01\x00")
        assert await self.exactly(2) == b"\x05\x00"
        try:
            address = ipaddress.ip_address(host)
            where = bytes([1 if address.version == 4 else 4]) + address.packed
        except ValueError:
            where = bytes([3, len(host)]) + host.encode()
        await self.send(b"\x05\x01\x00" + where + struct.pack("!H", port))
        version, reply, _, kind = await self.exactly(4)
        assert version == 5
        await self.exactly({1: 4, 4: 16}[kind] + 2)
        return reply


async def test_socks_clients_reach_what_ip_rules_of_the_top_level_allow(engine: str) -> None:
    async with raw_origin(shout) as origin:
        rules: list[dict[str, Any]] = [
            {"hostname": "socks.test", "service": "socks-proxy"},
            {
                "hostname": "closed.test",
                "service": "socks-proxy",
                "originRequest": {"ipRules": [{"prefix": "127.0.0.1/32", "allow": False}]},
            },
            # A fixed service behind a SOCKS greeting: the destination that is asked for does not count.
            {
                "hostname": "fixed.test",
                "service": f"tcp://127.0.0.1:{origin.port}",
                "originRequest": {"proxyType": "socks"},
            },
            {"service": "http_status:404"},
        ]
        async with open_house(rules, engine=engine, originRequest={"ipRules": ALLOW_LOOPBACK}) as house:
            for host, destination in (("socks.test", "127.0.0.1"), ("socks.test", "localhost")):
                async with visit(house, host) as connection:
                    client = SocksClient(connection)
                    assert await client.connect(destination, origin.port) == 0
                    await client.send(b"hello")
                    assert await client.exactly(5) == b"HELLO"
            for host, destination in (("socks.test", "10.0.0.1"), ("closed.test", "127.0.0.1")):
                async with visit(house, host) as connection:
                    assert await SocksClient(connection).connect(destination, origin.port) == REFUSED_BY_RULES
            async with visit(house, "fixed.test") as connection:
                client = SocksClient(connection)
                await client.send(b"\x05\x01\x00")
                assert await client.exactly(2) == b"\x05\x00"


async def test_a_bastion_goes_where_the_client_says_within_the_rules_of_the_top_level(engine: str) -> None:
    async with raw_origin(shout) as origin:
        rules: list[dict[str, Any]] = [
            {"hostname": "bastion.test", "service": "bastion"},
            # An address that bastionMode takes no notice of.
            {"hostname": "mode.test", "service": "tcp://192.0.2.1:9", "originRequest": {"bastionMode": True}},
            {"service": "http_status:404"},
        ]
        async with open_house(rules, engine=engine, originRequest={"ipRules": ALLOW_LOOPBACK}) as house:
            for host in ("bastion.test", "mode.test"):
                async with visit(house, host, Cf_Access_Jump_Destination=f"127.0.0.1:{origin.port}") as client:
                    await client.send(b"hello")
                    assert await client.recv() == b"HELLO"
            for destination, status in (("10.0.0.1:22", 403), ("nowhere", 400)):
                with pytest.raises(InvalidStatus) as refused:
                    async with visit(house, "bastion.test", Cf_Access_Jump_Destination=destination):
                        pass
                assert refused.value.response.status_code == status


async def test_hello_world_has_a_page_an_echo_and_events(engine: str) -> None:
    async with open_house([{"service": "hello_world"}], engine=engine) as house:
        async with RawVisitor(house.edge.visitor_address) as visitor:
            page = await visitor.request(get("/<script>", "app.test", "X-Mark: <b>"))
            assert (page.status, page.field("Content-Type")) == (200, "text/html; charset=utf-8")
            assert b"It works" in page.body
            assert b"&lt;script&gt;" in page.body
            assert b"<script>" not in page.body
            assert (await visitor.request(get("/_health"))).status == 200
        host, port = house.edge.visitor_address
        async with connect("ws://app.test/ws", host=host, port=port, proxy=None) as client:
            await client.send("hi")
            assert await client.recv() == "hi"


@pytest.mark.parametrize("service", ["http", "unix", "hello", "none", "tcp"])
async def test_one_origin_from_flags(service: str, tmp_path: Path) -> None:
    async def shouting(peer: Peer) -> None:
        await peer.send((await peer.rest()).upper())

    path = str(tmp_path / "app.sock")
    answer = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    async with raw_origin(answer) as web, raw_origin(answer, path=path), raw_origin(shouting) as tcp:
        flags: dict[str, tuple[str, ...]] = {
            "http": ("--url", f"127.0.0.1:{web.port}/dropped"),
            "unix": ("--unix-socket", path),
            "hello": ("--hello-world",),
            "none": (),
            "tcp": ("--url", f"tcp://127.0.0.1:{tcp.port}"),
        }
        empty = tmp_path / "config.yml"
        empty.write_text("loglevel: info\n")
        arguments = ("run", "--local", empty, *flags[service], "--metrics", "127.0.0.1:0", "--ha-connections", 1)
        async with pyconnector(*arguments) as process:
            if service == "tcp":
                async with RawVisitor(await printed_address(process, "(TCP)")) as visitor:
                    visitor.send(b"hello")
                    visitor.writer.write_eof()
                    assert await visitor.reader.read() == b"HELLO"
            else:
                async with RawVisitor(await printed_address(process, "curl ")) as visitor:
                    response = await visitor.request(get("/x"))
                if service == "hello":
                    assert b"It works" in response.body
                elif service == "none":
                    assert response.status == 503
                    assert "no ingress rules and no --url" in process.text
                else:
                    assert response.body == b"hi"
            process.send_signal(signal.SIGTERM)
            assert await process.code() == 0


async def test_a_bastion_from_flags(tmp_path: Path) -> None:
    empty = tmp_path / "config.yml"
    empty.write_text("loglevel: info\n")
    async with raw_origin(shout) as origin:
        async with pyconnector("run", "--local", empty, "--bastion", "--metrics", "127.0.0.1:0") as process:
            host, port = await printed_address(process, "curl ")
            fields = {"Cf-Access-Jump-Destination": f"127.0.0.1:{origin.port}"}
            uri = "ws://bastion.test/"
            async with connect(uri, host=host, port=port, additional_headers=fields, proxy=None) as client:
                await client.send(b"hello")
                assert await client.recv() == b"HELLO"
