from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypeAlias

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError, RequestKind
from pyconnector.origins.http1 import upload
from tests.origins.support import OK_HEAD, OK_HI, get, http_origin, read_all, until
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from tests.support.peers.raw_origin import Peer, Script

Fields: TypeAlias = list[tuple[bytes, bytes]]
Answer: TypeAlias = tuple[int, Fields, bytes, Fields]
CHUNKED = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def answering(*pieces: bytes, close: bool = False) -> Script:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(*pieces)
        if close:
            peer.end()
        else:
            await peer.closed()

    return script


async def exchange(pieces: list[bytes], *, close: bool = False, method: str = "GET") -> Answer:
    """One request whose answer comes in `pieces`; what the visitor gets."""
    got: list[Answer] = []

    async with http_origin(answering(*pieces, close=close)) as (origin, _):
        response = await origin.serve(get(method=method), Body())
        body = await read_all(response)
        got.append((response.status, response.headers, body, response.trailers))
        await origin.close()
    return got[0]


async def test_a_counted_response() -> None:
    assert await exchange([OK_HI]) == (200, [(b"Content-Length", b"2")], b"hi", [])


async def test_a_chunked_response_with_trailers() -> None:
    pieces = [CHUNKED + b"2\r\nhi\r\n", b"3;x=y\r\n ho\r\n", b"0\r\nX-T: 1\r\nX-T: 2\r\n", b"\r\n"]
    assert await exchange(pieces) == (200, [], b"hi ho", [(b"X-T", b"1"), (b"X-T", b"2")])


async def test_a_response_that_ends_with_the_connection() -> None:
    assert await exchange([OK_HEAD + b"\r\n", b"hi", b" ho"], close=True) == (200, [], b"hi ho", [])


async def test_an_http_1_0_response() -> None:
    assert await exchange([b"HTTP/1.0 404 No\r\nA: b\r\n\r\nhi"], close=True) == (404, [(b"A", b"b")], b"hi", [])


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_statuses_without_a_body(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    assert await exchange([answer]) == (int(status[:3]), [(b"Content-Length", b"5")], b"", [])


async def test_head_has_headers_and_no_body() -> None:
    answer = OK_HEAD + b"Content-Length: 5\r\n\r\n"
    assert await exchange([answer], method="HEAD") == (200, [(b"Content-Length", b"5")], b"", [])


async def test_interim_responses_are_swallowed() -> None:
    pieces = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK_HI]
    assert await exchange(pieces) == (200, [(b"Content-Length", b"2")], b"hi", [])
    assert await exchange([b"".join(pieces)]) == (200, [(b"Content-Length", b"2")], b"hi", [])


async def test_duplicate_headers_keep_their_order() -> None:
    answer = OK_HEAD + b"Set-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2; Path=/\r\nContent-Length: 0\r\n\r\n"
    assert (await exchange([answer]))[1] == [
        (b"Set-Cookie", b"a=1"),
        (b"X-A", b"1"),
        (b"Set-Cookie", b"b=2; Path=/"),
        (b"Content-Length", b"0"),
    ]


@pytest.mark.usefixtures("each_loop")
async def test_the_request_arrives_as_one_segment_with_its_small_body() -> None:
    async def script(peer: Peer) -> None:
        first = await peer.reader.read(65536)
        assert first.endswith(b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello")
        await peer.send(OK_HI)
        second = await peer.reader.read(65536)
        assert second.endswith(b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, server):
        before = len(asyncio.all_tasks())
        for length in (5, None):
            serving = origin.serve(get(method="POST", length=length), Body(b"hello"))
            response = await serving
            assert len(asyncio.all_tasks()) == before + len(server.running), "no task for a body that is there"
            assert await read_all(response) == b"hi"
        assert len(server.peers) == 1
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_late_body_is_streamed_as_it_comes() -> None:
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.exactly(6) == b"1\r\na\r\n"
        arrived.set()
        assert await peer.exactly(12) == b"2\r\nbc\r\n0\r\n\r\n"
        await peer.send(OK_HI)
        await peer.closed()

    body = Body(end=False)
    async with http_origin(script) as (origin, _):
        serving = asyncio.create_task(origin.serve(get(method="POST", length=None), body))
        await asyncio.sleep(0.01)
        body.put(b"a")
        await asyncio.wait_for(arrived.wait(), 30)
        body.put(b"bc")
        body.end()
        assert await read_all(await serving) == b"hi"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_response_may_come_while_the_body_is_still_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        while (data := await peer.exactly(6)) != b"1\r\n.\r\n":
            await peer.send(data)
        await peer.exactly(5)
        await peer.send(b"0\r\n\r\n")
        await peer.head()
        await peer.send(OK_HI)
        await peer.closed()

    body = Body(end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(get(method="POST", length=None), body)
        for letter in (b"a", b"b", b"c"):
            body.put(letter)
            assert await response.receive() == letter
        body.put(b".")
        body.end()
        assert await response.receive() == b""
        await response.finish()
        assert await read_all(await origin.serve(get(), Body())) == b"hi"
        assert len(server.peers) == 1, "both sides ended, so the connection served the next request"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_an_early_answer_passes_and_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        with contextlib.suppress(ConnectionError):
            await peer.rest()

    body = Body(b"x" * 100, end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(get(method="POST", length=1 << 30), body)
        assert response.status == 413
        assert await read_all(response) == b"big"
        await until(lambda: not server.running)


@pytest.mark.usefixtures("each_loop")
async def test_an_answer_without_end_does_not_need_the_body() -> None:
    """The upload ends after the response did: then, and not before, the connection is free."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HI)
        assert await peer.exactly(5) == b"hello"
        await peer.head()
        await peer.send(OK_HI)
        await peer.closed()

    body = Body(end=False)
    async with http_origin(script) as (origin, server):
        response = await origin.serve(get(method="POST", length=5), body)
        assert await response.receive() == b"hi"
        assert await response.receive() == b""
        body.put(b"hello")
        await asyncio.sleep(0.01)
        await response.finish()
        assert await read_all(await origin.serve(get(), Body())) == b"hi"
        assert len(server.peers) == 1
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_expect_continue_holds_the_body_back_until_100() -> None:
    async def script(peer: Peer) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await peer.head()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.05)
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.exactly(5) == b"hello"
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, _):
        asked = get("/", (b"Expect", b"100-continue"), method="PUT", length=5)
        assert await read_all(await origin.serve(asked, Body(b"hello"))) == b"hi"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_expect_continue_gives_up_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert upload.CONTINUE_TIMEOUT == 1.0
    monkeypatch.setattr(upload, "CONTINUE_TIMEOUT", 0.05)

    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.exactly(5) == b"hello"
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, _):
        asked = get("/", (b"Expect", b"100-continue"), method="PUT", length=5)
        began = time.monotonic()
        assert await read_all(await origin.serve(asked, Body(b"hello"))) == b"hi"
        assert time.monotonic() - began >= 0.05
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_final_answer_to_an_expectation_means_the_body_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
        await peer.closed()  # no byte of the body, and no second request

    body = Body(b"hello")
    async with http_origin(script) as (origin, server):
        asked = get("/", (b"Expect", b"100-continue"), method="PUT", length=5)
        response = await origin.serve(asked, body)
        assert response.status == 417
        assert await read_all(response) == b"no"
        await until(lambda: not server.running)
        assert body.taken == 0


@pytest.mark.usefixtures("each_loop")
async def test_after_a_final_answer_the_body_is_not_sent_later_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CONTINUE_TIMEOUT", 0.02)

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nn")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.06)
        await peer.send(b"o")
        await peer.closed()

    async with http_origin(script) as (origin, _):
        asked = get("/", (b"Expect", b"100-continue"), method="PUT", length=5)
        assert await read_all(await origin.serve(asked, Body(b"hello"))) == b"no"


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    ("length", "pieces", "cause"),
    [
        (5, [b"hel"], "its body is 2 bytes shorter than its Content-Length"),
        (5, [b"hello", b"!"], "its body is longer than its Content-Length"),
        (5, [b"hello!"], "its body is longer than its Content-Length"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_a_body_of_the_wrong_length_is_never_completed(
    length: int, pieces: list[bytes], cause: str, late: bool
) -> None:
    async def script(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await peer.head()
            await peer.rest()
        assert len(peer.received.partition(b"\r\n\r\n")[2]) < length, "the origin must not take it for whole"

    body = Body(end=False) if late else Body(*pieces)
    async with http_origin(script) as (origin, _):
        serving = asyncio.create_task(origin.serve(get(method="POST", length=length), body))
        if late:
            await asyncio.sleep(0.01)
            for piece in pieces:
                body.put(piece)
            body.end()
        with pytest.raises(OriginError) as caught:
            await serving
        assert caught.value.reason == f"Incoming request ended abruptly: {cause}"
        assert caught.value.status == 400


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("late", [False, True])
async def test_a_visitor_who_breaks_off_the_body_breaks_off_the_request(late: bool) -> None:
    async def script(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await peer.head()
            await peer.rest()
        assert not peer.received.endswith(b"0\r\n\r\n")

    body = Body(b"hel", end=False)
    async with http_origin(script) as (origin, server):
        if not late:
            body.fail(RuntimeError("stream reset by the peer with code 7"))
        serving = asyncio.create_task(origin.serve(get(method="POST", length=None), body))
        if late:
            await until(lambda: bool(server.peers and server.peers[0].received))
            body.fail(RuntimeError("stream reset by the peer with code 7"))
        with pytest.raises(OriginError, match="Incoming request ended abruptly: stream reset by the peer"):
            await serving
        await until(lambda: not server.running)


@pytest.mark.usefixtures("each_loop")
async def test_a_body_that_breaks_off_in_mid_response_fails_the_response() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED + b"2\r\nhi\r\n")
        with contextlib.suppress(ConnectionError):
            await peer.rest()

    body = Body(end=False)
    async with http_origin(script) as (origin, _):
        response = await origin.serve(get(method="POST", length=None), body)
        assert await response.receive() == b"hi"
        body.fail(RuntimeError("gone"))
        with pytest.raises(OriginError, match="Incoming request ended abruptly: gone"):
            await response.receive()
        response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_without_chunked_encoding_a_body_gets_its_length() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"\r\nContent-Length: 6\r\n" in head
        assert b"Transfer-Encoding" not in head
        assert await peer.exactly(6) == b"abcdef"
        await peer.send(OK_HI)
        await peer.closed()

    body = Body(b"abc", end=False)
    async with http_origin(script, settings=OriginSettings(disable_chunked_encoding=True)) as (origin, _):
        serving = asyncio.create_task(origin.serve(get(method="POST", length=None), body))
        await asyncio.sleep(0.01)
        body.put(b"def")
        body.end()
        assert await read_all(await serving) == b"hi"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_without_chunked_encoding_a_large_body_must_tell_its_length() -> None:
    body = Body(*[b"x" * 65536] * 20)
    async with http_origin(answering(OK_HI), settings=OriginSettings(disable_chunked_encoding=True)) as (
        origin,
        server,
    ):
        with pytest.raises(OriginError, match="disableChunkedEncoding") as caught:
            await origin.serve(get(method="POST", length=None), body)
        assert caught.value.status == 411
        assert body.taken <= upload.MAX_MEASURED_BODY + upload.PIECE_BYTES
        assert not server.peers


@pytest.mark.usefixtures("each_loop")
async def test_server_sent_events_arrive_one_by_one() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK_HEAD + b"Content-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await peer.send(b"data: %d\n\n" % number)
            await go.wait()
            go.clear()

    async with http_origin(script) as (origin, _):
        response = await origin.serve(get(), Body())
        for number in range(3):
            assert await asyncio.wait_for(response.receive(), 30) == b"data: %d\n\n" % number
            assert response.receive_nowait() is None
            go.set()
        assert await response.receive() == b""
        await response.finish()


@pytest.mark.usefixtures("each_loop")
async def test_a_tcp_stream_is_no_http_request() -> None:
    async with http_origin(answering(OK_HI)) as (origin, _):
        with pytest.raises(OriginError):
            await origin.serve(get(kind=RequestKind.TCP), Body())
