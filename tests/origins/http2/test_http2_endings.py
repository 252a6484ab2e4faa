"""How exchanges on an HTTP/2 connection end, and that a shared connection outlives them undamaged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from h2 import events
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from pyconnector.origins.base import OriginError
from pyconnector.origins.http2 import Http2Origin, connection
from pyconnector.origins.net.inbox import Inbox
from tests.origins.http2.test_http2 import _saw, _until, request, scenario, whole
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from tests.support.peers.h2_origin import H2Server


@pytest.mark.parametrize("last_stream_id", [1, 2**31 - 1])
async def test_an_exchange_under_way_survives_a_goaway(last_stream_id: int) -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.DataReceived) and event.data == b"first":
            server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            server.h2.send_data(event.stream_id, b"before ")
            server.flush()
            # By hand: the library's own way would close the connection at once.
            server.transport.write(GoAwayFrame(0, last_stream_id=last_stream_id).serialize())
            server.h2.send_data(event.stream_id, b"after ")
        elif isinstance(event, events.DataReceived):
            server.h2.send_data(event.stream_id, event.data)
        elif isinstance(event, events.StreamEnded):
            server.h2.send_headers(event.stream_id, [(b"grpc-status", b"0")], end_stream=True)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        body = Body(b"first", end=False)
        response = await origin.serve(request("POST", body_length=None), body)
        received = b""
        while received != b"before after ":
            received += await response.receive()
        body.put(b"last")
        body.end()
        assert await whole(response) == b"last"
        assert response.trailers == [(b"grpc-status", b"0")]
        await made[0].lost  # and then it closes, for no new exchange may use it

    await scenario(react, play)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("arrived", [True, False])
async def test_what_nobody_read_gives_its_credit_back(
    complete: bool, arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 700_000
    monkeypatch.setattr(connection, "CONNECTION_WINDOW", 2_000_000)
    left: dict[int, int] = {}

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            left[event.stream_id] = size
        for stream_id, waiting in left.items():
            while waiting and (window := min(server.h2.local_flow_control_window(stream_id), 16_384, waiting)):
                waiting -= window
                server.h2.send_data(stream_id, bytes(window), end_stream=complete and not waiting)
            left[stream_id] = waiting

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        for _ in range(8):
            response = await origin.serve(request(), Body())
            assert isinstance(response, Inbox)
            await _until(lambda: not any(left.values()))
            if arrived:
                await _until(lambda response=response: response.size == size)  # type: ignore[misc]
            response.abort()
            left.clear()
        assert len(made) == 1

    await scenario(react, play)


async def test_an_answer_before_the_end_of_the_upload_frees_the_stream() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            server.answer(event.stream_id, b"enough", trailers=[(b"grpc-status", b"0")])

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request("POST", body_length=None), Body(b"x", end=False))
        assert await whole(response) == b"enough"
        await response.finish()
        await _until(lambda: _saw(made[0], events.StreamReset))
        again = await origin.serve(request("POST", body_length=1), Body(b"x"))
        assert await whole(again) == b"enough"
        assert len(made) == 1

    await scenario(react, play)


async def test_a_finished_upload_is_not_reset() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.answer(event.stream_id, b"all of it")

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        for method, body_length in (("POST", None), ("GET", 0)):
            response = await origin.serve(request(method, body_length=body_length), Body(b"x"))
            assert await whole(response) == b"all of it"
            await response.finish()
        await asyncio.sleep(0.01)
        assert not _saw(made[0], events.StreamReset)

    await scenario(react, play)


async def test_a_reset_without_an_error_is_no_end_of_a_body() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            server.h2.send_data(event.stream_id, b"half")
            server.h2.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request(), Body())
        assert await response.receive() == b"half"
        with pytest.raises(OriginError):
            await response.receive()

    await scenario(react, play)


@pytest.mark.parametrize(("method", "status"), [("HEAD", b"200"), ("GET", b"204"), ("GET", b"304")])
@pytest.mark.parametrize("length", [b"", b"4"])
async def test_a_body_that_may_not_come_is_dropped(method: str, status: bytes, length: bytes) -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            fields = [(b":status", status), *([(b"content-length", length)] if length else [])]
            server.h2.send_headers(event.stream_id, fields)
            server.h2.send_data(event.stream_id, b"body", end_stream=True)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        for _ in range(3):
            response = await origin.serve(request(method), Body())
            assert (response.status, await whole(response)) == (int(status), b"")
            await response.finish()
        assert len(made) == 1

    await scenario(react, play)


async def test_a_body_of_the_wrong_length_ends_its_stream_alone() -> None:
    waiting: list[int] = []

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            if not waiting:
                waiting.append(event.stream_id)  # the neighbour, answered last
                return
            server.h2.send_headers(event.stream_id, [(b":status", b"200"), (b"content-length", b"9")])
            server.h2.send_data(event.stream_id, b"more than nine")
        elif isinstance(event, events.StreamReset) and waiting[0] != event.stream_id:
            server.answer(waiting[0], b"well")

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        neighbour = asyncio.ensure_future(origin.serve(request(), Body()))
        await _until(lambda: bool(waiting))
        with pytest.raises(OriginError, match="not as long as its content-length says"):
            await whole(await origin.serve(request(), Body()))
        assert await whole(await neighbour) == b"well"
        assert len(made) == 1

    await scenario(react, play)
