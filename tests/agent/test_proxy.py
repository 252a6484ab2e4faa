"""The local proxy: programs without a secret reach private services, and everything else directly."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.agent import Mesh, carry
from pyconnector.agent.proxy import LocalProxy
from pyconnector.agent.split import Includes
from tests.agent.test_client import joined, token_file, url_of
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of
from tests.support.peers.gateway import Client

if TYPE_CHECKING:
    from tests.support.houses.private_house import PrivateHouse


@asynccontextmanager
async def proxied(
    directory: Path, includes: Includes | None = None, **more: Any
) -> AsyncIterator[tuple[PrivateHouse, LocalProxy]]:
    async with joined(directory, **more) as (house, mesh):
        proxy = LocalProxy(mesh, includes)
        await proxy.start(port=0)
        try:
            yield house, proxy
        finally:
            await proxy.close()


async def socks(proxy: LocalProxy, host: str, port: int) -> tuple[int, Client]:
    client = await Client.at(proxy.address)
    client.writer.write(b"\x05\x01\x00")
    assert await client.read(2) == b"\x05\x00"
    client.writer.write(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big"))
    return (await client.read(10))[1], client


async def http(proxy: LocalProxy, port: int) -> tuple[int, Client]:
    client = await Client.at(proxy.address)
    return await client.http_connect("127.0.0.1", port, user="", secret=""), client


async def status_of(proxy: LocalProxy, port: int) -> int:
    status, client = await http(proxy, port)
    client.close()
    return status


async def test_programs_need_no_secret(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (house, proxy), echo_service() as port:
        code, client = await socks(proxy, "127.0.0.1", port)
        assert code == 0
        status, other = await http(proxy, port)
        assert status == 200
        for each in (client, other):
            assert await each.ask(b"x" * 200_000) == b"x" * 200_000
            each.writer.write_eof()
            assert await each.rest() == b""
            each.close()
        async with asyncio.timeout(30):
            while len(gateway_of(house).records.recent) < 2:
                await asyncio.sleep(0.01)


async def test_a_plain_http_request_is_passed_on(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + head)
        writer.close()

    async with proxied(tmp_path) as (_, proxy), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await Client.at(proxy.address)
        client.writer.write(b"GET http://127.0.0.1:%d/x HTTP/1.1\r\nHost: y\r\n\r\n" % port)
        assert b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port in await client.rest()
        client.close()
        # What a web page could make a browser send to this port gets nowhere.
        page = await Client.at(proxy.address)
        page.writer.write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:40000\r\n\r\n")
        assert (await page.rest()).startswith(b"HTTP/1.1 400 ")
        page.close()


@pytest.mark.parametrize(("tls", "http2"), [(False, False), (True, False), (True, True)])
async def test_an_answer_comes_after_a_program_sent_everything(
    tmp_path: Path, tls: bool, http2: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_way = http2 or not tls  # one direction can end alone: the service learns of it at once
    monkeypatch.setattr(carry, "SILENCE_AFTER_END", 600.0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (reader.read(-1) if one_way else reader.readexactly(100_000))
        writer.write(b"y" * 300_000)
        writer.close()

    async with (
        proxied(tmp_path, tls=tls, http2=http2) as (_, proxy),
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
    ):
        _, client = await socks(proxy, "127.0.0.1", server.sockets[0].getsockname()[1])
        client.writer.write(b"x" * 100_000)
        client.writer.write_eof()
        assert await client.rest() == b"y" * 300_000
        client.close()


async def test_what_is_not_included_is_dialled_directly(tmp_path: Path) -> None:
    async with proxied(tmp_path, Includes(["10.0.0.0/8"])) as (house, proxy), echo_service() as port:
        code, client = await socks(proxy, "127.0.0.1", port)
        assert code == 0
        assert await client.ask(b"x") == b"x"
        client.close()
        assert list(gateway_of(house).records.recent) == []
        code, client = await socks(proxy, "10.9.9.9", port)
        assert code == 2
        client.close()
        assert len(gateway_of(house).records.recent) == 1


async def test_refusals_of_the_gateway_reach_the_program(tmp_path: Path) -> None:
    async with proxied(tmp_path, rules=()) as (_, proxy):
        code, client = await socks(proxy, "127.0.0.1", 80)
        assert code == 2
        client.close()
        assert await status_of(proxy, 80) == 403


async def test_the_proxy_stays_when_the_edge_goes_and_comes_back(tmp_path: Path) -> None:
    async with gateway_house() as house, echo_service() as port:
        address = gateway_of(house).http_address
        assert address is not None
        from pyconnector.agent.token_file import read_token

        proxy = LocalProxy(Mesh(url_of(house), read_token(token_file(tmp_path))))
        await proxy.start(port=0)
        assert await status_of(proxy, port) == 200
        listeners = gateway_of(house)._listeners
        listeners[0].close()
        for client in tuple(gateway_of(house)._clients):
            client.abort()
        assert await status_of(proxy, port) == 504
        await listeners[0].start(*address)
        assert await status_of(proxy, port) == 200
        await proxy.close()


async def test_it_listens_on_loopback_alone(tmp_path: Path) -> None:
    async with joined(tmp_path) as (_, mesh):
        with pytest.raises(ValueError, match="loopback only"):
            await LocalProxy(mesh).start("0.0.0.0", 0)


async def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    async with gateway_house() as house, echo_service() as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pyconnector", "mesh", "join", url_of(house), "--token-file",
            str(token_file(tmp_path)), "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        where = line.split("http://")[1].strip().rpartition(":")
        client = await Client.at((where[0], int(where[2])))
        assert await client.http_connect("127.0.0.1", port, user="", secret="") == 200
        assert await client.ask(b"x") == b"x"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        client.close()
