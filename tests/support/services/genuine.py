"""The genuine cloudflared as a connector to our edge. Needs PYCONNECTOR_CLOUDFLARED to name the binary."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.houses.house import SECRET, TUNNEL_ID

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")

#: For `pytestmark` of whatever uses this.
needs_cloudflared = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary"),
]


@asynccontextmanager
async def genuine_connector(
    edge: LocalEdge, directory: Path, *flags: str, config: Sequence[str] = (), connections: int = 1
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it for the tunnel of the tests until the block ends; it is registered when the block begins."""
    credentials = directory / "credentials.json"
    secret = base64.b64encode(SECRET).decode()
    credentials.write_text(json.dumps({"AccountTag": "tests", "TunnelID": str(TUNNEL_ID), "TunnelSecret": secret}))
    path = directory / "config.yaml"
    lines = [f"tunnel: {TUNNEL_ID}", f"credentials-file: {credentials}", "protocol: quic", "grace-period: 1s"]
    path.write_text("\n".join([*lines, *config, "ingress:", "  - service: http_status:404", ""]))
    command = [BINARY, "tunnel", "--config", str(path), "--no-autoupdate", "--metrics", "127.0.0.1:0", "--no-prechecks"]
    command += ["--edge", "{}:{}".format(*edge.quic_address), "--cacert", str(edge.ca_path)]
    command += ["--ha-connections", str(connections), "run", *flags]
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=directory)
        try:
            async with asyncio.timeout(60):
                while sum(each.state == "registered" for each in edge.connectors.all()) < connections:
                    assert process.returncode is None, (directory / "log").read_text()
                    await asyncio.sleep(0.05)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
