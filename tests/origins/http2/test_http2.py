"""HTTP/2 to a local service with prior knowledge: what goes out, what comes back, and what breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from h2 import events
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.http2 import Http2Origin
from pyconnector.origins.http2 import origin as origin_module
from pyconnector.origins.http2.connection import FIRST_STREAMS, Http2Connection
from pyconnector.origins.http2.engine import STREAM_WINDOW
from pyconnector.origins.http2.origin import RETRY_WAITS
from pyconnector.origins.net.dial import Dialer, Endpoint
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER
from pyconnector.origins.net.offered_body import MAX_REPLAY
from tests.support.peers.h2_origin import H2Server, h2_server
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def request(method: str = "GET", target: str = "/a?b=%2F", **more: object) -> OriginRequest:
    values: dict[str, object] = {
        "kind": RequestKind.HTTP,
        "method": method,
        "target": target,
        "host": "grpc.test",
        "headers": [
            (b"X-Two", b"1"),
            (b"X-Two", b"2"),
            (b"Connection", b"X-Hop"),
            (b"X-Hop", b"1"),
            (b"Te", b"trailers"),
        ],
    }
    return OriginRequest(**{**values, **more})  # type: ignore[arg-type]


async def whole(response: OriginResponse) -> bytes:
    pieces = []
    while piece := await response.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def scenario(
    react: Callable[[H2Server, events.Event], None],
    play: Callable[[Http2Origin, list[H2Server]], Awaitable[None]],
    **settings: object,
) -> None:
    async with h2_server(react) as (port, made), asyncio.timeout(30):
        origin = Http2Origin(
            Endpoint(host="127.0.0.1", port=port),
            OriginSettings(**settings),  # type: ignore[arg-type]
            make_dialer=Dialer,
            fallback=None,
            tls=False,
        )
        await origin.start()
        try:
            await play(origin, made)
        finally:
            await origin.close()


def echo(server: H2Server, event: events.Event) -> None:
    if isinstance(event, events.DataReceived):
        server.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    if isinstance(event, events.StreamEnded):
        server.answer(event.stream_id, b"hello", trailers=[(b"grpc-status", b"0")])


async def test_a_request_and_its_response_with_trailers() -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request(), Body())
        assert (response.status, response.headers) == (200, [(b"x-one", b"1"), (b"x-one", b"2")])
        assert await whole(response) == b"hello"
        assert response.trailers == [(b"grpc-status", b"0")]
        await response.finish()
        head = next(event for event in made[0].seen if isinstance(event, events.RequestReceived))
        assert [(bytes(name), bytes(value)) for name, value in head.headers] == [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"grpc.test"),
            (b":path", b"/a?b=%2F"),
            (b"x-two", b"1"),
            (b"x-two", b"2"),
            (b"te", b"trailers"),
        ]

    await scenario(echo, play)


async def test_requests_share_a_connection() -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        responses = await asyncio.gather(*(origin.serve(request(), Body()) for _ in range(50)))
        assert [await whole(response) for response in responses] == [b"hello"] * 50
        assert len(made) == 1

    await scenario(echo, play)


async def test_an_upload_goes_past_every_window() -> None:
    sent = bytes(range(256)) * 4096

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request("POST", body_length=len(sent)), Body(sent))
        assert await whole(response) == b"hello"
        received = b"".join(event.data for event in made[0].seen if isinstance(event, events.DataReceived))
        assert received == sent

    await scenario(echo, play)


async def test_a_reader_that_takes_nothing_stops_the_origin() -> None:
    offered = 64 * 1024 * 1024

    def flood(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            started.append(event.stream_id)
        if started and isinstance(event, events.StreamEnded | events.WindowUpdated):
            stream_id = 1
            while (window := min(server.h2.local_flow_control_window(stream_id), 16_384)) > 0 and flooded[0] < offered:
                server.h2.send_data(stream_id, bytes(window))
                flooded[0] += window

    flooded = [0]
    started: list[int] = []

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request(), Body())
        before = -1
        while before != flooded[0]:
            before = flooded[0]
            await asyncio.sleep(0.05)
        assert flooded[0] <= STREAM_WINDOW + INBOX_HIGH_WATER + 65_536
        assert response.size <= flooded[0]  # type: ignore[attr-defined]
        taken = 0
        while taken < 8 * 1024 * 1024:
            taken += len(await response.receive())
        response.abort()

    await scenario(flood, play)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(ErrorCodes.INTERNAL_ERROR, "reset the stream with code 2"), (ErrorCodes.NO_ERROR, "no whole answer")],
)
async def test_a_reset_before_the_head_is_an_error(code: ErrorCodes, sentence: str) -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.h2.reset_stream(event.stream_id, code)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        with pytest.raises(OriginError, match=sentence):
            await origin.serve(request(), Body())

    await scenario(react, play)


async def test_a_reset_in_the_body_is_an_error_after_what_arrived() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.h2.send_headers(event.stream_id, [(b":status", b"200")])
            server.h2.send_data(event.stream_id, b"half")
            server.h2.reset_stream(event.stream_id, ErrorCodes.INTERNAL_ERROR)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request(), Body())
        assert await response.receive() == b"half"
        with pytest.raises(OriginError):
            await response.receive()

    await scenario(react, play)


async def test_a_refused_stream_is_tried_once_more() -> None:
    refused: list[int] = []

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            if not refused:
                refused.append(event.stream_id)
                server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            else:
                server.answer(event.stream_id, b"second")

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        assert await whole(await origin.serve(request("POST"), Body())) == b"second"

    await scenario(react, play)


@pytest.mark.parametrize("sent", [b"", b"all of it"])
async def test_a_refused_stream_is_tried_again_with_growing_waits(sent: bytes) -> None:
    early, late = [1, 3], [5, 7]  # before the body is whole, and after it

    def react(server: H2Server, event: events.Event) -> None:
        number = getattr(event, "stream_id", None)
        if isinstance(event, events.RequestReceived) and number in early:
            server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
        elif isinstance(event, events.StreamEnded) and number in late:
            server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
        elif isinstance(event, events.StreamEnded) and number not in early:
            pieces = [one for one in server.seen if isinstance(one, events.DataReceived) and one.stream_id == number]
            server.answer(event.stream_id, b"got " + b"".join(piece.data for piece in pieces))

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        response = await origin.serve(request("POST", body_length=len(sent)), Body(sent))
        assert await whole(response) == b"got " + sent
        await response.finish()
        assert len(made) == 1

    await scenario(react, play)


async def test_a_service_that_refuses_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = (0.0, 0.02, 0.04)
    monkeypatch.setattr(origin_module, "RETRY_WAITS", waits)
    refused: list[float] = []

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            refused.append(asyncio.get_running_loop().time())
            server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        with pytest.raises(OriginError, match="it refused the stream"):
            await origin.serve(request(), Body())
        gaps = [later - earlier for earlier, later in itertools.pairwise(refused)]
        assert len(gaps) == len(waits)
        assert all(gap > wait * 0.9 for gap, wait in zip(gaps, waits, strict=True)), gaps

    await scenario(react, play)


def test_waits_for_a_service_that_refuses_grow_to_seconds() -> None:
    """The reference waits 1, 2 and 4 s; a service that is busy for a moment gets through there, and must here."""
    assert list(RETRY_WAITS) == sorted(RETRY_WAITS)
    assert sum(RETRY_WAITS) > 5.0


async def test_a_body_too_long_to_keep_is_offered_once() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            received[0] += len(event.data)
            server.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if received[0] > MAX_REPLAY and not tries:
                tries.append(event.stream_id)
                server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)

    received = [0]
    tries: list[int] = []

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        body = Body(bytes(MAX_REPLAY * 4))
        with pytest.raises(OriginError, match="it refused the stream"):
            await origin.serve(request("POST", body_length=MAX_REPLAY * 4), body)

    await scenario(react, play)


async def test_a_burst_on_a_service_of_one_stream_is_answered() -> None:
    """Before its SETTINGS nobody knows its limit; each connection refuses all but one then (node with a limit of 1)."""
    most: list[int] = []

    def react(server: H2Server, event: events.Event) -> None:
        busy: set[int] = server.__dict__.setdefault("busy", set())
        if isinstance(event, events.RequestReceived):
            if busy:
                server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
                return
            busy.add(event.stream_id)
            most.append(event.stream_id)
            asyncio.get_running_loop().call_later(0.005, answer, server, event.stream_id)

    def answer(server: H2Server, stream_id: int) -> None:
        server.__dict__["busy"].discard(stream_id)
        server.answer(stream_id, b"x")
        server.flush()

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        responses = await asyncio.gather(*(origin.serve(request(), Body()) for _ in range(60)))
        assert [await whole(response) for response in responses] == [b"x"] * 60
        assert len(most) == 60

    def limited(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.RemoteSettingsChanged):
            server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        react(server, event)

    await scenario(limited, play)


async def test_a_limit_once_told_holds_for_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    assumed: list[int] = []

    class Watched(Http2Connection):
        def __init__(self, on_change: Callable[[Http2Connection], None], stream_limit: int) -> None:
            assumed.append(stream_limit)
            super().__init__(on_change, stream_limit)

    monkeypatch.setattr(origin_module, "Http2Connection", Watched)

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.RemoteSettingsChanged):
            server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 7})
        elif isinstance(event, events.StreamEnded):
            server.answer(event.stream_id, b"x")

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        for _ in range(2):
            assert await whole(await origin.serve(request(), Body())) == b"x"
            await _until(lambda: origin._connections[0].stream_limit == 7)
            origin._connections[0].close()
            await _until(lambda: not origin._connections)
        assert assumed == [FIRST_STREAMS, 7]

    await scenario(react, play)


async def test_requests_wait_for_a_stream_once_the_limit_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin_module, "MAX_CONNECTIONS", 2)

    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.RemoteSettingsChanged):
            server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        elif isinstance(event, events.StreamEnded):
            server.answer(event.stream_id, b"x")

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        assert await whole(await origin.serve(request(), Body())) == b"x"
        await _until(lambda: origin._connections[0].stream_limit == 1)
        responses = await asyncio.gather(*(origin.serve(request(), Body()) for _ in range(20)))
        assert [await whole(response) for response in responses] == [b"x"] * 20
        assert len(made) == 2

    await scenario(react, play)


async def test_after_goaway_a_new_connection_is_opened() -> None:
    def react(server: H2Server, event: events.Event) -> None:
        if isinstance(event, events.StreamEnded):
            server.answer(event.stream_id, b"x")
            server.h2.close_connection()

    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        for _ in range(3):
            assert await whole(await origin.serve(request(), Body())) == b"x"
        assert len(made) == 3

    await scenario(react, play)


async def test_cancelling_resets_the_stream_at_once() -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        serving = asyncio.ensure_future(origin.serve(request(), Body()))
        await _until(lambda: bool(made) and _saw(made[0], events.RequestReceived))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await _until(lambda: _saw(made[0], events.StreamReset))

    await scenario(lambda server, event: None, play)


@pytest.mark.parametrize(
    ("garbage", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP/1.1"),
        (b"\0\0\1\0\0\0\0\0\7x", "HTTP/2 is wrong"),
        (b"\xff\xff\xff\0\0\0\0\0\1" + bytes(600_000), "longer than allowed"),
    ],
)
async def test_garbage_is_one_clear_error(garbage: bytes, sentence: str) -> None:
    async def play(origin: Http2Origin) -> None:
        with pytest.raises(OriginError, match=sentence):
            await origin.serve(request(), Body())

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(garbage)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    endpoint = Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    origin = Http2Origin(endpoint, OriginSettings(), make_dialer=Dialer, fallback=None, tls=False)
    async with asyncio.timeout(30):
        await play(origin)
        await origin.close()
        await gone.wait()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "more",
    [
        {"headers": [(b"a\r\nb", b"1")]},
        {"headers": [(b"a", b"1\r\nb: 2")]},
        {"headers": [(b"a", b"1\0")]},
        {"target": "/a b"},
        {"target": "/a\nb"},
        {"host": "a\rb"},
        {"method": "GE T"},
    ],
)
async def test_what_would_break_out_is_refused(more: dict[str, object]) -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        with pytest.raises(OriginError) as caught:
            await origin.serve(request(**more), Body())  # type: ignore[arg-type]
        assert caught.value.status == 400
        assert not made

    await scenario(echo, play)


async def test_a_body_shorter_than_its_length_is_the_visitors_fault() -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        with pytest.raises(OriginError, match="shorter") as caught:
            await origin.serve(request("POST", body_length=10), Body(b"abc"))
        assert caught.value.status == 400

    await scenario(echo, play)


async def test_idle_connections_close_after_the_keepalive_timeout() -> None:
    async def play(origin: Http2Origin, made: list[H2Server]) -> None:
        assert await whole(await origin.serve(request(), Body())) == b"hello"
        await made[0].lost

    await scenario(echo, play, keepalive_timeout=0.05)


def _saw(server: H2Server, kind: type) -> bool:
    return any(isinstance(event, kind) for event in server.seen)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
