"""The genuine `cloudflared access tcp` reaches a TCP service under its service token, and is refused without.

Needs PYCONNECTOR_CLOUDFLARED to name the binary. Everything is on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.support.houses.tls_house import TlsHouse, tls_house
from tests.support.identity.agents import HOST
from tests.support.peers.raw_visitor import RawVisitor
from tests.support.services.postgres import running_postgres

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
async def access_tcp(
    house: TlsHouse, home: Path, client_id: str, secret: str, *, program: Sequence[str] = (BINARY,)
) -> AsyncIterator[tuple[str, int]]:
    """`access tcp` of a program for the block; yields where it listens."""
    port = free_port()
    command = [
        *program, "access", "tcp", "--hostname", HOST, "--url", f"127.0.0.1:{port}",
        "--connect-to", f"{HOST}:{house.port}:127.0.0.1",
    ]  # fmt: skip
    # Not as arguments, which everybody on the machine can read.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    environment = clean | {
        "HOME": str(home), "TUNNEL_SERVICE_TOKEN_ID": client_id, "TUNNEL_SERVICE_TOKEN_SECRET": secret,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=home, stdout=-1, stderr=-1)
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


async def test_access_tcp_passes_with_its_token_alone(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
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


async def test_both_clients_carry_the_same_bytes(tmp_path: Path) -> None:
    async def talk(place: tuple[str, int]) -> bytes:
        async with RawVisitor(place) as visitor:
            answers = b""
            for size in (1, 125, 126, 16 * 1024 + 1, 300_000):
                visitor.send(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
                answers += await visitor.reader.readexactly(size)
            return answers

    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
        world.application()
        agent = world.agent()
        answers = []
        for program in ((BINARY,), (sys.executable, "-m", "pyconnector")):
            async with access_tcp(house, tmp_path, agent.client_id, agent.secret, program=program) as place:
                answers.append(await talk(place))
        assert answers[0] == answers[1]
        assert len(answers[0]) == 1 + 125 + 126 + 16 * 1024 + 1 + 300_000


@pytest.mark.postgres
async def test_psql_reaches_its_server_under_a_service_token_alone(tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")

    async def asked(place: tuple[str, int], query: str) -> tuple[bytes, int | None]:
        command = [psql, "-h", place[0], "-p", str(place[1]), "-U", "pyconnector", "-d", "postgres", "-Atc", query]
        process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
        out, _ = await process.communicate()
        return out, process.returncode

    async def test(server: int) -> None:
        async with asyncio.timeout(60), tls_house(tmp_path, port=server) as house:
            world = house.world()
            world.application()
            agent = world.agent()
            async with access_tcp(house, tmp_path, agent.client_id, agent.secret) as place:
                query = "SELECT sum(x) FROM generate_series(1, 100000) x"
                assert await asked(place, query) == (b"5000050000\n", 0)
                agent.delete()
                assert await asked(place, "SELECT 1") == (b"", 2)
            stranger = world.agent("stranger")
            async with access_tcp(house, tmp_path, stranger.client_id, agent.secret) as place:
                assert await asked(place, "SELECT 1") == (b"", 2)

    with running_postgres() as server:
        await test(server)
