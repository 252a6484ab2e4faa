"""Responses to HTTP/2 visitors: how they begin and end, whatever the connector sends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from pyconnector.protocol.streams.trailers import encode_data, encode_trailers

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
    from tests.support.peers.h2_visitor import H2Visitor
    from tests.support.peers.scripted_connector import Exchange
from tests.edge.http2.support import framed_head, scenario


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_responses_without_a_body_end_with_their_header(method: bytes, status: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, [(b"Content-Length", b"7"), (b"Connection", b"X-Hop"), (b"X-Hop", b"1")])
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(method=method)
        assert (answer.status, bytes(answer.body), answer.ended) == (status, b"", True)
        assert answer.field(b"content-length") == (None if status == 204 else b"7")
        assert answer.field(b"x-hop") is None

    await scenario(script, play)


async def test_a_response_that_is_empty_ends_with_its_header() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.headers("Te"):
            exchange.stream.send_nowait(framed_head() + encode_trailers([]), finish=True)
        else:
            await exchange.answer(200)
            exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask((b"te", b"trailers"))).header_ended
        assert (await visitor.ask()).ended

    await scenario(script, play)


async def test_a_grpc_status_in_the_header_is_the_end_although_that_comes_later() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head((b"Grpc-Status", b"12")))
        await asyncio.sleep(0.02)
        exchange.stream.send_nowait(encode_trailers([]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.field(b"grpc-status"), answer.header_ended) == (b"12", True)

    await scenario(script, play)


async def test_a_header_does_not_wait_for_a_late_body() -> None:
    proceed = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head())
        await proceed.wait()
        exchange.stream.send_nowait(encode_data(b"late") + encode_trailers([]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"te", b"trailers"))
        log = visitor.streams[stream_id]
        await visitor.until(lambda: bool(log.fields))
        assert not log.body
        proceed.set()
        assert bytes((await visitor.answer(stream_id)).body) == b"late"

    await scenario(script, play)


async def test_trailers_without_a_body_follow_the_header() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head() + encode_trailers([(b"grpc-status", b"0")]), finish=True)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.header_ended, answer.trailers) == (False, [(b"grpc-status", b"0")])

    await scenario(script, play)


async def test_an_answer_before_the_end_of_the_upload_frees_the_visitor() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(413, [], b"too much")
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for _ in range(3):
            stream_id = visitor.open(method=b"POST", end=False)
            visitor.h2.send_data(stream_id, bytes(10_000))
            visitor.flush()
            answer = await visitor.answer(stream_id)
            await visitor.until(lambda answer=answer: answer.reset is not None)  # type: ignore[misc]
            assert (answer.status, bytes(answer.body), answer.ended) == (413, b"too much", True)
            assert answer.reset == ErrorCodes.NO_ERROR
        assert not visitor.lost

    await scenario(script, play)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ((), [encode_data(b"one")]),
        ((), [encode_data(b"one"), b"\2\0\0\0\1x"]),
        (((b"Content-Length", b"9"),), [encode_data(b"one"), encode_trailers([])]),
        (((b"Content-Length", b"3"),), [encode_data(b"one"), encode_data(b"more"), encode_trailers([])]),
    ],
)
async def test_a_broken_response_is_a_reset(head: tuple[tuple[bytes, bytes], ...], body: list[bytes]) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.send_nowait(framed_head(*head))
        for piece in body:
            await asyncio.sleep(0.01)
            exchange.stream.send_nowait(piece)
        exchange.stream.finish()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask((b"te", b"trailers"))
        assert (answer.ended, answer.reset) == (False, ErrorCodes.INTERNAL_ERROR)
        assert bytes(answer.body) == b"one"

    await scenario(script, play)


async def test_a_connector_that_breaks_off_is_a_reset_or_a_page() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.dest.endswith("/late"):
            await exchange.answer(200, [], b"one")
            await asyncio.sleep(0.01)
        if exchange.request.dest.endswith("/short"):
            await exchange.answer(200, [(b"Content-Length", b"5")])
            exchange.stream.finish()
        else:
            exchange.stream.reset()

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 502
        assert (await visitor.ask(path=b"/short")).status == 502
        answer = await visitor.ask(path=b"/late")
        assert (bytes(answer.body), answer.reset) == (b"one", ErrorCodes.INTERNAL_ERROR)

    await scenario(script, play)


async def test_a_switch_of_protocols_is_refused() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(101)

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        assert (await visitor.ask()).status == 502

    await scenario(script, play)
