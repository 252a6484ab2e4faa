"""Long flows over restarts, and a database: each part in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

from pyconnector.agent import Mesh, MeshError
from pyconnector.edge import LocalEdge
from tests.e2e.private.test_four_rooms import TOKEN, connector_to, edge_settings
from tests.support.houses.four_rooms import EDGE_FOR_AGENTS, PRIVATE, four_rooms
from tests.support.houses.namespaces import why_not
from tests.support.services.postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyconnector import Connector
    from tests.support.houses.four_rooms import Rooms

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces can be made")

Flow = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.contextmanager
def private_echo(rooms: Rooms) -> Iterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(echo, PRIVATE, 0)

    async def stop() -> None:
        server.close()

    server = rooms.private.run(start())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        rooms.private.run(stop())


async def ask(flow: Flow, data: bytes) -> bytes:
    flow[1].write(data)
    async with asyncio.timeout(20):
        return await flow[0].readexactly(len(data))


async def rest(flow: Flow) -> bytes:
    async with asyncio.timeout(20):
        try:
            return await flow[0].read()
        except OSError:
            return b""


async def until_opened(mesh: Mesh, port: int) -> Flow:
    """A flow, once whoever restarts is there again."""
    async with asyncio.timeout(60):
        while True:
            try:
                flow = await mesh.open_connection(PRIVATE, port)
                await ask(flow, b"new")
            except (MeshError, OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)
            else:
                return flow


def test_flows_over_restarts_of_connectors_and_of_the_edge(tmp_path: Path) -> None:
    with four_rooms() as rooms, private_echo(rooms) as port:
        first = edge_settings({"ca_directory": tmp_path})
        edge = LocalEdge(first)
        rooms.edge.run(edge.start())
        connectors = [rooms.site.run(connector_to(edge.quic_address, edge.ca_path, 53, 2)) for _ in range(2)]
        gateway = edge.gateway
        assert gateway is not None
        assert gateway.http_address is not None
        mesh = Mesh(f"https://{EDGE_FOR_AGENTS}:{gateway.http_address[1]}", TOKEN, ca_file=tmp_path / "ca.pem")
        long = rooms.agent.run(mesh.open_connection(PRIVATE, port))
        assert rooms.agent.run(ask(long, b"begin")) == b"begin"
        [held] = [each.flow.record for each in gateway.judge.running._all]
        carrying, other = sorted(connectors, key=lambda each: str(each.connector_id) != held.connector_id)

        # The connector that does not carry it may go; it goes on.
        rooms.site.run(stop(other))
        assert rooms.agent.run(ask(long, b"other")) == b"other"
        again = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, 53, 2))

        # The one that does lets it go on for its grace period, while new flows take the other; then it is cut off.
        draining = rooms.site.begin(carrying.drain(3.0))
        assert rooms.agent.run(ask(long, b"grace")) == b"grace"
        new = rooms.agent.run(until_opened(mesh, port))
        draining.result(30)
        rooms.site.run(carrying.stop())
        assert rooms.agent.run(rest(long)) == b""
        assert rooms.agent.run(ask(new, b"stays")) == b"stays"

        # An edge that restarts cuts off TCP, whose ends it holds; who comes anew gets through with the same `Mesh`.
        restarted = edge_settings({"ca_directory": tmp_path, "address": edge.quic_address}, http=gateway.http_address)
        rooms.edge.run(edge.stop())
        assert rooms.agent.run(rest(new)) == b""
        edge = LocalEdge(restarted)
        rooms.edge.run(edge.start())
        last = rooms.agent.run(until_opened(mesh, port), timeout=90)
        last[1].close()
        rooms.site.run(again.stop())
        rooms.edge.run(edge.stop())


async def stop(connector: Connector) -> None:
    await connector.drain(0.2)
    await connector.stop()


@pytest.mark.postgres
def test_psql_reaches_a_private_database_through_the_gateway() -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")
    with four_rooms() as rooms, contextlib.ExitStack() as stack:

        async def database() -> int:
            return stack.enter_context(running_postgres(PRIVATE, "192.168.77.0/24"))

        port = rooms.private.run(database())
        edge = LocalEdge(edge_settings())
        rooms.edge.run(edge.start())
        connector = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, 53, 2))
        gateway = edge.gateway
        assert gateway is not None
        assert gateway.http_address is not None
        mesh = Mesh(f"https://{EDGE_FOR_AGENTS}:{gateway.http_address[1]}", TOKEN, ca_file=edge.ca_path)
        said = rooms.agent.run(queried(mesh, port, psql), timeout=60)
        assert said == f"100000|{sum(range(100_001)) % 2_147_483_647}"
        rooms.site.run(connector.stop())
        rooms.edge.run(edge.stop())


async def queried(mesh: Mesh, port: int, psql: str) -> str:
    """What psql prints of a query, through a port of loopback in the agent's namespace."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await mesh.open_connection(PRIVATE, port)
        with contextlib.suppress(OSError):
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        near = server.sockets[0].getsockname()[1]
        question = (
            "SELECT count(*), sum(n)::bigint % 2147483647 FROM (SELECT generate_series(1, 100000) AS n) AS numbers"
        )
        command = [
            psql,
            "-h",
            "127.0.0.1",
            "-p",
            str(near),
            "-U",
            "pyconnector",
            "-d",
            "postgres",
            "-At",
            "-c",
            question,
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode().strip()
