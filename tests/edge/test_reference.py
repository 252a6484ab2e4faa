"""The genuine cloudflared against our edge: it registers over QUIC or HTTP/2 and serves HTTP, WebSocket and TCP.

Needs PYCONNECTOR_CLOUDFLARED to name the binary. Everything is on loopback; its failing look-ups of names do no harm.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings
from pyconnector.edge.connectors.configuration import push_to_tunnel
from pyconnector.protocol.rpc.registration import Refusal
from tests.edge.support import until
from tests.support.peers.h2_visitor import h2_visitor
from tests.support.peers.raw_visitor import RawVisitor, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

    Process = asyncio.subprocess.Process

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary"),
]

TUNNEL = TunnelSettings(
    account_tag="0123456789abcdef0123456789abcdef", tunnel_id=UUID(int=0x1234), secret=bytes(range(32))
)


async def http_origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own head and body, in chunks, and a trailer."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Origin: yes\r\nTrailer: X-Sum\r\n\r\n")
        for piece in (head, body):
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        writer.write(b"0\r\nX-Sum: 42\r\n\r\n")
        await writer.drain()
    writer.close()


async def echo_origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_messages(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def origins() -> AsyncIterator[dict[str, int]]:
    http = await asyncio.start_server(http_origin, "127.0.0.1", 0)
    echo = await asyncio.start_server(echo_origin, "127.0.0.1", 0)
    async with http, echo, serve(echo_messages, "127.0.0.1", 0, max_size=None) as messages:
        yield {
            "http": http.sockets[0].getsockname()[1],
            "tcp": echo.sockets[0].getsockname()[1],
            "ws": next(iter(messages.sockets)).getsockname()[1],
        }


@asynccontextmanager
async def cloudflared(
    edge: LocalEdge, directory: Path, ports: dict[str, int], protocol: str = "quic"
) -> AsyncIterator[asyncio.subprocess.Process]:
    credentials = directory / "credentials.json"
    secret = base64.b64encode(TUNNEL.secret).decode()
    credentials.write_text(
        json.dumps({"AccountTag": TUNNEL.account_tag, "TunnelID": str(TUNNEL.tunnel_id), "TunnelSecret": secret})
    )
    config = directory / "config.yaml"
    config.write_text(
        f"tunnel: {TUNNEL.tunnel_id}\ncredentials-file: {credentials}\nprotocol: {protocol}\n"
        "grace-period: 1s\ningress:\n"
        f"  - hostname: app.test\n    service: http://127.0.0.1:{ports['http']}\n"
        f"  - hostname: ws.test\n    service: ws://127.0.0.1:{ports['ws']}\n"
        f"  - hostname: db.test\n    service: tcp://127.0.0.1:{ports['tcp']}\n"
        "  - service: http_status:404\n"
    )
    command = [
        BINARY,
        "tunnel",
        "--config",
        str(config),
        "--no-autoupdate",
        "--metrics",
        "127.0.0.1:0",
        "--no-prechecks",
    ]
    command += ["--edge", "{}:{}".format(*edge.quic_address), "--cacert", str(edge.ca_path), "--ha-connections", "1"]
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "run", stdout=log, stderr=log, cwd=directory)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize("protocol", ["quic", "http2"])
async def test_http_websocket_and_tcp_through_its_own_config(tmp_path: Path, protocol: str) -> None:
    async with (
        LocalEdge(EdgeSettings(tunnels=(TUNNEL,), control=None)) as edge,
        origins() as ports,
        cloudflared(edge, tmp_path, ports, protocol) as process,
    ):
        tunnel = edge.tunnels.get(TUNNEL.tunnel_id)
        assert tunnel is not None
        await until(lambda: tunnel.local_configuration is not None, "its configuration", seconds=15)
        assert tunnel.learned_hostnames == ("app.test", "ws.test", "db.test")
        (connection,) = edge.connectors.all()
        assert connection.describe()["protocol"] == protocol
        await _http(edge)
        await _trailers(edge, [(b"x-sum", b"42")] if protocol == "http2" else None)
        await _websocket(edge)
        await _tcp(edge, ports)
        await _configuration(edge)
        process.terminate()
        assert await process.wait() == 0
        assert edge.connectors.all() == [] or edge.connectors.all()[0].state in ("draining", "closed")


async def _http(edge: LocalEdge) -> None:
    async with RawVisitor(edge.visitor_address) as visitor:
        response = await visitor.request(get("/a%20b?c=%2F", "app.test", "X-A: 1", "Cf-Connecting-Ip: 6.6.6.6"))
        assert (response.status, response.field("X-Origin")) == (200, "yes")
        assert response.body.startswith(b"GET /a%20b?c=%2F HTTP/1.1\r\nHost: app.test\r\n")
        assert b"Cf-Connecting-Ip: 127.0.0.1\r\n" in response.body
        assert b"6.6.6.6" not in response.body
        data = os.urandom(3_000_000)
        head = b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: %d\r\n\r\n" % len(data)
        assert (await visitor.request(head + data)).body.endswith(data)
        assert (await visitor.request(get("/", "other.test"))).status == 404


async def _trailers(edge: LocalEdge, expected: list[tuple[bytes, bytes]] | None) -> None:
    """HTTP/2 carries them; over QUIC they are offered to the reference in vain."""
    async with RawVisitor(edge.visitor_address) as visitor:
        visitor.send(get("/", "app.test", "TE: trailers"))
        last = b"X-Sum: 42\r\n\r\n" if expected else b"\r\n0\r\n\r\n"
        response = await visitor.reader.readuntil(last)
        assert b"GET / HTTP/1.1\r\nHost: app.test\r\n" in response
        assert b"pyconnector" not in response.lower()
    async with await h2_visitor(edge.visitor_address) as visitor2:
        fields = [(b"te", b"trailers"), (b"content-length", b"11")]
        answer = await visitor2.ask(*fields, method=b"POST", body=b"over HTTP/2")
        assert (answer.status, answer.trailers) == (200, expected)
        assert answer.body.startswith(b"POST / HTTP/1.1\r\nHost: app.test\r\n")
        assert answer.body.endswith(b"over HTTP/2")
        assert b"pyconnector" not in answer.body.lower()


async def _websocket(edge: LocalEdge) -> None:
    host, port = edge.visitor_address
    async with connect("ws://ws.test/", host=host, port=port, max_size=None) as client:
        for message in ("text", b"", os.urandom(100_000)):
            await client.send(message)
            assert await client.recv() == message


async def _tcp(edge: LocalEdge, ports: dict[str, int]) -> None:
    for destination in ("db.test", f"127.0.0.1:{ports['tcp']}"):
        port = await edge.add_tcp_port(destination)
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            data = os.urandom(2_000_000)
            visitor.send(data)
            assert await visitor.reader.readexactly(len(data)) == data


async def _configuration(edge: LocalEdge) -> None:
    tunnel = edge.tunnels.get(TUNNEL.tunnel_id)
    assert tunnel is not None
    (answer,) = await push_to_tunnel(edge.tunnels, tunnel, b'{"ingress": [{"service": "nonsense"}]}')
    assert answer.answered
    assert answer.error
    (answer,) = await push_to_tunnel(edge.tunnels, tunnel, b'{"ingress": [{"service": "http_status:418"}]}')
    assert (answer.error, answer.applied_version) == ("", 0)
    async with RawVisitor(edge.visitor_address) as visitor:
        assert (await visitor.request(get("/", "app.test"))).status == 418


async def test_a_refused_registration_is_tried_again(tmp_path: Path) -> None:
    async with (
        LocalEdge(EdgeSettings(tunnels=(TUNNEL,), control=None)) as edge,
        origins() as ports,
    ):
        edge.refusals.add(Refusal(cause="try again", retry_after=0.1, should_retry=True))
        async with cloudflared(edge, tmp_path, ports):
            tunnel = edge.tunnels.get(TUNNEL.tunnel_id)
            assert tunnel is not None
            await until(lambda: bool(tunnel.members), "the second registration", seconds=15)
            assert len(edge.refusals) == 0
