"""The genuine `cloudflared access tcp` reaches a TCP service under its service token, and is refused without.

Needs PYCONNECTOR_CLOUDFLARED to name the binary. Everything is on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyconnector.edge import CertificatePair, EdgeSettings, VisitorSettings
from pyconnector.transport.tls.certificates import make_authority
from tests.support.agents import HOST, World
from tests.support.house import House, open_house, tunnel
from tests.support.raw_visitor import RawVisitor

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary"),
]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def service_behind_tls(folder: Path) -> AsyncIterator[House]:
    """An edge with TLS for visitors, and a service behind it that echoes."""
    chain, key = make_authority("visitors").issue([HOST])
    pair = CertificatePair(certificate=folder / "chain.pem", key=folder / "key.pem")
    pair.certificate.write_bytes(chain)
    pair.key.write_bytes(key)
    pair.key.chmod(0o600)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = EdgeSettings(
        tunnels=(tunnel(),), visitors=VisitorSettings(tls_address=("127.0.0.1", 0), certificates=(pair,))
    )
    rules = [{"hostname": HOST, "service": f"tcp://127.0.0.1:{port}"}, {"service": "http_status:404"}]
    async with server, open_house(rules, settings=settings) as house:
        yield house


@contextlib.asynccontextmanager
async def access_tcp(house: House, home: Path, client_id: str, secret: str) -> AsyncIterator[tuple[str, int]]:
    """`cloudflared access tcp` for the block; yields where it listens."""
    address = house.edge.visitor_tls_address
    assert address is not None
    port = free_port()
    command = [
        "access", "tcp", "--hostname", HOST, "--url", f"127.0.0.1:{port}",
        "--connect-to", f"{HOST}:{address[1]}:127.0.0.1",
    ]  # fmt: skip
    # Not as arguments, which everybody on the machine can read.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    environment = clean | {
        "HOME": str(home), "TUNNEL_SERVICE_TOKEN_ID": client_id, "TUNNEL_SERVICE_TOKEN_SECRET": secret,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(BINARY, *command, env=environment, cwd=home, stdout=-1, stderr=-1)
    try:
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        await process.communicate()


async def rest(visitor: RawVisitor) -> bytes:
    """What comes until the end, however that comes."""
    try:
        return await visitor.reader.read()
    except ConnectionError:
        return b""


def test_access_tcp_passes_with_its_token_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with asyncio.timeout(60), service_behind_tls(tmp_path) as house:
            world = World(house.edge.gate.state)
            world.application()
            agent = world.agent()
            async with access_tcp(house, tmp_path, agent.client_id, agent.secret) as place:
                async with RawVisitor(place) as visitor:
                    visitor.send(b"hello")
                    assert await visitor.reader.readexactly(5) == b"hello"
                    agent.delete()
                    assert await rest(visitor) == b""
                async with RawVisitor(place) as visitor:
                    visitor.send(b"hello")
                    assert await rest(visitor) == b""

    asyncio.run(test())
