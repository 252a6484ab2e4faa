"""Connections through a proxy that stalls, leaves, is none, or is spoken to over TLS; on either event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.transport import http2
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.http2.settings import Http2Settings
from pyconnector.transport.http2.socket import Http2Socket
from pyconnector.transport.proxy import dial
from pyconnector.transport.proxy.address import parse_proxy
from pyconnector.transport.proxy.handshake import handshake_for
from tests.support.houses.house import open_descriptors, tunnel
from tests.support.identity.certificates import Authority
from tests.support.peers.fake_transport import FakeTransport
from tests.support.services.forward_proxy import forward_proxy

pytestmark = pytest.mark.usefixtures("each_loop")

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.test ESMTP\r\n")
    await reader.read()
    writer.close()


async def no_edge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await reader.read(1)
    writer.close()


@pytest.mark.parametrize(
    ("behaviour", "timeout", "expected"),
    [
        (stall, 0.1, "the proxy http://127.0.0.1:{port} does not answer within 0.1 s"),
        (leave, 10, "the proxy http://127.0.0.1:{port} closed the connection before it answered"),
        (rubbish, 10, 'the proxy http://127.0.0.1:{port} does not answer as an HTTP proxy does: "220 mail.test ESMTP"'),
        (
            no_edge,
            10,
            "192.0.2.1:7844 (through the proxy http://127.0.0.1:{port}) closed the connection during the TLS handshake",
        ),
        (None, 10, "cannot reach the proxy http://127.0.0.1:{port}: "),
    ],
)
async def test_what_a_proxy_does_wrong_is_one_sentence(behaviour: Server | None, timeout: float, expected: str) -> None:
    server = await asyncio.start_server(behaviour or stall, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if behaviour is None:
        server.close()
    before = open_descriptors()
    with pytest.raises(ConnectFailed) as failed:
        await http2.connect(
            ("192.0.2.1", 7844),
            proxy=parse_proxy(f"http://u:hush@127.0.0.1:{port}"),
            settings=Http2Settings(dial_timeout=timeout),
        )
    assert failed.value.reason.startswith(expected.format(port=port))
    assert "hush" not in failed.value.reason
    async with asyncio.timeout(30):
        while open_descriptors() > before:  # of the server's side
            await asyncio.sleep(0.001)
    server.close()


async def test_a_proxy_may_be_spoken_to_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)

    edge_settings = EdgeSettings(tunnels=(tunnel(),), control=None, protocols=("http2",))
    tls = authority.server("127.0.0.1")
    async with LocalEdge(edge_settings) as edge, forward_proxy("https", tls=tls) as proxy:
        address, ca_file = edge.quic_address, str(edge.ca_path)
        with pytest.raises(ConnectFailed, match=r"no TLS with the proxy https://127\.0\.0\.1"):
            await http2.connect(address, ca_file=ca_file, proxy=parse_proxy(proxy.url))
        monkeypatch.setattr(dial, "system_roots", lambda: str(authority.path))
        connection = await http2.connect(address, ca_file=ca_file, proxy=parse_proxy(proxy.url))
        await connection.ping()
        connection.close()
        await connection.wait_closed()


async def test_nothing_is_read_between_the_proxy_and_tls() -> None:
    speaker = dial._Speaker(handshake_for(parse_proxy("http://127.0.0.1:1"), "192.0.2.1", 7844))
    transport = FakeTransport(speaker)
    speaker.connection_made(transport)
    assert transport.reading
    speaker.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    assert speaker.is_open
    assert not transport.reading


async def test_frames_and_the_end_that_come_with_the_handshake_are_kept() -> None:
    socket = Http2Socket(client=False, settings=Http2Settings())
    socket.data_received(b"no HTTP/2 at all: ")
    socket.connection_lost(None)
    socket.connection_made(FakeTransport(asyncio.Protocol()))
    assert socket.connection is not None
    assert socket.connection.statistics().bytes_received == 18
    await socket.connection.wait_closed()
