"""The genuine connector, where one is named by PYCONNECTOR_CLOUDFLARED, gets along with the aioquic engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import uuid
from typing import TYPE_CHECKING

import pytest

from pyconnector.transport.errors import StreamReset
from pyconnector.transport.quic import half_open
from pyconnector.transport.quic.aioquic_engine.hybrid_group import HybridContext
from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE
from tests.transport.pairs.aioquic_pair import Server, credentials, serve
from tests.transport.pairs.qh3_pair import Server as AnyServer
from tests.transport.pairs.qh3_pair import serve as serve_any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ENGINES = ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no genuine cloudflared"),
]


@contextlib.asynccontextmanager
async def genuine_connector(server: Server | AnyServer, directory: Path, *options: str) -> AsyncIterator[None]:
    """Run one against `server`, with credentials that nobody issued."""
    tunnel_id = str(uuid.uuid4())
    secret = base64.b64encode(bytes(32)).decode()
    (directory / "credentials.json").write_text(
        json.dumps({"AccountTag": "0" * 32, "TunnelSecret": secret, "TunnelID": tunnel_id})
    )
    (directory / "config.yml").write_text(
        f"tunnel: {tunnel_id}\ncredentials-file: {directory}/credentials.json\nprotocol: quic\n"
        "ingress:\n- service: http_status:404\n"
    )
    process = await asyncio.create_subprocess_exec(
        BINARY,
        *("tunnel", "--config", f"{directory}/config.yml", "--edge", f"127.0.0.1:{server.listener.address[1]}"),
        *("--cacert", credentials().ca_file, "--no-autoupdate", "--ha-connections", "1", *options, "run"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize("options", [(), ("--post-quantum",)])
async def test_it_connects_registers_and_answers_streams(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with serve() as server, genuine_connector(server, tmp_path, *options):
        connection = await server.next()
        assert isinstance(connection.core.tls, HybridContext)
        assert connection.core.tls.is_hybrid
        control = await asyncio.wait_for(connection.accept_stream(), PATIENCE)
        assert control.stream_id == 0
        asked = b""
        while len(asked) <= 100:  # its first message, and what it registers with, in one packet or two
            piece = await asyncio.wait_for(control.receive(), PATIENCE)
            assert piece
            asked += piece
        # Not a ConnectRequest: it refuses with a reset (wire.md 3).
        data = await connection.open_stream()
        data.send_nowait(bytes.fromhex("0A36CD12A13E") + b"01" + b"\xff" * 16)
        with pytest.raises(StreamReset):
            await asyncio.wait_for(data.receive(), PATIENCE)
        assert connection.core.mtu.size >= 1232


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize("engine", ENGINES)
async def test_it_shows_its_address_when_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str) -> None:
    monkeypatch.setattr(half_open, "RETRY_ABOVE", 0)

    async with serve_any(QuicSettings(engine=engine)) as server:
        async with genuine_connector(server, tmp_path):
            connection = await server.next()
            control = await asyncio.wait_for(connection.accept_stream(), PATIENCE)
            assert await asyncio.wait_for(control.receive(), PATIENCE)
