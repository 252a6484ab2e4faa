"""Edges behind a proxy: by the environment for `access`, as its reference does; by an argument for a mesh."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyconnector.agent import Mesh, MeshError
from pyconnector.agent.outgoing import proxy_of_environment
from pyconnector.connector.cli import main
from tests.agent.test_client import TOKEN, url_of
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of
from tests.support.houses.tls_house import tls_house
from tests.support.identity.agents import HOST
from tests.support.services.forward_proxy import forward_proxy


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "socks5://p:1"}, "socks5://p:1"),
        ({"ALL_PROXY": "p:1"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "example.net"}, "http://p:1"),
    ],
)
def test_the_environment_names_a_proxy_or_none(environ: dict[str, str], found: str | None) -> None:
    proxy = proxy_of_environment(environ, "app.example.com", 443)
    assert (None if proxy is None else str(proxy)) == found
    assert proxy_of_environment(environ, "127.0.0.1", 443) is None


def test_what_is_no_proxy_is_said_without_its_text() -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY names no proxy") as caught:
        proxy_of_environment({"HTTPS_PROXY": "ftp://user:hidden@p"}, "a.example", 443)
    assert "hidden" not in str(caught.value)
    with pytest.raises(MeshError, match="this is no proxy"):
        Mesh("http://localhost:1", TOKEN, proxy="x y")


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_gateway_is_reached_through_a_proxy(kind: str, tls: bool) -> None:
    async with (
        asyncio.timeout(60), gateway_house(own_certificate=tls) as house, echo_service() as port,
        forward_proxy(kind) as proxy,
    ):  # fmt: skip
        mesh = Mesh(
            url_of(house, "https" if tls else "http"), TOKEN, proxy=proxy.url,
            ca_file=house.edge.ca_path if tls else None,
        )  # fmt: skip
        end = await mesh.open_end("127.0.0.1", port)
        await end.send(b"x" * 100_000)
        received = b""
        while len(received) < 100_000:
            received += await end.receive()
        end.abort()
        reader, writer = await mesh.open_connection("127.0.0.1", port)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()
        await mesh.close()
        address = gateway_of(house).http_address
        assert address is not None
        assert proxy.asked == [f"localhost:{address[1]}"] * 2


async def test_access_commands_take_the_proxy_of_the_environment(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house, forward_proxy("http") as proxy:
        proxy.names[HOST] = ("127.0.0.1", house.port)
        world = house.world()
        world.application()
        agent = world.agent()
        clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment = clean | {
            "HTTPS_PROXY": proxy.url, "TUNNEL_SERVICE_TOKEN_ID": agent.client_id,
            "TUNNEL_SERVICE_TOKEN_SECRET": agent.secret,
        }  # fmt: skip
        start = [sys.executable, "-m", "pyconnector", "access"]
        where = f"https://{HOST}:{house.port}"
        process = await asyncio.create_subprocess_exec(
            *start, "tcp", "--hostname", where, "--cacert", str(house.ca), env=environment, stdin=-1, stdout=-1
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello")
        assert await process.stdout.readexactly(5) == b"hello"
        process.terminate()
        await process.communicate()
        assert process.returncode == 0
        process = await asyncio.create_subprocess_exec(
            *start, "token", where, "--cacert", str(house.ca), env=environment, stdout=-1
        )
        assert (await process.communicate())[0].count(b".") == 2
        assert proxy.asked == [f"{HOST}:{house.port}"] * 2


def test_a_password_of_a_proxy_is_no_argument(tmp_path: Path) -> None:
    arguments = ["mesh", "join", "https://edge.example", "--token-file", "none", "--proxy", "http://user:hidden@p:1"]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, "PYCONNECTOR_MESH_PROXY" in done.output, "hidden" in done.output) == (2, True, False)
