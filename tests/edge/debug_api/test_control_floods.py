"""What a client of the control API may cost, whatever it sends and does not read."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.edge import ControlSettings
from pyconnector.edge.debug_api import http as control_http
from pyconnector.edge.visitors.http1.request_body import LINES_A_TURN, ChunkedBody
from tests.edge.support import memory_edge, until
from tests.support.loop.turns import TurnMeter
from tests.support.peers.raw_visitor import RawVisitor, get

pytestmark = pytest.mark.usefixtures("each_loop")

TOKEN = "0123456789abcdef"


def head(host: str, *lines: str) -> bytes:
    return get("/faults", host, "Content-Type: application/json", *lines).replace(b"GET", b"POST", 1)


async def test_the_smallest_chunks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(ChunkedBody, "_take_line", meter.counting(ChunkedBody._take_line, lambda nothing: 1))

    async with memory_edge(control=ControlSettings()) as edge:
        assert edge.control_address is not None
        host = "{}:{}".format(*edge.control_address)
        async with RawVisitor(edge.control_address) as client:
            with meter:
                chunks = b"1\r\n \r\n" * 20_000 + b"2\r\n{}\r\n0\r\n\r\n"
                response = await client.request(head(host, "Transfer-Encoding: chunked") + chunks)
    assert response.status == 409  # no fault relay: the body was read to its end
    assert meter.total > 40_000
    assert meter.most <= 2 * LINES_A_TURN


@pytest.mark.parametrize("data", [b"\r\n" * 100_000, b"a" * 100_000, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 30_000])
async def test_what_is_no_request_is_refused_at_its_bound(data: bytes) -> None:
    async with memory_edge(control=ControlSettings()) as edge:
        assert edge.control_address is not None
        async with RawVisitor(edge.control_address) as client:
            assert (await client.request(data)).status in (400, 431)


async def test_who_may_not_ask_is_told_before_its_body_is_read() -> None:
    async with memory_edge(control=ControlSettings(token=TOKEN)) as edge:
        assert edge.control_address is not None
        host = "{}:{}".format(*edge.control_address)
        async with RawVisitor(edge.control_address) as client:
            assert (await client.request(head(host, "Content-Length: 1000"))).status == 401
        async with RawVisitor(edge.control_address) as client:
            assert (await client.request(head("evil.test", "Content-Length: 1000"))).status == 403


async def test_who_does_not_take_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_http, "TIMEOUT", 0.1)

    async def large(method: str, path: str, body: object) -> tuple[int, object]:
        return 200, "x" * 20_000_000

    server = control_http.ControlServer(ControlSettings(), large)
    address = await server.start()
    async with RawVisitor(address) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(get("/tunnels", "{}:{}".format(*address)))
        await until(lambda: len(server._tasks) == 1)
        await until(lambda: not len(server._tasks))
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()
    await server.close()
