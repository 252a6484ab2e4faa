"""TCP services reached over WebSocket frames."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame as ClientFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError, OriginResponse, RequestKind
from pyconnector.origins.net.dial import Endpoint
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, Inbox
from pyconnector.origins.tcp.stream import StreamOrigin
from pyconnector.origins.websocket import carriage
from pyconnector.web.websocket import frames
from tests.origins.support import get, until
from tests.support.peers.frames import Frame, masked, read_frames
from tests.support.peers.raw_origin import RawOrigin, Script, raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyconnector.origins.base import OriginRequest
    from tests.support.peers.raw_origin import Peer

pytestmark = pytest.mark.usefixtures("each_loop")

KEY = (b"Sec-Websocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")


def upgrade(kind: RequestKind = RequestKind.WEBSOCKET) -> OriginRequest:
    return get("/", KEY, kind=kind, length=None)


@contextlib.asynccontextmanager
async def stream_origin(script: Script, **settings: str) -> AsyncIterator[tuple[StreamOrigin, RawOrigin]]:
    async with raw_origin(script) as server:
        endpoint = Endpoint(host="127.0.0.1", port=server.port)
        yield StreamOrigin(endpoint, OriginSettings(**settings)), server  # type: ignore[arg-type]


async def rest(response: OriginResponse) -> list[Frame]:
    data = b""
    while piece := await asyncio.wait_for(response.receive(), 30):
        data += piece
    return read_frames(data)


def binary(*payloads: bytes) -> list[Frame]:
    return [Frame(frames.BINARY, payload, True) for payload in payloads]


async def echo(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await peer.some():
            await peer.send(data)


CLOSED = [Frame(frames.CLOSE, b"\x03\xe8", True)]


async def test_the_answer_is_101_with_the_accept_header() -> None:
    async with stream_origin(echo) as (origin, _):
        response = await origin.serve(upgrade(), Body(end=False))
        assert response.status == 101
        assert response.tunnel
        assert response.headers == [
            (b"Connection", b"Upgrade"),
            (b"Sec-Websocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (b"Upgrade", b"websocket"),
        ]
        response.abort()


async def test_a_plain_request_gets_101_too_and_without_a_key_no_headers() -> None:
    async with stream_origin(echo) as (origin, _):
        response = await origin.serve(get(kind=RequestKind.HTTP), Body())
        assert (response.status, response.headers) == (101, [])
        assert await rest(response) == CLOSED
        await response.finish()


async def test_bytes_come_back_in_binary_frames_and_close_is_answered() -> None:
    body = Body(end=False)
    async with stream_origin(echo) as (origin, server):
        response = await origin.serve(upgrade(), body)
        body.put(masked(frames.BINARY, b"hello"))
        assert read_frames(await response.receive()) == binary(b"hello")
        body.put(masked(frames.CLOSE, b"\x0f\xa0done"))
        assert await rest(response) == [Frame(frames.CLOSE, (4000).to_bytes(2), True)]
        await asyncio.wait_for(response.finish(), 30)
        await until(lambda: not server.running)


async def test_a_message_of_any_size_and_in_any_fragments_survives() -> None:
    payload = bytes(range(256)) * 4096  # 1 MiB

    async def sink(peer: Peer) -> None:
        assert await peer.exactly(len(payload) + 5) == payload + b"abcde"
        await peer.send(b"got it")
        await peer.closed()

    body = Body(end=False)
    async with stream_origin(sink) as (origin, _):
        response = await origin.serve(upgrade(), body)
        wire = (
            masked(frames.BINARY, payload)
            + masked(frames.TEXT, b"text is dropped")
            + masked(frames.BINARY, b"ab", fin=False)
            + masked(frames.PING, b"?")
            + masked(frames.CONTINUATION, b"cd", fin=False)
            + masked(frames.CONTINUATION, b"e")
        )
        for at in range(0, len(wire), 50_001):
            body.put(wire[at : at + 50_001])
        got = read_frames(await response.receive())
        if len(got) == 1:
            got += read_frames(await response.receive())
        assert got == [Frame(frames.PONG, b"?", True), *binary(b"got it")]
        response.abort()


async def test_the_end_of_the_service_is_a_close_frame_and_data_still_reaches_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"all I have to say")
        peer.half_close()
        assert await peer.rest() == b"heard you"

    body = Body(end=False)
    async with stream_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), body)
        assert await rest(response) == binary(b"all I have to say") + CLOSED
        finishing = asyncio.create_task(response.finish())
        body.put(masked(frames.BINARY, b"heard you"))
        body.put(masked(frames.CLOSE, b"\x03\xe8"))
        await asyncio.wait_for(finishing, 30)
        await until(lambda: not server.running)


async def test_the_visitors_end_without_a_close_is_half_a_close() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.rest() == b"question"
        await asyncio.sleep(0.02)
        await peer.send(b"answer")

    async with stream_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), Body(masked(frames.BINARY, b"question")))
        assert await rest(response) == binary(b"answer") + CLOSED
        await asyncio.wait_for(response.finish(), 30)


async def test_after_the_visitors_close_the_service_may_finish_but_not_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage, "CLOSE_LINGER", 0.05)

    async def finishing(peer: Peer) -> None:
        await peer.rest()
        await peer.send(b"last words")

    async def stubborn(peer: Peer) -> None:
        await peer.rest()
        await peer.send(b"last words")
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(b".")
                await asyncio.sleep(0.005)

    for script in (finishing, stubborn):
        async with stream_origin(script) as (origin, server):
            response = await origin.serve(upgrade(), Body(masked(frames.CLOSE, b"\x03\xe9"), end=False))
            got = await rest(response)
            assert got[0].payload.startswith(b"last words")
            assert got[-1] == Frame(frames.CLOSE, b"\x03\xe9", True)
            await asyncio.wait_for(response.finish(), 30)
            await until(lambda server=server: not server.running)  # type: ignore[misc]


async def test_a_visitor_who_never_answers_our_close_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage, "CLOSE_TIMEOUT", 0.05)

    async def script(peer: Peer) -> None:
        peer.half_close()
        with contextlib.suppress(ConnectionError):
            await peer.rest()

    async with stream_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), Body(end=False))
        assert await rest(response) == CLOSED
        await asyncio.wait_for(response.finish(), 30)
        await until(lambda: not server.running)


async def test_broken_frames_are_answered_and_break_the_service_off() -> None:
    async def script(peer: Peer) -> None:
        with pytest.raises(ConnectionResetError):
            await peer.rest()

    async with stream_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), Body(b"\x82\x05hello", end=False))
        [closed] = await rest(response)
        assert closed == Frame(frames.CLOSE, b"\x03\xeaa frame of the client is not masked", True)
        await asyncio.wait_for(response.finish(), 30)
        await until(lambda: not server.running)


async def test_a_service_that_breaks_off_is_a_close_with_1011() -> None:
    async def script(peer: Peer) -> None:
        await peer.some()
        peer.reset()

    async with stream_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), Body(masked(frames.BINARY, b"x"), end=False))
        [closed] = await rest(response)
        assert closed.payload[:2] == (1011).to_bytes(2)
        await asyncio.wait_for(response.finish(), 30)


@pytest.mark.parametrize("how", ["abort", "visitor"])
async def test_a_visitor_who_leaves_breaks_the_service_off_at_once(how: str) -> None:
    async def script(peer: Peer) -> None:
        with pytest.raises(ConnectionResetError):
            await peer.rest()

    body = Body(end=False)
    async with stream_origin(script) as (origin, server):
        response = await origin.serve(upgrade(), body)
        await asyncio.sleep(0.01)
        if how == "abort":
            response.abort()
        else:
            body.fail(RuntimeError("stream reset"))
        await until(lambda: not server.running, patience=0.1)
        response.abort()


async def test_pings_keep_an_idle_tunnel_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert carriage.PING_INTERVAL == 54.0
    monkeypatch.setattr(carriage, "PING_INTERVAL", 0.02)

    async with stream_origin(echo) as (origin, _):
        response = await origin.serve(upgrade(), Body(end=False))
        for _ in range(3):
            assert read_frames(await response.receive()) == [Frame(frames.PING, b"", True)]
        response.abort()


async def test_pings_of_a_visitor_who_does_not_read_are_not_piled_up() -> None:
    async def script(peer: Peer) -> None:
        peer.writer.write(bytes(4 << 20))
        with contextlib.suppress(ConnectionError):
            await peer.rest()

    body = Body(end=False)
    async with stream_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), body)
        assert isinstance(response, Inbox)
        await until(lambda: response.size > INBOX_HIGH_WATER)
        before = response.size
        body.put(b"".join(masked(frames.PING, b"%d" % number) for number in range(20_000)))
        await until(lambda: not body.pieces)
        assert response.size == before
        data = b""
        while len(data) < (4 << 20):
            data += await asyncio.wait_for(response.receive(), 30)
        pongs = data.count(b"\x8a\x0519999")
        assert pongs == 1, "the newest ping is answered, the others need not be"
        response.abort()


async def test_both_directions_are_bounded() -> None:
    async def script(peer: Peer) -> None:
        for _ in range(64):
            peer.writer.write(bytes(1 << 20))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        peer.writer.transport.abort()

    body = Body(*[masked(frames.BINARY, bytes(1 << 18))] * 256, end=False)
    async with stream_origin(script) as (origin, _):
        response = await origin.serve(upgrade(), body)
        before = -1
        while body.taken != before:
            before = body.taken
            await asyncio.sleep(0.05)
        assert isinstance(response, Inbox)
        assert response.size <= INBOX_HIGH_WATER + 256 * 1024 + 100
        assert body.taken < 32 << 20
        response.abort()


async def test_a_service_that_is_down_is_said_so_before_any_101() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for number, words in ((port, "refused the connection"), (0, "a port between 1 and 65535 is needed")):
        origin = StreamOrigin(Endpoint(host="127.0.0.1", port=number), OriginSettings())
        with pytest.raises(OriginError, match=words):
            await origin.serve(upgrade(), Body(end=False))


async def test_a_tcp_stream_by_address_is_not_for_a_rule() -> None:
    async with stream_origin(echo) as (origin, server):
        with pytest.raises(OriginError, match="by address"):
            await origin.serve(upgrade(RequestKind.TCP), Body(end=False))
        assert not server.peers


async def test_another_implementation_of_websocket_agrees() -> None:
    client = ClientProtocol(parse_uri("ws://app.test/"), state=State.OPEN, max_size=None)
    body = Body(end=False)
    async with stream_origin(echo) as (origin, _):
        response = await origin.serve(upgrade(), body)
        for size in (1, 200, 70_000):
            client.send_binary(bytes(size))
            body.put(b"".join(client.data_to_send()))
            got = 0
            while got < size:
                client.receive_data(await asyncio.wait_for(response.receive(), 30))
                for event in client.events_received():
                    assert isinstance(event, ClientFrame)
                    assert event.opcode == Opcode.BINARY
                    got += len(event.data)
            assert got == size
        client.send_close(1000)
        body.put(b"".join(client.data_to_send()))
        while data := await asyncio.wait_for(response.receive(), 30):
            client.receive_data(data)
        assert client.close_rcvd is not None
        assert client.close_rcvd.code == 1000
        await response.finish()
