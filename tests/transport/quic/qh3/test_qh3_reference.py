"""The genuine cloudflared, whose connection ID is empty, completes its handshake with the qh3 engine's listener."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import uuid

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.settings import QuicSettings
from tests.transport.conformance import PATIENCE
from tests.transport.pairs.aioquic_pair import credentials
from tests.transport.pairs.qh3_pair import serve

CLOUDFLARED = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")


@pytest.mark.reference
@pytest.mark.skipif(not CLOUDFLARED, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared")
async def test_cloudflared_opens_its_control_stream() -> None:
    token = {"a": "account", "t": str(uuid.uuid4()), "s": base64.b64encode(bytes(32)).decode()}

    async with serve(QuicSettings(engine="qh3")) as server:
        edge = f"127.0.0.1:{server.listener.address[1]}"
        arguments = ["tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "--protocol", "quic", "--edge", edge]
        arguments += ["--ha-connections", "1", "--cacert", credentials().ca_file, "run", "--token"]
        process = await asyncio.create_subprocess_exec(
            CLOUDFLARED,
            *arguments,
            base64.b64encode(json.dumps(token).encode()).decode(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            connection = await server.next()
            stream = await asyncio.wait_for(connection.accept_stream(), PATIENCE)
            assert stream.stream_id == 0
            # One segment of Cap'n Proto: the Bootstrap message of registration (wire.md 5.1).
            assert (await asyncio.wait_for(stream.receive(), PATIENCE))[:4] == bytes(4)
        finally:
            process.kill()
            await process.wait()
