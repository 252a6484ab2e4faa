"""SOCKS5 inside the WebSocket carriage, and the bastion: destinations that the visitor chooses."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.rules.ip_rules import IpRule, parse_prefix
from pyconnector.origins.base import OriginError, OriginResponse, RequestKind
from pyconnector.origins.net.dial import Endpoint, Target
from pyconnector.origins.tcp import socks
from pyconnector.origins.tcp.bastion import BastionOrigin
from pyconnector.origins.tcp.destinations import parse_destination
from pyconnector.origins.tcp.socks import SocksOrigin
from pyconnector.origins.tcp.stream import StreamOrigin
from pyconnector.origins.tcp.tunnel import Tunnel
from pyconnector.web.websocket import frames
from tests.origins.support import get, until
from tests.support.peers.frames import masked, read_frames
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginRequest
    from tests.support.peers.raw_origin import Peer

LOOPBACK = (IpRule(prefix=parse_prefix("127.0.0.0/8"), allow=True), IpRule(prefix=parse_prefix("::1/128"), allow=True))
HELLO = b"\x05\x01\x00"


async def banner(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):  # the client may break off
        await peer.send(b"220 ready\r\n")
        while data := await peer.some():
            await peer.send(data.upper())


def upgrade(*headers: tuple[bytes, bytes]) -> OriginRequest:
    return get("/", (b"Sec-Websocket-Key", b"a2V5"), *headers, kind=RequestKind.WEBSOCKET, length=None)


def connect_to(host: str, port: int, command: int = 1) -> bytes:
    try:
        address = ipaddress.ip_address(host)
        return bytes((5, command, 0, 1 if address.version == 4 else 4)) + address.packed + port.to_bytes(2)
    except ValueError:
        return bytes((5, command, 0, 3, len(host))) + host.encode() + port.to_bytes(2)


class Client:
    """A SOCKS client over frames."""

    def __init__(self, response: OriginResponse, body: Body) -> None:
        self.response = response
        self.body = body
        self.data = b""
        self.closed = False

    def say(self, data: bytes) -> None:
        self.body.put(masked(frames.BINARY, data))

    async def hear(self, count: int) -> bytes:
        while len(self.data) < count:
            piece = await asyncio.wait_for(self.response.receive(), 30)
            assert piece, "ended early"
            for frame in read_frames(piece):
                if frame.opcode == frames.BINARY:
                    self.data += frame.payload
                else:
                    self.closed = True
        data, self.data = self.data[:count], self.data[count:]
        return data

    async def end(self) -> bytes:
        """What is left, up to the close frame."""
        while piece := await asyncio.wait_for(self.response.receive(), 30):
            for frame in read_frames(piece):
                if frame.opcode == frames.BINARY:
                    self.data += frame.payload
                else:
                    self.closed = True
        assert self.closed
        await asyncio.wait_for(self.response.finish(), 30)
        return self.data


async def resolver(host: str, port: int) -> list[Target]:
    if host == "app.internal":
        return [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def open_socks(rules: tuple[IpRule, ...]) -> Client:
    body = Body(end=False)
    origin = SocksOrigin(OriginSettings(ip_rules=rules), resolver=resolver)
    return Client(await origin.serve(upgrade(), body), body)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("host", ["127.0.0.1", "app.internal"])
async def test_a_client_reaches_what_the_rules_allow(host: str) -> None:
    async with raw_origin(banner) as server:
        client = await open_socks(LOOPBACK)
        client.say(HELLO)
        assert await client.hear(2) == b"\x05\x00"
        client.say(connect_to(host, server.port))
        reply = await client.hear(10)
        assert reply[:8] == b"\x05\x00\x00\x01\x7f\x00\x00\x01"
        await until(lambda: bool(server.peers))
        assert int.from_bytes(reply[8:]) == server.peers[0].writer.get_extra_info("peername")[1]
        assert await client.hear(11) == b"220 ready\r\n"
        client.say(b"hello")
        assert await client.hear(5) == b"HELLO"
        client.response.abort()
        await until(lambda: not server.running)


@pytest.mark.usefixtures("each_loop")
async def test_everything_may_come_in_one_frame_or_byte_by_byte() -> None:
    async with raw_origin(banner) as server:
        wire = HELLO + connect_to("127.0.0.1", server.port) + b"hello"
        for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
            client = await open_socks(LOOPBACK)
            for piece in pieces:
                client.say(piece)
            assert (await client.hear(2 + 10))[:4] == b"\x05\x00\x05\x00"
            assert sorted(await client.hear(16)) == sorted(b"220 ready\r\nHELLO")
            client.response.abort()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    ("rules", "host", "port"),
    [
        ((), "127.0.0.1", 80),
        (LOOPBACK, "10.0.0.1", 80),
        ((IpRule(prefix=parse_prefix("127.0.0.0/8"), ports=(22,), allow=True),), "127.0.0.1", 80),
        ((IpRule(prefix=parse_prefix("127.0.0.1/32")), *LOOPBACK), "127.0.0.1", 80),
        ((IpRule(prefix=parse_prefix("127.0.0.1/32")), *LOOPBACK), "app.internal", 80),
        ((IpRule(prefix=parse_prefix("127.0.0.1/32")), *LOOPBACK), "::ffff:127.0.0.1", 80),
        (LOOPBACK, "unknown.internal", 80),
    ],
)
async def test_what_no_rule_allows_is_refused_with_2(rules: tuple[IpRule, ...], host: str, port: int) -> None:
    client = await open_socks(rules)
    client.say(HELLO + connect_to(host, port))
    assert (await client.end())[:4] == b"\x05\x00\x05\x02"


@pytest.mark.usefixtures("each_loop")
async def test_a_refused_connection_is_5_and_a_silent_one_4() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = await open_socks(LOOPBACK)
    client.say(HELLO + connect_to("127.0.0.1", port))
    assert await client.end() == b"\x05\x00\x05\x05\x00\x01" + bytes(6)
    client = await open_socks(LOOPBACK)
    client.say(HELLO + connect_to("127.0.0.1", 0))
    assert (await client.end())[:4] == b"\x05\x00\x05\x04"


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b""),  # SOCKS4
        (b"\x05\x01\x02", b"\x05\xff"),  # only with a password
        (b"\x05\x00", b"\x05\xff"),  # no method at all
        (HELLO + b"\x04\x01\x00\x01", b"\x05\x00"),
        (HELLO + connect_to("127.0.0.1", 80, command=2), b"\x05\x00\x05\x07"),
        (HELLO + connect_to("127.0.0.1", 80, command=3), b"\x05\x00\x05\x07"),
        (HELLO + connect_to("127.0.0.1", 80, command=9), b"\x05\x00\x05\x07"),
        (HELLO + b"\x05\x01\x00\x09", b"\x05\x00\x05\x08"),
        (HELLO + connect_to("a\r\nb", 80), b"\x05\x00"),
        (HELLO + b"\x05\x01\x00\x03\x00\x00\x50", b"\x05\x00"),
    ],
)
async def test_what_a_client_may_not_ask(wire: bytes, answer: bytes) -> None:
    client = await open_socks(LOOPBACK)
    client.say(wire)
    assert (await client.end())[:4] == answer


@pytest.mark.usefixtures("each_loop")
async def test_a_client_that_ends_or_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks, "GREETING_TIMEOUT", 0.05)

    client = await open_socks(LOOPBACK)
    client.say(b"\x05")
    client.body.end()
    assert await client.end() == b""
    client = await open_socks(LOOPBACK)
    assert await client.end() == b""


@pytest.mark.usefixtures("each_loop")
async def test_socks_in_front_of_a_fixed_service_ignores_the_destination() -> None:
    async with raw_origin(banner) as server:
        body = Body(end=False)
        origin = StreamOrigin(Endpoint(host="127.0.0.1", port=server.port), OriginSettings(proxy_type="socks"))
        client = Client(await origin.serve(upgrade(), body), body)
        await asyncio.sleep(0.02)  # the service has spoken by now; the client must not hear it yet
        assert client.response.receive_nowait() is None
        client.say(HELLO + connect_to("203.0.113.9", 1))
        assert (await client.hear(12))[:6] == b"\x05\x00\x05\x00\x00\x01"
        assert await client.hear(11) == b"220 ready\r\n"
        client.say(b"x")
        assert await client.hear(1) == b"X"
        client.response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_a_service_that_floods_before_the_greeting_is_bounded() -> None:
    async def flood(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                peer.writer.write(bytes(1 << 20))
            await peer.rest()

    async with raw_origin(flood) as server:
        body = Body(end=False)
        origin = StreamOrigin(Endpoint(host="127.0.0.1", port=server.port), OriginSettings(proxy_type="socks"))
        response = await origin.serve(upgrade(), body)
        await asyncio.sleep(0.1)
        assert isinstance(response, Tunnel)
        assert response.channel is not None
        assert 0 < sum(map(len, response.channel._held or ())) <= 256 * 1024
        response.abort()
        server.peers[0].writer.transport.abort()


@pytest.mark.usefixtures("each_loop")
async def test_a_bad_greeting_in_front_of_a_fixed_service_ends_both() -> None:
    async with raw_origin(banner) as server:
        body = Body(end=False)
        origin = StreamOrigin(Endpoint(host="127.0.0.1", port=server.port), OriginSettings(proxy_type="socks"))
        client = Client(await origin.serve(upgrade(), body), body)
        client.say(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.end() == b""
        await until(lambda: not server.running)


# --- bastion -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("form", ["{}:{}", "tcp://{}:{}", "ssh://user@{}:{}/path?query", "{}:{}/path"])
async def test_a_bastion_goes_where_the_header_says(form: str) -> None:
    async with raw_origin(banner) as server:
        for host, rules in (("127.0.0.1", ()), ("app.internal", LOOPBACK)):
            body = Body(end=False)
            origin = BastionOrigin(OriginSettings(ip_rules=rules), resolver=resolver)
            jump = (b"Cf-Access-Jump-Destination", form.format(host, server.port).encode())
            client = Client(await origin.serve(upgrade(jump), body), body)
            assert await client.hear(11) == b"220 ready\r\n"
            client.response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_a_bastion_is_bounded_by_its_rules() -> None:
    rules = (IpRule(prefix=parse_prefix("10.0.0.0/8"), allow=True),)
    origin = BastionOrigin(OriginSettings(ip_rules=rules), resolver=resolver)
    for host in ("127.0.0.1", "app.internal", "[::1]"):
        with pytest.raises(OriginError, match="ipRules do not allow a connection to") as caught:
            await origin.serve(upgrade((b"cf-access-jump-destination", f"{host}:22".encode())), Body())
        assert caught.value.status == 403


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    "value", [None, b"", b" ", b"host", b"host:", b"host:0", b"host:65536", b":22", b"a:b:22", b"h:\xff"]
)
async def test_a_bastion_needs_a_destination(value: bytes | None) -> None:
    headers = [] if value is None else [(b"Cf-Access-Jump-Destination", value)]
    with pytest.raises(OriginError) as caught:
        await BastionOrigin(OriginSettings()).serve(upgrade(*headers), Body())
    assert caught.value.status == 400
    assert caught.value.reason.isprintable()


def test_destinations_are_read() -> None:
    assert parse_destination("[::1]:22") == Endpoint(host="::1", port=22)
    assert parse_destination("rdp://[::1]:3389/") == Endpoint(host="::1", port=3389)
    assert parse_destination("a.b:00022") == Endpoint(host="a.b", port=22)


def test_replies_of_socks() -> None:
    assert socks.reply(0, ("127.0.0.1", 258)) == b"\x05\x00\x00\x01\x7f\x00\x00\x01\x01\x02"
    assert socks.reply(2, ("a.b", 80)) == b"\x05\x02\x00\x03\x03a.b\x00\x50"
    assert (
        socks.reply(0, ("fe80::1%eth0", 1)) == b"\x05\x00\x00\x04" + bytes.fromhex("fe80") + bytes(13) + b"\x01\0\x01"
    )
    assert socks.reply(4) == struct.pack("!BBBBIH", 5, 4, 0, 1, 0, 0)
