"""Access over real sockets: HTTP/1.1, HTTP/2, WebSockets and TCP ports, through a real connector to a real service."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pyconnector.edge import LocalEdge
from tests.support.houses.house import House, open_house
from tests.support.identity.agents import HOST, Agent, World, telling_origin
from tests.support.peers.h2_visitor import h2_visitor
from tests.support.peers.raw_visitor import RawVisitor, get

Fields = list[tuple[bytes, bytes]]


@contextlib.asynccontextmanager
async def guarded() -> AsyncIterator[tuple[House, World, str]]:
    async with telling_origin() as origin:
        rules = [{"hostname": HOST, "service": origin}, {"service": origin}]
        async with open_house(rules) as house:
            world = World(house.edge.gate.state)
            world.application()
            yield house, world, origin


def lower(headers: Fields) -> Fields:
    return [(name.lower(), value) for name, value in headers]


async def test_http1_is_refused_or_let_through_on_one_connection() -> None:
    async with guarded() as (house, world, _), RawVisitor(house.edge.visitor_address) as visitor:
        agent = world.agent(role="reader")
        refused = await visitor.request(get("/x", HOST))
        assert refused.status == 401
        assert json.loads(refused.body)["reason"] == "no_credentials"
        assert refused.field("Cf-Ray")
        lines = [f"{name}: {value}" for name, value in agent.text_headers.items()]
        passed = await visitor.request(get("/x", HOST, *lines))
        assert passed.status == 200
        told = {name.lower(): value for name, value in json.loads(passed.body)["headers"]}
        assert told["cf-access-jwt-assertion"].count(".") == 2
        assert "cf-access-client-secret" not in told
        assert agent.secret not in passed.body.decode()
        head = await visitor.request(get("/x", HOST).replace(b"GET", b"HEAD"), head_only=True)
        assert head.status == 401
        open_place = await visitor.request(get("/", "open.test", "Cf-Access-Jwt-Assertion: spoofed"))
        assert b"spoofed" not in open_place.body


async def test_a_refused_upload_is_not_read_as_the_next_request() -> None:
    async with guarded() as (house, _, _), RawVisitor(house.edge.visitor_address) as visitor:
        smuggled = get("/", "open.test")
        visitor.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (HOST.encode(), len(smuggled)))
        visitor.send(smuggled)
        refused = await visitor.response()
        assert refused.status == 401
        assert refused.field("Connection") == "close"
        assert await visitor.reader.read() == b""


@pytest.mark.parametrize(
    "head",
    [
        f"GET http://{HOST}/ HTTP/1.1\r\nHost: open.test\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {HOST.upper()}.:80\r\n\r\n",
        f"GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n",
        f"OPTIONS /x HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n",
    ],
)
async def test_no_spelling_of_the_host_gets_past(head: str) -> None:
    async with guarded() as (house, _, _), RawVisitor(house.edge.visitor_address) as visitor:
        assert (await visitor.request(head.encode())).status == 401


async def test_http2_is_refused_or_let_through() -> None:
    async with guarded() as (house, world, _), await h2_visitor(house.edge.visitor_address) as visitor:
        agent = world.agent()
        host = {"authority": HOST.encode()}
        refused = await visitor.ask(pseudo=host)
        assert refused.status == 401
        assert json.loads(refused.body)["reason"] == "no_credentials"
        assert (await visitor.ask(pseudo={"authority": HOST.upper().encode() + b":80"})).status == 401
        passed = await visitor.ask(*lower(agent.headers), pseudo=host)
        assert passed.status == 200
        told = {name.lower(): value for name, value in json.loads(passed.body)["headers"]}
        assert told["cf-access-jwt-assertion"].count(".") == 2
        upload = await visitor.ask(pseudo=host, method=b"POST", body=b"x" * 1000)
        assert upload.status == 401
        grpc = await visitor.ask((b"content-type", b"application/grpc"), pseudo=host, method=b"POST")
        assert (grpc.status, grpc.field(b"grpc-status")) == (200, b"16")


@contextlib.asynccontextmanager
async def socket_of(house: House, agent: Agent) -> AsyncIterator[object]:
    host, port = house.edge.visitor_address
    url = f"ws://{HOST}:{port}/socket"
    async with connect(
        url,
        host=host,
        port=port,
        additional_headers=agent.text_headers,
        compression=None,
        proxy=None,
        close_timeout=0.1,  # the origin answers no close frame
    ) as socket:
        yield socket


async def test_a_websocket_needs_a_token_and_dies_with_it() -> None:
    async with guarded() as (house, world, _):
        agent, other = world.agent(), world.agent("agent-02")
        host, port = house.edge.visitor_address
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{HOST}:{port}/", host=host, port=port, proxy=None)
        assert refused.value.response.status_code == 401
        async with socket_of(house, agent), socket_of(house, other) as staying:
            assert len(house.edge.gate.running) == 2
            loop = asyncio.get_running_loop()
            async with socket_of(house, agent) as ending:
                begun = loop.time()
                agent.change(enabled=False, valid_after=begun)
                with pytest.raises(ConnectionClosed):
                    await ending.recv()  # type: ignore[attr-defined]
                assert loop.time() - begun < 1
            assert await staying.ping()  # type: ignore[attr-defined]
            assert len(house.edge.gate.running) == 1


async def test_an_http2_response_under_way_dies_with_its_token() -> None:
    hang = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        await hang.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with server, open_house([{"service": f"http://127.0.0.1:{address[1]}"}]) as house:
        world = World(house.edge.gate.state)
        world.application()
        agent = world.agent()
        async with await h2_visitor(house.edge.visitor_address) as visitor:
            number = visitor.open(*lower(agent.headers), pseudo={"authority": HOST.encode()})
            await visitor.until(lambda: bytes(visitor.streams[number].body) == b"begun")
            agent.delete()
            log = await visitor.answer(number)
            assert log.reset is not None
            assert (await visitor.ask(pseudo={"authority": HOST.encode()})).status == 401
        hang.set()


async def test_a_tcp_port_shows_nobody_and_is_judged_by_its_address_alone() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    rules = [{"hostname": HOST, "service": f"tcp://127.0.0.1:{address[1]}"}, {"service": "http_status:404"}]
    async with server, open_house(rules) as house:
        port = ("127.0.0.1", await house.edge.add_tcp_port(HOST))
        world = World(house.edge.gate.state)
        world.application()
        async with RawVisitor(port) as visitor:
            visitor.send(b"hello")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await visitor.reader.readexactly(5)
        world.policy("tool-policy", "bypass", include=[{"ip": {"ip": "127.0.0.0/8"}}])
        async with RawVisitor(port) as visitor:
            visitor.send(b"hello")
            assert await visitor.reader.readexactly(5) == b"hello"
            world.policy("tool-policy")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await visitor.reader.readexactly(1)


async def test_own_paths_are_answered_on_the_wire() -> None:
    async with guarded() as (house, world, _), RawVisitor(house.edge.visitor_address) as visitor:
        agent = world.agent()
        certs = await visitor.request(get("/cdn-cgi/access/certs", HOST))
        assert [key["alg"] for key in json.loads(certs.body)["keys"]] == ["RS256", "RS256"]
        lines = [f"{name}: {value}" for name, value in agent.text_headers.items()]
        ask = get("/cdn-cgi/access/session?methods=GET", HOST, *lines).replace(b"GET /", b"POST /", 1)
        session = json.loads((await visitor.request(ask)).body)
        bearer = f"Authorization: Bearer {session['token']}"
        assert (await visitor.request(get("/", HOST, bearer))).status == 200
        refused = await visitor.request(get("/", HOST, bearer).replace(b"GET", b"POST"))
        assert (refused.status, json.loads(refused.body)["reason"]) == (403, "outside_of_session")


async def test_an_edge_without_access_leaves_its_headers_and_paths_alone() -> None:
    async with telling_origin() as origin, open_house([{"service": origin}]) as house:
        assert isinstance(house.edge, LocalEdge)
        async with RawVisitor(house.edge.visitor_address) as visitor:
            lines = ("Cf-Access-Jwt-Assertion: theirs", "Cf-Access-Client-Id: theirs")
            told = await visitor.request(get("/cdn-cgi/access/certs", HOST, *lines))
            assert told.body.count(b"theirs") == 2
