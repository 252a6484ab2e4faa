"""The path of a request: its head and body to the origin, and the answer back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import ByteReader, OriginRequest, OriginResponse, RequestKind
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.transport.buffers.stream import BufferedStream
from tests.connector.fakes import FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer

if TYPE_CHECKING:
    pass
from tests.connector.requests.support import later, read_body

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_a_request_reaches_its_origin_and_the_answer_comes_back() -> None:
    answer = FakeResponse(b"hello", status=203, headers=[(b"X-A", b"1"), (b"X-A", b"2")])
    under = PathUnderTest(FakeOrigin(lambda request, body: later(answer)))
    found = await under.ask(method=b"DELETE", headers=[(b"X-Req", b"v")])
    assert (found.status, found.body, found.error) == (203, b"hello", "")
    request = under.origin.requests[0]  # type: ignore[attr-defined]
    assert (request.kind, request.method, request.target) == (RequestKind.HTTP, "DELETE", "/path?q=1")
    assert (request.host, request.body_length) == ("app.example", 0)
    await under.settled()
    assert answer.finished
    assert under.counters.responses[203] == 1


async def test_headers_pass_in_order_with_ours_appended_and_the_trace_taken_out() -> None:
    origin = FakeOrigin()
    under = PathUnderTest(origin)
    await under.ask(
        headers=[
            (b"B", b"1"), (b"A", b"2"), (b"B", b"3"), (b"cf-trace-id", b"a:b:0:1"),
            (b"Cf-Cloudflared-Proxy-Connection-Upgrade", b"websocket"), (b"Content-Length", b"0"),
        ]
    )  # fmt: skip
    assert origin.requests[0].headers == [
        (b"B", b"1"), (b"A", b"2"), (b"B", b"3"), (b"Cf-Warp-Tag-Room", b"attic"), (b"Cf-Warp-Tag-Id", b"me"),
    ]  # fmt: skip


async def test_bodies_for_one_rule_are_read_for_the_same_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[object] = []
    monkeypatch.setattr(BufferedStream, "read_for", lambda stream, reader: readers.append(reader))

    under = PathUnderTest()
    await under.ask()  # without a body: nothing to read
    for _ in range(2):
        await under.ask(b"x", headers=[(b"Content-Length", b"1")])
    assert len(readers) == 2
    assert readers[0] is readers[1]


async def test_a_body_that_came_with_the_opening_and_one_that_came_later_are_both_read() -> None:
    bodies: list[bytes] = []

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        bodies.append(await read_body(body))
        return FakeResponse(status=204)

    under = PathUnderTest(FakeOrigin(serve))
    stream = await under.open(opening(headers=[(b"Content-Length", b"10")]) + b"first", finish=False)
    await asyncio.sleep(0.1)
    stream.send_nowait(b"later", finish=True)
    assert (await read_answer(stream)).status == 204
    assert bodies == [b"firstlater"]


async def test_an_opening_in_single_bytes_is_understood() -> None:
    under = PathUnderTest()
    stream = await under.edge.open_stream()
    for byte in opening():
        stream.send_nowait(bytes([byte]))
        await asyncio.sleep(0)
    stream.finish()
    assert (await read_answer(stream)).body == b"hello"


async def test_a_small_request_needs_no_timer_and_one_task() -> None:
    origin = FakeOrigin()
    under = PathUnderTest(origin)
    loop = asyncio.get_running_loop()
    before = len(asyncio.all_tasks())
    seen: list[int] = []

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        seen.append(len(asyncio.all_tasks()) - before)
        seen.append(len(loop._scheduled))  # type: ignore[attr-defined]
        return FakeResponse(b"x")

    origin._serve = serve
    stream = await under.open(opening())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [1, 0]
    assert (await stream.receive()).endswith(b"x")


async def test_a_websocket_keeps_its_body_open_and_its_kind() -> None:
    answer = FakeResponse(status=101)
    answer.open = True
    origin = FakeOrigin(lambda request, body: later(answer))
    under = PathUnderTest(origin)
    stream = await under.open(opening(ConnectionType.WEBSOCKET), finish=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert origin.requests[0].kind is RequestKind.WEBSOCKET
    assert origin.requests[0].body_length is None
    answer.feed(b"frame")
    answer.end()
    found = await read_answer(stream)
    assert (found.status, found.body) == (101, b"frame")
    await under.settled()
    assert under.counters.responses == {}


async def test_each_request_and_its_answer_are_lines_of_a_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pyconnector")

    answer = FakeResponse(b"hello", status=203, headers=[(b"X-Secret", b"hush")])
    under = PathUnderTest(FakeOrigin(lambda request, body: later(answer)))
    await under.ask(headers=[(b"Cookie", b"hush")])
    asked, answered = [record for record in caplog.records if record.name == "pyconnector.request"]
    assert asked.getMessage().startswith("GET /")
    assert answered.getMessage() == f"203 for {asked.getMessage()}"
    told = [record.fields for record in (asked, answered)]  # type: ignore[attr-defined]
    assert "Cookie" in told[0]["headers"]
    assert told[1]["headers"] == "X-Secret"
    assert told[0]["ingressRule"] == told[1]["ingressRule"] == 0
    assert "hush" not in str(told)
