"""The port of a device, with streams in memory in place of those of the library."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import dns.message
import pytest

from pyconnector.edge.access.devices import DeviceEntry, WireGuardEntry
from pyconnector.edge.private.wireguard import flow, port, ports
from pyconnector.edge.private.wireguard.ports import DevicePorts
from pyconnector.edge.settings import SettingsError
from pyconnector.identity.devices.wireguard import make_private_key, public_key_of
from tests.support.houses.private_house import PrivateHouse, private_house
from tests.support.peers.gateway import CLIENT_ID, gateway_settings, rule, token
from tests.support.services.udp_service import UdpService

KEY = make_private_key(bytes(range(32)))
DEVICE = DeviceEntry(
    id="d1", name="phone", token_id=CLIENT_ID, address=IPv4Address("100.96.0.7"),
    wireguard=WireGuardEntry(
        public_key=public_key_of(KEY), server_key=KEY, port=51_820, dns_address=IPv4Address("100.96.0.1"),
        name_range=IPv4Network("172.64.128.0/20"),
    ),
)  # fmt: skip


class FakeStream:
    """A stream of the library: what the device sends is fed, what it gets is in `written`."""

    def __init__(self, where: tuple[str, int], source: str = "100.96.0.7") -> None:
        self.addresses = {"sockname": where, "peername": (source, 40_000), "original_src": ("192.0.2.7", 50_000)}
        self.fed: asyncio.Queue[bytes] = asyncio.Queue()
        self.written = bytearray()
        self.closed = asyncio.Event()
        self.ended = False

    async def read(self, n: int) -> bytes:
        return await self.fed.get()

    def write(self, data: bytes) -> None:
        if self.closed.is_set():
            raise OSError("connection closed")
        self.written += data

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed.set()

    def get_extra_info(self, name: str) -> Any:
        return self.addresses[name]

    async def until(self, data: bytes) -> None:
        async with asyncio.timeout(30):
            while data not in self.written:
                await asyncio.sleep(0.005)

    async def gone(self) -> None:
        async with asyncio.timeout(30):
            await self.closed.wait()


class FakeServer:
    """A port of the library."""

    opened: list[FakeServer]

    def __init__(self, address: tuple[str, int], *more: Any) -> None:
        self.address, self.keys, (self.on_tcp, self.on_udp) = address, more[:2], more[2:]
        self.open = True

    def getsockname(self) -> tuple[str, int]:
        return self.address

    def close(self) -> None:
        self.open = False

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    async def tcp(self, *where: Any, **more: Any) -> FakeStream:
        stream = FakeStream(where, **more)
        await self.on_tcp(stream)
        return stream

    async def udp(self, *where: Any, **more: Any) -> FakeStream:
        stream = FakeStream(where, **more)
        await self.on_udp(stream)
        return stream


@asynccontextmanager
async def wireguard_house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[PrivateHouse, FakeServer]]:
    FakeServer.opened = []

    async def open_port(*given: Any) -> FakeServer:
        FakeServer.opened.append(FakeServer(*given))
        return FakeServer.opened[-1]

    monkeypatch.setattr(port, "open_port", open_port)
    monkeypatch.setattr(ports, "check_installed", lambda: None)
    monkeypatch.setattr(port, "FAREWELL", 0.0)
    gateway = gateway_settings(http=None, socks=None, wireguard="127.0.0.1", rules=(rule(),))
    async with private_house(settings={"gateway": gateway}) as house:
        house.edge.gate.state.put("device", DEVICE)
        async with asyncio.timeout(30):
            while not FakeServer.opened:
                await asyncio.sleep(0.005)
        yield house, FakeServer.opened[0]


async def record_of(house: PrivateHouse, number: int = 0) -> dict[str, Any]:
    assert house.edge.gateway is not None
    recent = house.edge.gateway.records.recent
    async with asyncio.timeout(30):
        while len(recent) <= number:
            await asyncio.sleep(0.005)
    return recent[number]


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_flows_of_a_device_are_carried_and_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wireguard_house(monkeypatch) as (house, server), echo() as tcp, UdpService() as udp:
        assert (server.address, server.keys) == (("127.0.0.1", 51_820), (KEY, public_key_of(KEY)))
        ended = await server.tcp("127.0.0.1", tcp)
        ended.fed.put_nowait(b"hello")
        await ended.until(b"hello")
        ended.fed.put_nowait(b"")
        await ended.gone()
        assert ended.ended
        record = await record_of(house)
        assert (record["Onramp"], record["SourceIP"], record["SourceInternalIP"]) == (
            "wireguard", "192.0.2.7", "100.96.0.7",
        )  # fmt: skip
        assert (record["BytesSent"], record["BytesReceived"], record["ConnectionCloseReason"]) == (
            5,
            5,
            "CLIENT_CLOSED",
        )
        held, packets = await server.tcp("127.0.0.1", tcp), await server.udp("127.0.0.1", udp.port)
        packets.fed.put_nowait(b"ping")
        await packets.until(b"ping")
        held.fed.put_nowait(b"held")
        await held.until(b"held")
        house.edge.gate.state.drop("device", "d1")
        await held.gone()
        await packets.gone()
        assert {(await record_of(house, number))["Detail"] for number in (1, 2)} == {"the device was revoked"}
        async with asyncio.timeout(30):
            while server.open:
                await asyncio.sleep(0.005)


async def test_a_disabled_token_closes_the_port_and_an_enabled_one_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wireguard_house(monkeypatch) as (house, server):
        state = house.edge.gate.state
        state.put("service_token", replace(token(), enabled=False))
        async with asyncio.timeout(30):
            while server.open:
                await asyncio.sleep(0.005)
        late = await server.tcp("127.0.0.1", 1)
        assert late.closed.is_set()
        state.put("service_token", token())
        async with asyncio.timeout(30):
            while len(FakeServer.opened) < 2:
                await asyncio.sleep(0.005)


async def test_what_a_device_may_not_is_refused_with_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "REFUSED_SECONDS", 0.01)
    monkeypatch.setattr(port, "MAX_FLOWS", 1)
    async with wireguard_house(monkeypatch) as (house, server), echo() as tcp:
        cases = [
            (("127.0.0.1", tcp, "100.96.0.8"), "spoofed_source"),
            (("100.96.0.1", 53, "100.96.0.8"), "spoofed_source"),
            (("172.64.128.9", 80, "100.96.0.7"), "no_such_name"),
            (("10.9.9.9", 80, "100.96.0.7"), "no_network_rule"),
        ]
        for number, ((host, where, source), reason) in enumerate(cases):
            stream = await server.tcp(host, where, source=source)
            await stream.gone()
            record = await record_of(house, number)
            assert (record["Reason"], record["Allowed"], record["DeviceID"]) == (reason, False, "d1")
        assert house.edge.gateway is not None
        assert house.edge.gateway.wireguard is not None
        mine = house.edge.gateway.wireguard._ports["d1"]
        async with asyncio.timeout(30):
            while mine._flows:
                await asyncio.sleep(0.005)
        held = await server.tcp("127.0.0.1", tcp)
        more = await server.udp("127.0.0.1", tcp)
        await more.gone()
        assert (await record_of(house, len(cases)))["Reason"] == "too_many_flows"
        held.fed.put_nowait(b"still")
        await held.until(b"still")


async def test_a_silent_half_closed_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wireguard_house(monkeypatch) as (house, server):
        silent = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await silent.wait()
            writer.close()

        monkeypatch.setattr(flow, "HALF_CLOSED_SECONDS", 0.05)
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            stream = await server.tcp("127.0.0.1", listener.sockets[0].getsockname()[1])
            stream.fed.put_nowait(b"")
            await stream.gone()
            assert (await record_of(house))["ConnectionCloseReason"] == "CLIENT_IDLE_TIMEOUT"
            silent.set()


async def test_too_many_connections_open_the_port_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "MAX_BEGUN", 2)
    async with wireguard_house(monkeypatch) as (_, server):
        for _ in range(3):
            await server.tcp("10.9.9.9", 80, source="100.96.0.8")
        async with asyncio.timeout(30):
            while len(FakeServer.opened) < 2:
                await asyncio.sleep(0.005)
        assert not server.open


async def test_questions_are_answered_over_tcp_and_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wireguard_house(monkeypatch) as (_, server):
        wire = dns.message.make_query("db.example", "A").to_wire()
        stream = await server.tcp("100.96.0.1", 53)
        whole = len(wire).to_bytes(2, "big") + wire
        for piece in (whole[:1], whole[1:20], whole[20:]):
            stream.fed.put_nowait(piece)
        await stream.until(wire[:2])
        stream.fed.put_nowait(b"")
        await stream.gone()
        packets = await server.udp("100.96.0.1", 53)
        packets.fed.put_nowait(wire)
        await packets.until(wire[:2])
        for _ in range(3):
            packets.fed.put_nowait(b"")
        await packets.gone()


def test_a_missing_library_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mitmproxy_rs", None)
    monkeypatch.setitem(sys.modules, "mitmproxy_rs.wireguard", None)
    with pytest.raises(SettingsError, match=r"pip install 'pyconnector\[wireguard\]'"):
        DevicePorts(None, "127.0.0.1")  # type: ignore[arg-type]


def test_the_address_of_wireguard_is_one_without_a_port() -> None:
    with pytest.raises(SettingsError, match="IP address"):
        gateway_settings(wireguard="127.0.0.1:51820")
