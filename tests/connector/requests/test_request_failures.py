"""Requests that fail, are cut off or are none: the answer they get, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.connector.link.quic import data_streams
from pyconnector.connector.requests import running
from pyconnector.origins.base import ByteReader, OriginError, OriginRequest, OriginResponse
from pyconnector.transport.errors import StreamReset
from tests.connector.fakes import Answer, FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer

if TYPE_CHECKING:
    pass
from tests.connector.requests.support import aborted, later, waiting

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_an_origin_that_fails_is_an_error_answer_with_the_reason() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("connection refused by 127.0.0.1:1")

    under = PathUnderTest(FakeOrigin(serve))
    found = await under.ask()
    assert found.error == "connection refused by 127.0.0.1:1"
    assert found.metadata == {}
    assert under.counters.request_errors == 1


async def test_an_unusual_status_of_an_origin_failure_is_told_to_an_edge_that_looks() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("no destination was given", status=400)

    found = await PathUnderTest(FakeOrigin(serve)).ask()
    assert (found.error, found.status) == ("no destination was given", 400)


async def test_an_origin_that_breaks_off_in_mid_body_resets_the_stream() -> None:
    answer = FakeResponse(b"part")
    answer.open = True
    under = PathUnderTest(FakeOrigin(lambda request, body: later(answer)))
    stream = await under.open(opening())
    assert (await stream.receive()).endswith(b"part")
    answer.end(OriginError("it went away"))
    assert await aborted(stream)
    await under.settled()
    assert answer.aborted


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"headers": [(b"X", b"a\r\nInjected: b")]}, "control"),
        ({"headers": [(b"X\nY", b"a")]}, ""),
        ({"headers": [(b"Content-Length", b"ten")]}, "Content-Length"),
        ({"method": b"GE T"}, "method"),
        ({"headers": [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]}, "Transfer-Encoding"),
    ],
)
async def test_a_malformed_request_gets_a_400_and_never_reaches_an_origin(
    metadata: dict[str, Any], sentence: str
) -> None:
    origin = FakeOrigin()
    found = await PathUnderTest(origin).ask(**metadata)
    assert found.status == 400
    assert sentence in found.error
    assert origin.requests == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00", opening()[:20], b""])
async def test_a_stream_that_is_none_is_reset_and_the_others_live_on(data: bytes) -> None:
    under = PathUnderTest()
    stream = await under.open(data)
    assert await aborted(stream)
    assert (await under.ask()).body == b"hello"


async def test_an_opening_that_never_completes_is_given_up() -> None:
    under = PathUnderTest()
    stream = await under.open(opening()[:30], finish=False)
    started = asyncio.get_running_loop().time()
    with pytest.raises(StreamReset):
        await stream.receive()
    assert asyncio.get_running_loop().time() - started == pytest.approx(data_streams.OPENING_TIMEOUT)
    await under.settled()


async def test_incomplete_openings_together_hold_no_more_than_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_streams, "MAX_OPENING_BACKLOG", 100)

    under = PathUnderTest()
    part = opening()[:40]
    held = [await under.open(part, finish=False) for _ in range(2)]
    await asyncio.sleep(0.1)
    last = await under.open(part, finish=False)
    await asyncio.sleep(0.1)
    last.send_nowait(b"\x00")
    with pytest.raises(StreamReset):
        await last.receive()
    for stream in held:
        stream.send_nowait(opening()[40:], finish=True)
        assert (await read_answer(stream)).body == b"hello"
    assert under.streams._opening_backlog == 0


async def test_streams_beyond_the_bound_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MAX_REQUESTS", 3)

    release = asyncio.Event()

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await release.wait()
        return FakeResponse(b"late")

    under = PathUnderTest(FakeOrigin(serve))
    held = [await under.open(opening()) for _ in range(3)]
    await asyncio.sleep(0)
    refused = await under.ask()
    assert "already serves 3 streams" in refused.error
    assert under.counters.streams_refused == 1
    release.set()
    assert [(await read_answer(stream)).body for stream in held] == [b"late"] * 3


async def test_a_visitor_who_leaves_cancels_the_origin_at_once() -> None:
    never = asyncio.Event()
    origin = FakeOrigin(lambda request, body: waiting(never))
    under = PathUnderTest(origin)
    stream = await under.open(opening(), finish=False)
    await asyncio.sleep(0.01)
    assert len(origin.requests) == 1
    started = asyncio.get_running_loop().time()
    stream.reset()
    stream.stop()
    await under.settled()
    assert origin.cancelled == 1
    assert asyncio.get_running_loop().time() - started < 0.1
    assert under.counters.concurrent_requests == 0


async def test_a_visitor_who_leaves_in_mid_body_aborts_the_response() -> None:
    answer = FakeResponse(b"part")
    answer.open = True
    under = PathUnderTest(FakeOrigin(lambda request, body: later(answer)))
    stream = await under.open(opening())
    await stream.receive()
    stream.stop()
    await under.settled()
    assert answer.aborted


async def test_a_lost_connection_cancels_every_origin() -> None:
    never = asyncio.Event()
    origin = FakeOrigin(lambda request, body: waiting(never))
    under = PathUnderTest(origin)
    for _ in range(5):
        await under.open(opening(), finish=False)
    await asyncio.sleep(0.01)
    under.edge.close()
    await under.settled()
    assert origin.cancelled == 5


async def test_an_early_answer_stops_the_rest_of_the_upload() -> None:
    under = PathUnderTest(FakeOrigin(lambda request, body: later(FakeResponse(b"no", status=413))))
    stream = await under.open(opening(method=b"POST", headers=[(b"Content-Length", b"1000")]) + b"x", finish=False)
    assert (await read_answer(stream)).status == 413
    await under.settled()
    with pytest.raises(StreamReset):
        stream.send_nowait(b"more")


async def test_a_head_too_large_for_the_edge_is_an_error_answer() -> None:
    answer = FakeResponse(b"x", headers=[(b"X-%d" % number, b"v" * 8000) for number in range(140)])
    under = PathUnderTest(FakeOrigin(lambda request, body: later(answer)))
    found = await under.ask()
    assert "cannot be carried" in found.error
    assert answer.aborted


async def test_a_defect_in_an_origin_resets_its_stream_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "pyconnector"):

        async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
            raise ZeroDivisionError("a defect")

        under = PathUnderTest(FakeOrigin(serve))
        stream = await under.open(opening())
        assert await aborted(stream)
        await under.settled()
    assert "ZeroDivisionError" in caplog.text


async def test_idle_means_nothing_served_and_nothing_new_for_a_moment() -> None:
    release = asyncio.Event()

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await release.wait()
        return FakeResponse(b"x")

    under = PathUnderTest(FakeOrigin(serve))
    await under.open(opening())
    await asyncio.sleep(0)
    idle = asyncio.create_task(under.streams.running.wait_idle())
    await asyncio.sleep(10)
    assert not idle.done()
    release.set()
    started = asyncio.get_running_loop().time()
    await idle
    assert asyncio.get_running_loop().time() - started == pytest.approx(running.IDLE_LINGER)


async def test_aborting_everything_leaves_no_task() -> None:
    never = asyncio.Event()
    under = PathUnderTest(FakeOrigin(lambda request, body: waiting(never)))
    streams = [await under.open(opening(), finish=False) for _ in range(3)]
    await asyncio.sleep(0.01)
    before = under.streams.running.active
    await under.streams.running.abort_all()
    assert (before, under.streams.running.active) == (3, 0)
    assert [await aborted(stream) for stream in streams] == [True] * 3


async def test_ten_thousand_abandoned_streams_leave_nothing_behind() -> None:
    under = PathUnderTest()
    for _ in range(100):
        for _ in range(100):
            stream = await under.edge.open_stream()
            stream.send_nowait(b"\x0a")
            stream.reset()
            stream.stop()
        await asyncio.sleep(0)
    await under.settled()
    assert under.streams._opening_backlog == 0
    assert not under.connection.streams
    assert isinstance(await under.ask(), Answer)
