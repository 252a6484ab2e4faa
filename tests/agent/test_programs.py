"""The private network in programs: cancelled at any moment, many at once, on both loops, and for those that block."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from pyconnector.agent import Mesh, MeshError, local_proxy
from tests.agent.test_client import TOKEN, joined, token_file, url_of
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of
from tests.support.loop.leaks import nothing_left
from tests.support.loop.suspensions import cancel_everywhere

ROOT = Path(__file__).resolve().parent.parent.parent


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that says what it was asked."""
    try:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(line), line))
    except EOFError:
        pass
    writer.close()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_that_is_cancelled_leaves_nothing(tmp_path: Path, tls: bool) -> None:
    async with asyncio.timeout(60), joined(tmp_path, tls=tls) as (house, mesh), echo_service() as port:

        async def opened() -> None:
            _, writer = await mesh.open_connection("127.0.0.1", port)
            writer.transport.abort()

        async def nobody_is_left() -> None:
            while gateway_of(house)._clients:
                await asyncio.sleep(0.005)

        await opened()
        await nobody_is_left()
        async with nothing_left():
            assert await cancel_everywhere(opened, nobody_is_left) >= 3


@pytest.mark.usefixtures("each_loop")
async def test_many_connections_of_several_meshes_at_once(tmp_path: Path) -> None:
    async with asyncio.timeout(60), joined(tmp_path, tls=True) as (house, mesh), echo_service() as port:
        other = Mesh(url_of(house, "https"), TOKEN, ca_file=house.edge.ca_path)

        async def one(mesh: Mesh, number: int) -> None:
            reader, writer = await mesh.open_connection("127.0.0.1", port)
            data = b"%d " % number * 1000
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()

        await asyncio.gather(*(one(each, number) for each in (mesh, other) for number in range(20)))
        await other.close()


async def test_a_program_that_blocks_has_a_proxy(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        gateway_house() as house,
        await asyncio.start_server(answer, "127.0.0.1") as one,
    ):
        port = one.sockets[0].getsockname()[1]

        def blocking() -> bytes:
            with local_proxy(url_of(house), token_file=token_file(tmp_path)) as proxy:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
                with opener.open(f"http://127.0.0.1:{port}/x", timeout=20) as response:
                    return bytes(response.read())

        assert await asyncio.to_thread(blocking) == b"GET /x HTTP/1.1"
    assert not [thread for thread in threading.enumerate() if "proxy" in thread.name]


def test_a_proxy_that_cannot_be_is_said_to_the_program(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="is no gateway"), local_proxy("x", token_file=token_file(tmp_path)):
        pass
    with pytest.raises(MeshError, match="cannot be read"), local_proxy("http://localhost:1", token_file="none"):
        pass
    token = token_file(tmp_path)
    with (
        pytest.raises(MeshError, match="no network and no name"),
        local_proxy("http://localhost:1", token_file=token, include=["a b"]),
    ):
        pass
    with pytest.raises(ZeroDivisionError), local_proxy("http://localhost:1", token_file=token_file(tmp_path)):
        raise ZeroDivisionError


async def test_the_example_of_an_agent_s_tools(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        gateway_house(own_certificate=True) as house,
        await asyncio.start_server(answer, "127.0.0.1", 0) as one,
    ):
        port = one.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", str(ROOT / "examples" / "agent_tool.py"), url_of(house, "https"),
            str(token_file(tmp_path)), f"http://127.0.0.1:{port}/orders", stdout=-1,
            env=os.environ | {"GATEWAY_CA_FILE": str(house.edge.ca_path)},
        )  # fmt: skip
        lines = (await process.communicate())[0].decode().splitlines()
        assert lines[0] == f"127.0.0.1:{port} is open"
        assert lines[1].startswith("127.0.0.1:1: ")
        assert lines[2] == "GET /orders HTTP/1.1"
        assert process.returncode == 0
