"""`tunnel --url URL` against a mesh of one's own: a name at once, ours and the genuine connector's."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.test_mesh import mesh_up, status, until
from tests.support.services.process import pyconnector

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")


async def test_one_command_gives_a_name_that_works(tmp_path: Path) -> None:
    async with mesh_up(tmp_path / "data") as (mesh, told):
        service = told["api_url"].removesuffix("/client/v4")
        command = ("tunnel", "--quick-service", service, "--hello-world", "--metrics", "127.0.0.1:0")
        async with pyconnector(*command, HOME=str(tmp_path)) as running:
            url = urlsplit((await running.line("curl http://")).split()[1])
            assert (url.hostname or "").endswith(".mesh.test")
            assert url.port == int(told["visitors"].rpartition(":")[2])

            async def served() -> bool:
                return await status(told["visitors"], url.hostname or "") == 200

            await until(served, "an answer by that name")
            running.send_signal(signal.SIGTERM)
            assert await running.code() == 0, running.text
        mesh.send_signal(signal.SIGTERM)
        assert await mesh.code() == 0, mesh.text


async def test_a_service_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    command = ("tunnel", "--quick-service", "http://127.0.0.1:1", "--hello-world")
    async with pyconnector(*command, HOME=str(tmp_path)) as running:
        assert await running.code() == 1
        assert "error: no quick tunnel: 127.0.0.1 cannot be asked" in running.text
        assert "Traceback" not in running.text


@pytest.mark.reference
@pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared binary")
async def test_the_genuine_client_takes_our_quick_tunnels(tmp_path: Path) -> None:
    async with mesh_up(tmp_path / "data") as (_, told):
        command = [
            BINARY, "tunnel", "--no-autoupdate", "--no-prechecks", "--metrics", "127.0.0.1:0", "--hello-world",
            "--quick-service", told["api_url"].removesuffix("/client/v4"),
            "--edge", told["edge"][0], "--cacert", told["ca"],
        ]  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
        process = await asyncio.create_subprocess_exec(*command, env=clean | {"HOME": str(tmp_path)}, stderr=-1)
        try:
            assert process.stderr is not None
            name = None
            while name is None:
                name = re.search(r"https://([a-z-]+\.mesh\.test)", (await process.stderr.readline()).decode())

            async def served() -> bool:
                return await status(told["visitors"], name[1]) == 200

            reading = asyncio.create_task(process.stderr.read())
            await until(served, "an answer by that name")
        finally:
            process.kill()
            await process.wait()
        await reading
