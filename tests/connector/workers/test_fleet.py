"""`pyconnector run --workers N`: several processes that are one connector, over real QUIC."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.connectors.configuration import push_to_tunnel
from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
from pyconnector.identity.management_token import HOSTNAME
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FrameDecoder, Piece
from tests.support.houses.house import SECRET_TEXT, TUNNEL_ID, tunnel
from tests.support.identity.management import management_token
from tests.support.peers.load import under_load
from tests.support.peers.raw_origin import Peer, RawOrigin, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import Process, pyconnector

if TYPE_CHECKING:
    from pyconnector.edge.connectors.connection import EdgeConnection

OLD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold"
WITH_TOKEN = f"access_token={management_token(str(TUNNEL_ID))}"
NEW = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew"


def rules(port: int) -> str:
    return f"ingress:\n  - service: http://127.0.0.1:{port}\n"


@dataclass
class Running:
    """A connector of two workers with two connections each, and what it serves."""

    process: Process
    edge: LocalEdge
    folder: Path
    origin: RawOrigin

    def connections(self) -> dict[int, uuid.UUID]:
        """Connector id by index of the registered connections."""
        registered = [each.registration for each in self.edge.connectors.all() if each.state == "registered"]
        return {registration.connection_index: registration.client_id for registration in registered}

    def registrations(self) -> int:
        return sum("Registered tunnel connection" in line for line in self.process.lines)

    async def all_connected(self) -> None:
        await until(lambda: sorted(self.connections()) == [0, 1, 2, 3])

    def write(self, port: int) -> None:
        (self.folder / "config.yml").write_text(f"credentials-file: {self.folder}/credentials.json\n{rules(port)}")

    def member(self, index: int) -> EdgeConnection:
        """The edge's end of connection `index`."""
        return next(each for each in self.edge.connectors.all() if each.registration.connection_index == index)

    async def page(self, path: str) -> bytes:
        address = (await self.process.line("Starting metrics server on")).split()[-1].removesuffix("/metrics")
        host, port = address.rsplit(":", 1)
        async with RawVisitor((host, int(port))) as visitor:
            return (await visitor.request(get(path, host="localhost"))).body

    async def all_ready(self) -> dict[str, str]:
        """Wait until the page says that all are connected, and return what it says."""
        async with asyncio.timeout(30):
            while (found := json.loads(await self.page("/ready")))["readyConnections"] != 4:
                await asyncio.sleep(0.05)
        return dict(found)

    async def metric(self, name: str) -> float:
        lines = (await self.page("/metrics")).decode().splitlines()
        found = [line for line in lines if line.split(" ")[0] == name]
        assert len(found) == 1, f"{name} in {lines}"
        return float(found[0].split(" ")[1])

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(folder: Path, answer: Callable[[Peer], Awaitable[None]], *more: object) -> AsyncIterator[Running]:
    value = {"AccountTag": "tests", "TunnelSecret": SECRET_TEXT, "TunnelID": str(TUNNEL_ID)}
    (folder / "credentials.json").write_text(json.dumps(value))
    (folder / "credentials.json").chmod(0o600)
    async with raw_origin(answer) as origin, LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
        (folder / "config.yml").write_text(f"credentials-file: {folder}/credentials.json\n{rules(origin.port)}")
        flags = "--edge", "{}:{}".format(*edge.quic_address), "--cacert", edge.ca_path, "--metrics", "127.0.0.1:0"
        async with pyconnector("run", folder / "config.yml", *flags, "--workers", 2, *more) as process:
            connector = Running(process, edge, folder, origin)
            await connector.all_connected()
            yield connector
        assert "Traceback" not in process.text, process.text


async def read_log(connector: Running, index: int) -> tuple[Exchange, FrameDecoder]:
    """Read the log of the connector through its connection `index`, as `tail` does."""
    head = RequestHead("GET", HOSTNAME, f"/logs?{WITH_TOKEN}", [(b"Sec-Websocket-Key", b"a")], 0)
    exchange = await connector.member(index).open(
        TunnelRequest(kind=ConnectionType.WEBSOCKET, head=head), body=b"", finish=False
    )
    assert (await exchange.response()).status == 101
    wanted = b'{"type":"start_streaming","filters":{"events":["http"]}}'
    await exchange.stream.send(frames.masked_frame(frames.TEXT, wanted, b"abcd"))
    return exchange, FrameDecoder(masked=False)


async def lines_of(connector: Running) -> AsyncIterator[dict[str, Any]]:
    exchange, decoder = await read_log(connector, 1)
    while True:
        for item in decoder.feed(await exchange.body.receive(65_536)):
            if isinstance(item, Piece):
                yield json.loads(item.payload)["logs"][0]


async def visits(connector: Running) -> None:
    async with RawVisitor(connector.edge.visitor_address) as visitor:
        while True:
            await visitor.request(get())


async def figures_of(connector: Running) -> str:
    head = RequestHead("GET", HOSTNAME, f"/metrics?{WITH_TOKEN}", [], 0)
    request = TunnelRequest(kind=ConnectionType.HTTP, head=head)
    asked = await connector.member(0).open(request, body=b"", finish=True)
    assert (await asked.response()).status == 200
    text = asked.leftover
    while piece := await asked.body.receive(65_536):
        text += piece
    return text.decode()


async def test_workers_are_one_connector_with_one_page_and_one_log(tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    async with running(tmp_path, answering(OLD), "--access-log", access) as connector:
        assert len(set(connector.connections().values())) == 1
        ready = await connector.all_ready()
        assert uuid.UUID(ready["connectorId"]) in connector.connections().values()
        async with RawVisitor(connector.edge.visitor_address) as visitor:
            for _ in range(40):
                assert (await visitor.request(get())).body == b"old"
        assert await connector.metric("cloudflared_tunnel_total_requests") == 40
        assert await connector.metric("cloudflared_tunnel_ha_connections") == 4
        assert await connector.metric("pyconnector_workers") == 2
        assert json.loads(await connector.page("/config"))["version"] == -1
        assert len(json.loads(await connector.page("/diag/tunnel"))["connections"]) == 4
        await until(lambda: connector.registrations() == 4)
        registered = [line for line in connector.process.lines if "Registered tunnel connection" in line]
        assert sorted(line.split("connIndex=")[1][0] for line in registered) == ["0", "1", "2", "3"]
        lines = access.read_text().splitlines()
        assert len(lines) == 40
        assert {line.split("connIndex=")[1][0] for line in lines} == {"0", "1", "2", "3"}
        # Whichever worker a reader from afar comes to, log and figures are those of all.
        assert "cloudflared_tunnel_total_requests 41\n" in await figures_of(connector)
        seen: set[int] = set()
        lines_from_afar = lines_of(connector)
        asking = asyncio.ensure_future(visits(connector))
        async with asyncio.timeout(30):
            while len(seen) < 2:
                line = await anext(lines_from_afar)
                if line["message"] == "GET /":
                    seen.add(line["fields"]["worker"])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        # Nobody waits for who reads the log: it would be for the whole grace period.
        connector.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await connector.process.code() == 0


async def test_a_worker_that_dies_is_restarted_and_its_counts_stay(tmp_path: Path) -> None:
    async with running(tmp_path, answering(OLD)) as connector:
        async with RawVisitor(connector.edge.visitor_address) as visitor:
            for _ in range(20):
                await visitor.request(get())
        assert await connector.metric("cloudflared_tunnel_total_requests") == 20
        victim = connector.workers()[0]
        os.kill(victim, signal.SIGKILL)
        await connector.process.line("A worker ended: signal SIGKILL")
        assert json.loads(await connector.page("/ready"))["readyConnections"] >= 2
        await until(lambda: victim not in connector.workers() and len(connector.workers()) == 2)
        await connector.all_ready()
        assert await connector.metric("cloudflared_tunnel_total_requests") == 20
        assert await connector.metric("pyconnector_worker_restarts") == 1
        assert len(set(connector.connections().values())) == 1


async def test_sighup_reloads_every_worker_without_losing_a_request(tmp_path: Path) -> None:
    async with raw_origin(answering(NEW)) as new, running(tmp_path, answering(OLD)) as connector:
        async with under_load(connector.edge.visitor_address) as load:
            connector.write(new.port)
            connector.process.send_signal(signal.SIGHUP)
            await connector.process.line("The new rules are in force")
            await load.until(40)
        async with RawVisitor(connector.edge.visitor_address) as visitor:
            for _ in range(8):
                assert (await visitor.request(get())).body == b"new"
        assert set(load.answers) == {(200, b"old"), (200, b"new")}
        assert "takes effect after a restart" not in connector.process.text
        (connector.folder / "config.yml").write_text("nonsense: true\n")
        connector.process.send_signal(signal.SIGHUP)
        await connector.process.line("The new configuration is not used")


@pytest.mark.parametrize("whole_group", [False, True])
async def test_sigterm_lets_requests_of_every_worker_end(tmp_path: Path, whole_group: bool) -> None:
    """Whether the main process alone is told, as by a person, or every process, as by a service manager."""

    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await go_on.wait()
        await peer.send(b"-last")

    async with running(tmp_path, slow) as connector, contextlib.AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(RawVisitor(connector.edge.visitor_address)) for _ in range(4)]
        for visitor in visitors:
            visitor.send(get())
        for visitor in visitors:
            assert (await visitor.head()).status == 200
        workers = connector.workers()
        connector.process.send_signal(signal.SIGTERM)
        if whole_group:
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
        await until(lambda: not connector.connections())
        go_on.set()
        for visitor in visitors:
            assert await visitor.reader.readexactly(10) == b"first-last"
        assert await connector.process.code() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


async def test_workers_drain_and_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, answering(OLD)) as connector:
        workers = connector.workers()
        connector.process.send_signal(signal.SIGKILL)
        await connector.process.code()
        await until(lambda: not connector.connections())
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


async def test_a_pushed_configuration_is_in_force_in_every_worker_before_the_edge_is_answered(tmp_path: Path) -> None:
    async with raw_origin(answering(NEW)) as new, running(tmp_path, answering(OLD)) as connector:
        pushed = {"ingress": [{"service": f"http://127.0.0.1:{new.port}"}]}
        known = connector.edge.tunnels.get(TUNNEL_ID)
        assert known is not None
        answers = await push_to_tunnel(connector.edge.tunnels, known, json.dumps(pushed).encode())
        assert [answer.error for answer in answers] == [""]
        async with RawVisitor(connector.edge.visitor_address) as visitor:
            for _ in range(8):
                assert (await visitor.request(get())).body == b"new"
        known.configuration = None  # the edge tells nobody again
        os.kill(connector.workers()[0], signal.SIGKILL)
        await connector.process.line("A worker ended")
        await until(lambda: connector.registrations() == 6)
        async with RawVisitor(connector.edge.visitor_address) as visitor:
            for _ in range(8):
                assert (await visitor.request(get())).body == b"new", "a restarted worker has it too"


async def test_a_start_that_fails_in_the_workers_is_one_sentence(tmp_path: Path) -> None:
    async with pyconnector("run", "--token", "x", "--workers", "nonsense") as process:
        assert await process.code() == 2
        assert "--workers expects a whole number or auto" in process.text
