"""Several edges of one control plane: each serves every name, in one hop, and one that dies is out of the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import websockets

from pyconnector import Connector, Credentials
from pyconnector.edge import JoinSettings, LocalEdge, SettingsError
from pyconnector.edge.directory.values import DirectoryError, PeerEntry, parse_peers
from pyconnector.edge.local_edge import advertised
from pyconnector.protocol.tokens import decode_token
from tests.control.edges.test_edges import connected, eventually, following, route, until, visit
from tests.control.support import Mesh, open_mesh
from tests.support.houses.house import config_for
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import Process, pyconnector

HOST = "app.example.com"


@contextlib.asynccontextmanager
async def joined(mesh: Mesh, cache: Path | None = None) -> AsyncIterator[LocalEdge]:
    settings = following(mesh, cache)
    assert settings.directory is not None
    async with LocalEdge(replace(settings, directory=replace(settings.directory, join=JoinSettings()))) as edge:
        yield edge


@contextlib.asynccontextmanager
async def serving(edge: LocalEdge, token: str, rules: list[dict[str, str]]) -> AsyncIterator[None]:
    parsed = decode_token(token)
    credentials = Credentials(account_tag=parsed.account_tag, tunnel_id=parsed.tunnel_id, secret=parsed.secret)
    async with Connector(replace(config_for(edge, rules), credentials=credentials)) as connector:
        async with asyncio.timeout(20):
            await connector.wait_ready()
        yield


async def knows(edge: LocalEdge, tunnel_id: str) -> None:
    """Wait until an edge knows another one that holds the tunnel."""
    elsewhere = edge.tunnels.elsewhere
    assert elsewhere is not None
    await until(lambda: bool(elsewhere(UUID(tunnel_id))), "another edge for the tunnel")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    body = await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (length, body))
    await writer.drain()
    writer.close()


async def test_any_edge_serves_any_name(tmp_path: Path, database: str) -> None:
    origin = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = origin.sockets[0].getsockname()[1]
    rules = [
        {"path": "^/ws", "service": "hello_world"},
        {"path": "^/echo", "service": f"http://127.0.0.1:{port}"},
        {"path": "^/down", "service": "http://127.0.0.1:1"},
        {"service": "http_status:201"},
    ]
    async with (
        origin, open_mesh(tmp_path / "data", database) as mesh,
        joined(mesh) as one, joined(mesh) as two, joined(mesh) as three,
    ):  # fmt: skip
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        async with serving(one, made["token"], rules):
            for edge in (two, three):
                await knows(edge, made["id"])
                assert await visit(edge, HOST) == 201
                body = bytes(range(256)) * 2000
                async with RawVisitor(edge.visitor_address) as visitor:
                    head = f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
                    answer = await visitor.request(head.encode() + body)
                    assert (answer.status, answer.body == body) == (200, True)
                async with RawVisitor(edge.visitor_address) as visitor:
                    answer = await visitor.request(get("/down", HOST))
                    assert (answer.status, b"127.0.0.1:1" in answer.body) == (502, True)
                host, where = edge.visitor_address
                async with websockets.connect(f"ws://{HOST}/ws", host=host, port=where, proxy=None) as socket:
                    await socket.send("over two edges")
                    assert "over two edges" in str(await socket.recv())
            # Nothing goes on anywhere, so nothing is counted: neither there nor here.
            (member,) = two.tunnels.elsewhere(UUID(made["id"])) if two.tunnels.elsewhere else ()
            await until(lambda: member.in_flight == 0, "the end of what this edge sent")
            tunnel = one.tunnels.get(UUID(made["id"]))
            assert tunnel is not None
            await until(lambda: all(each.in_flight == 0 for each in tunnel.members), "the end at the other")
        await eventually(lambda: visit(two, HOST), 530)


async def test_a_request_makes_one_hop_and_no_more(tmp_path: Path) -> None:
    async with (
        open_mesh(tmp_path / "data") as mesh,
        joined(mesh) as one,
        joined(mesh) as two,
        joined(mesh) as three,
    ):
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        async with connected(one, made["token"], 201):
            await knows(three, made["id"])
            assert three.peer_address is not None
            assert two.follower is not None
            entry = PeerEntry(id="mistaken", address="{}:{}".format(*three.peer_address), tunnels=(UUID(made["id"]),))
            peers = two.follower._reporter.on_peers
            assert peers is not None
            two.follower.tell_peers(lambda _: None)
            peers((entry,))
            # The third could ask the first, and does not: it was asked by an edge.
            assert await visit(two, HOST) == 530
            assert await visit(three, HOST) == 201


async def test_nobody_but_an_edge_is_let_in(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh, joined(mesh) as edge:
        context = ssl.create_default_context(cadata=edge.ca_pem.decode())
        assert edge.peer_address is not None
        try:
            reader, writer = await asyncio.open_connection(
                *edge.peer_address, ssl=context, server_hostname="h2.cftunnel.com"
            )
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            answer = await reader.read(1)
        except (ssl.SSLError, ConnectionError):
            answer = b""
        assert not answer


async def test_an_edge_joins_again_while_the_control_plane_is_away(tmp_path: Path) -> None:
    cache = tmp_path / "snapshot.json"
    async with open_mesh(tmp_path / "data") as mesh:
        async with joined(mesh, cache) as edge:
            first = edge.ca_pem
    async with joined(mesh, cache) as again:
        assert again.ca_pem == first
    kept = cache.with_name("snapshot.json.identity")
    assert kept.stat().st_mode & 0o077 == 0
    kept.unlink()
    with pytest.raises(SettingsError, match="cannot join the mesh"):
        async with joined(mesh, cache):
            pass


def test_what_others_dial_can_be_given() -> None:
    assert advertised(JoinSettings(), ("127.0.0.1", 7)) == "127.0.0.1:7"
    assert advertised(JoinSettings(advertise="edge.example"), ("0.0.0.0", 7)) == "edge.example:7"
    assert not advertised(JoinSettings(), ("0.0.0.0", 7)).startswith("0.0.0.0")


@pytest.mark.parametrize("peers", [5, [5], [{"id": 1}], [{"id": "a", "address": "b", "tunnels": ["c"]}]])
def test_a_list_of_edges_that_is_none_is_refused(peers: object) -> None:
    with pytest.raises(DirectoryError):
        parse_peers({"peers": peers})


@contextlib.asynccontextmanager
async def edge_process(control: str, token_file: Path) -> AsyncIterator[tuple[Process, str, str, str]]:
    """An edge of its own: the process, where connectors and visitors go, and the authority."""
    options = ("--listen", "127.0.0.1:0", "--visitors", "127.0.0.1:0", "--control-token-file", token_file, "--join")
    async with pyconnector("edge", "--control", control, *options) as process:
        words = (await process.line("connectors:")).split()
        visitors = (await process.line("visitors:")).split("http://")[1].rstrip("/")
        yield process, words[2], words[4], visitors


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_edge_that_ends_under_load_is_out_of_the_way(
    tmp_path: Path, database: str, how: signal.Signals
) -> None:
    async def ask(visitors: str) -> int:
        host, _, port = visitors.rpartition(":")
        try:
            async with asyncio.timeout(10), RawVisitor((host, int(port))) as visitor:
                return (await visitor.request(get("/", HOST))).status
        except (TimeoutError, OSError, EOFError):
            return 0

    data = tmp_path / "data"
    control = ("control", "--json", "--data-dir", data, "--zone", "example.com", "--api", "127.0.0.1:0")
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(pyconnector(*control, PYCONNECTOR_DATABASE=database))
        told = json.loads(await plane.line('{"api_url"'))
        url, token_file = told["api_url"].removesuffix("/client/v4"), data / "edge-token"
        edges = [await stack.enter_async_context(edge_process(url, token_file)) for _ in range(3)]
        token = await _made(told)
        for _, connectors, ca, _ in edges[:2]:
            command = ("run", "--edge", connectors, "--cacert", ca, "--ha-connections", "1")
            more = ("--url", "http://127.0.0.1:1", "--hello-world", "--metrics", "127.0.0.1:0")
            running = await stack.enter_async_context(
                pyconnector(*command, *more[2:], TUNNEL_TOKEN=token, HOME=str(tmp_path))
            )
            await running.line("Registered tunnel connection")
        visitors = edges[2][3]
        await eventually(lambda: ask(visitors), 200)
        results: list[tuple[float, int]] = []
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                begun = loop.time()
                results.append((begun, await ask(visitors)))
                await asyncio.sleep(0.005)

        tasks = [asyncio.create_task(load()) for _ in range(4)]
        await asyncio.sleep(1.5)  # so that both edges are known, and both are used
        ended = loop.time()
        edges[0][0].send_signal(how)
        await asyncio.sleep(7)
        over.set()
        await asyncio.gather(*tasks)
        late = [status for begun, status in results if begun >= ended + 5]
        assert len(late) > 20
        assert set(late) == {200}
        failed = [status for begun, status in results if status != 200]
        # Those under way on the edge that is killed fail, and no more than one a task with what came at once.
        assert len(failed) <= 8, failed


async def _made(told: dict[str, str]) -> str:
    import httpx

    headers = {"Authorization": f"Bearer {told['api_token']}"}
    async with httpx.AsyncClient(base_url=told["api_url"], headers=headers) as client:
        made = (await client.post(f"/accounts/{told['account_id']}/cfd_tunnel", json={"name": "t"})).json()["result"]
        body = {"type": "dns", "user_hostname": HOST}
        assert (await client.put(f"/zones/{told['zone_id']}/tunnels/{made['id']}/routes", json=body)).status_code == 200
    return str(made["token"])
