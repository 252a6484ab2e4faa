"""An edge that drains hands over: with a second edge beside it no request fails, and nothing is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from pyconnector import Connector, Credentials, Event, Refused
from pyconnector.edge import LocalEdge, drain
from pyconnector.edge.directory import reporter
from pyconnector.edge.drain import Drain
from pyconnector.protocol.tokens import decode_token
from tests.control.edges.test_edges import route, until
from tests.control.edges.test_many_edges import HOST, echo, joined, knows
from tests.control.support import open_mesh
from tests.control.test_quick import report
from tests.support.houses.house import config_for
from tests.support.peers.raw_visitor import RawVisitor, get

POST = f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello".encode()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come ten times as often, and are waited for ten times as short."""
    monkeypatch.setattr(reporter, "EVERY", reporter.EVERY / 10)
    monkeypatch.setattr(reporter, "TOGETHER", reporter.TOGETHER / 10)
    monkeypatch.setattr(drain, "LEARN", 0.5)


async def visit_as_balanced(addresses: list[tuple[str, int]], results: list[str], over: asyncio.Event) -> None:
    """Ask again and again on one connection, and go to the next edge where this one takes nobody."""
    while not over.is_set():
        visitor = None
        for address in addresses:
            try:
                visitor = await RawVisitor(address).__aenter__()
            except ConnectionRefusedError:
                continue
            break
        assert visitor is not None
        keeps = True
        while keeps and not over.is_set():
            for request in (get("/", HOST), POST):
                try:
                    answer = await visitor.request(request)
                except (OSError, asyncio.IncompleteReadError) as error:
                    results.append(repr(error))
                    keeps = False
                    break
                results.append(str(answer.status))
                keeps = answer.field("Connection") != "close"
                if not keeps:
                    break
            await asyncio.sleep(0.002)
        await visitor.close()


def registered(edge: LocalEdge) -> int:
    return [connection.state for connection in edge.connectors.all()].count("registered")


async def both(
    one: LocalEdge,
    two: LocalEdge,
    token: str,
    rules: list[dict[str, str]],
    engine: str,
    on_event: Callable[[Event], None] | None = None,
) -> Connector:
    parsed = decode_token(token)
    credentials = Credentials(account_tag=parsed.account_tag, tunnel_id=parsed.tunnel_id, secret=parsed.secret)
    config = replace(config_for(one, rules, engine=engine, connections=2), credentials=credentials)
    addresses = ["{}:{}".format(*edge.quic_address) for edge in (one, two)]
    connector = Connector(config.with_edge(*addresses, ca_file=str(one.ca_path)), on_event=on_event)
    await connector.start()
    return connector


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("engine", ["aioquic", "http2"])
async def test_no_request_fails_while_an_edge_drains(tmp_path: Path, engine: str) -> None:
    released, asked = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await released.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow")
        writer.close()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as echoing,
        await asyncio.start_server(slow, "127.0.0.1", 0) as slowly,
        open_mesh(tmp_path / "data") as mesh,
        joined(mesh) as one,
        joined(mesh) as two,
    ):
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        rules = [
            {"path": "^/echo", "service": "http://127.0.0.1:{}".format(*echoing.sockets[0].getsockname()[1:])},
            {"path": "^/slow", "service": "http://127.0.0.1:{}".format(*slowly.sockets[0].getsockname()[1:])},
            {"service": "http_status:201"},
        ]
        connector = await both(one, two, made["token"], rules, engine)
        await until(lambda: registered(one) == registered(two) == 1, "a connection to each")
        for edge in (one, two):
            await knows(edge, made["id"])
            await until(lambda edge=edge: edge.tunnels.for_host(HOST) is not None, "the name")  # type: ignore[misc]  # bound at once
        results: list[str] = []
        over = asyncio.Event()
        first, second = one.visitor_address, two.visitor_address
        load = [
            asyncio.create_task(visit_as_balanced(addresses, results, over))
            for addresses in ([first, second], [second, first], [first, second])
        ]
        async with RawVisitor(first) as patient:
            patient.send(get("/slow", HOST))
            await asked.wait()
            draining = asyncio.create_task(one.drain())
            await until(lambda: not one.connectors.all() or one.tunnels.is_draining, "the drain")
            edges = (await mesh.client.get(f"{mesh.plane.url}/ui")).status_code
            assert edges == 200
            # While a request is under way its connection stays, and the edge with it.
            await asyncio.sleep(0.7)
            assert not draining.done(), draining
            released.set()
            answer = await patient.response()
            assert (answer.status, answer.body, answer.field("Connection")) == (200, b"slow", "close")
            await draining
        assert {connection.state for connection in one.connectors.all()} <= {"closed"}
        await one.stop()
        count = len(results)
        await until(lambda: len(results) > count + 20, "requests behind it")
        over.set()
        await asyncio.gather(*load)
        assert set(results) == {"201", "200"}, [each for each in results if each not in ("201", "200")][:5]
        await connector.stop()


@pytest.mark.usefixtures("quick")
async def test_nobody_is_sent_to_an_edge_that_drains(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh, joined(mesh) as one, joined(mesh) as two:
        made = await mesh.tunnel("t")
        await until(lambda: one._peers is not None and one._peers.staying == 1, "the other edge")
        told: list[Event] = []
        connector = await both(one, two, made["token"], [{"service": "http_status:201"}], "http2", told.append)
        await until(lambda: registered(one) == registered(two) == 1, "a connection to each")
        await one.drain(grace=0.0)
        await until(lambda: any(isinstance(event, Refused) for event in told), "a refusal")
        async with mesh.edge() as edge:
            third = report(id=str(uuid4()), name="z", address="a:1", peer="a:2")
            peers = (await edge.post("/report", json=third)).json()["peers"]
            assert sorted(peer["draining"] for peer in peers) == [False, True]
            quick = await mesh.client.post(f"{mesh.plane.url}/tunnel", json={})
            assert quick.json()["result"]["edges"] == ["{}:{}".format(*two.quic_address), "a:1"]
            await edge.post("/report", json=third | {"leaving": True})
        await connector.stop()
        await one.stop()
        await until(lambda: two._peers is not None and not two._peers.staying, "the end of the others")
        # Without others there is nobody to hand over to, and nothing to wait for.
        await two.drain()
        assert not two.tunnels.is_draining


class Held:
    """A connection of a tunnel, as a drain sees it."""

    def __init__(self, tunnel_id: UUID, log: list[str], in_flight: int = 0) -> None:
        self.tunnel, self.state, self.in_flight = SimpleNamespace(tunnel_id=tunnel_id), "registered", in_flight
        self._log = log

    def drain(self) -> None:
        self.state = "draining"

    def close(self, _: str) -> None:
        assert not self.in_flight
        self.state = "closed"
        self._log.append("closed")


async def test_a_tunnel_keeps_half_until_it_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LEARN", 0.0)
    monkeypatch.setattr(drain, "LOOK", 0.001)

    log: list[str] = []
    held = [Held(uuid4(), log)]
    held += [Held(held[0].tunnel.tunnel_id, log) for _ in range(3)]
    moved = asyncio.Event()
    connectors: Any = SimpleNamespace(all=lambda: [each for each in held if each.state != "closed"])
    running = asyncio.create_task(Drain(connectors, (), lambda _: moved.is_set(), grace=60).run())
    while len(log) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert [each.state for each in held] == ["closed", "closed", "registered", "registered"]
    moved.set()
    await running
    assert len(log) == 4


async def test_a_drain_ends_with_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LEARN", 0.0)

    held = Held(uuid4(), [], in_flight=1)
    connectors = cast("Any", SimpleNamespace(all=lambda: [held]))
    visitors = SimpleNamespace(busy=1, drain=lambda: None)
    async with asyncio.timeout(30):
        await Drain(connectors, (visitors,), lambda _: True, grace=0.05).run()
    assert held.state == "draining"
