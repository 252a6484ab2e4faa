"""HTTP/3 over the aioquic engine, both ends ours: heads, bodies, datagrams, and what a peer may cost in one turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pyconnector.transport.buffers.connection import BufferedConnection
from pyconnector.transport.errors import ConnectionClosed, StreamBusy, StreamClosed, StreamReset, TransportError
from pyconnector.transport.http3 import Http3Connection, Http3Stream
from pyconnector.transport.http3 import stream as http3_stream
from pyconnector.transport.http3.connection import UNIDIRECTIONAL
from pyconnector.transport.http3.field_sections import FieldSections
from pyconnector.transport.http3.stream import DATAGRAMS_AHEAD, MAX_INTERIM
from pyconnector.transport.quic.aioquic_engine.stream import AioquicStream
from pyconnector.transport.settings import QuicSettings
from pyconnector.web.http3.frames import HEADERS, ErrorCode, Http3Error, encode_frame
from pyconnector.web.varints import encode_integer
from tests.support.loop.turns import TurnMeter
from tests.transport.pairs.qh3_pair import quic_pair

HEAD = [(b":method", b"CONNECT"), (b":authority", b"a:1")]
OK = [(b":status", b"200")]


@pytest.fixture(params=["aioquic", "qh3"])
def engine(request: pytest.FixtureRequest) -> str:
    """Which QUIC engine both ends are of."""
    return str(request.param)


def settings(engine: str, unidirectional: int = UNIDIRECTIONAL) -> QuicSettings:
    return QuicSettings(engine=engine, incoming_unidirectional=unidirectional)


@asynccontextmanager
async def pair_of(
    engine: str, unidirectional: int = UNIDIRECTIONAL
) -> AsyncIterator[tuple[BufferedConnection, BufferedConnection]]:
    chosen = settings(engine, unidirectional)
    async with asyncio.timeout(30), quic_pair(chosen, chosen) as (near, far):
        assert isinstance(near, BufferedConnection)
        assert isinstance(far, BufferedConnection)
        yield near, far


class Ends:
    """Both ends of a connection, and the requests that came."""

    def __init__(self, client: BufferedConnection, server: BufferedConnection) -> None:
        self.arrived: asyncio.Queue[Http3Stream] = asyncio.Queue()
        self.client = Http3Connection(client, client=True)
        self.server = Http3Connection(server, client=False)
        self.client.begin()
        self.server.begin(self.arrived.put_nowait)

    async def request(self) -> tuple[Http3Stream, Http3Stream]:
        """Open one; return both ends of it, the head read."""
        near = await self.client.open_request(HEAD)
        far = await self.arrived.get()
        assert await far.request() == HEAD
        return near, far


@asynccontextmanager
async def ends(engine: str) -> AsyncIterator[Ends]:
    async with pair_of(engine) as (client, server):
        made = Ends(client, server)
        await made.client.settled()
        await made.server.settled()
        yield made


@pytest.mark.usefixtures("each_loop")
async def test_bodies_pass_both_ways_behind_their_heads(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        with pytest.raises(StreamClosed, match="head"):
            far.send_nowait(b"x")
        far.send_head(OK)
        with pytest.raises(StreamBusy):
            far.send_head(OK)
        assert await near.response() == OK
        data = bytes(range(256)) * 2_000
        sending = asyncio.create_task(near.send(data))
        got = b""
        while len(got) < len(data):
            got += await far.receive(10_000)
        await sending
        assert got == data
        near.finish()
        assert await far.receive() == b""
        far.send_nowait(b"bye", finish=True)
        assert [await near.receive(), await near.receive()] == [b"bye", b""]
        assert near.peer_ended
        assert not both.client._requests
        assert not both.server._requests


async def test_interim_heads_are_passed_over(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        fields = both.server.fields
        for status in (b"100", b"103", b"200"):
            far._quic.send_nowait(encode_frame(HEADERS, fields.encode(0, [(b":status", status)])))
        assert await near.response() == OK


async def test_interim_heads_without_end_end_the_connection(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        interim = encode_frame(HEADERS, both.server.fields.encode(0, [(b":status", b"103")]))
        far._quic.send_nowait(interim * MAX_INTERIM)
        with pytest.raises(ConnectionClosed):
            await near.response()
        closed = await both.client.wait_closed()
        assert closed.code == ErrorCode.EXCESSIVE_LOAD


async def test_a_body_may_be_followed_by_no_head(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        near._quic.send_nowait(encode_frame(HEADERS, both.client.fields.encode(0, HEAD)))
        with pytest.raises(ConnectionClosed):
            await far.receive()
        assert (await both.client.wait_closed()).code == ErrorCode.FRAME_UNEXPECTED


async def test_a_request_without_a_head_ends_alone(engine: str) -> None:
    async with ends(engine) as both:
        stream = await both.client.quic.open_stream()
        stream.send_nowait(encode_integer(0x21) + b"\0", finish=True)
        broken = await both.arrived.get()
        with pytest.raises(StreamReset):
            await broken.request()
        broken.stop()
        near, _ = await both.request()
        assert both.server.closed is None
        near.reset()


async def test_a_stream_that_ends_within_a_frame_ends_the_connection(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        near._quic.send_nowait(b"\x00\x05abc", finish=True)
        assert await far.receive() == b"abc"
        with pytest.raises(ConnectionClosed):
            await far.receive()
        assert (await both.client.wait_closed()).code == ErrorCode.FRAME_ERROR


@pytest.mark.parametrize("wire", [b"\x00\x00", encode_integer(0x21) + b"\0", b"\x00\x01x"])
async def test_floods_of_tiny_frames_take_many_turns(engine: str, wire: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        near._quic.send_nowait(wire * 10_000 + b"\x00\x03end", finish=True)
        while far._quic.buffered < len(wire) * 10_000:  # all of it is there at once
            await asyncio.sleep(0.01)
        with TurnMeter() as meter:
            counted = meter.counting(far._next_piece, lambda data: http3_stream.FRAMES_A_TURN if data is None else 1)
            monkeypatch.setattr(Http3Stream, "_next_piece", lambda self, limit: counted(limit))
            got = b""
            while data := await far.receive():
                got += data
                await asyncio.sleep(0)
        assert got.endswith(b"end")
        assert meter.most <= 2 * http3_stream.FRAMES_A_TURN
        assert meter.turns >= 10_000 // 256  # whatever the constant is


async def test_datagrams_wait_for_whoever_takes_them_up_to_a_bound(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        for number in range(DATAGRAMS_AHEAD + 3):
            assert near.send_datagram(b"%d" % number)
        while far.datagrams_dropped < 3:
            await asyncio.sleep(0.01)
        got: list[bytes] = []
        far.set_datagram_handler(got.append)
        assert got == [b"%d" % number for number in range(DATAGRAMS_AHEAD)]
        assert near.send_datagram(b"at once")
        while got[-1] != b"at once":
            await asyncio.sleep(0.01)
        assert near.send_datagram(bytes(20_000)) is None
        near.reset()
        near.stop()
        far.reset()
        far.stop()
        while both.server._requests or both.client._requests:
            await asyncio.sleep(0.01)
        near.send_datagram(b"for no request")
        while not both.server.datagrams_dropped:
            await asyncio.sleep(0.01)


async def test_a_datagram_without_room_is_counted(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ends(engine) as both:
        near, _ = await both.request()
        monkeypatch.setattr(type(near._quic._connection), "send_datagram", lambda self, data: False)
        assert near.send_datagram(b"x") is False
        assert near.datagrams_dropped == 1


CONTROL = {
    "no settings": (b"\x00" + encode_frame(0x21, b"") + encode_frame(7, b"\0"), ErrorCode.MISSING_SETTINGS),
    "the end": (b"\x00" + encode_frame(4, b""), ErrorCode.CLOSED_CRITICAL_STREAM),
    "settings twice": (b"\x00" + encode_frame(4, b"") * 2, ErrorCode.FRAME_UNEXPECTED),
    "a head": (b"\x00" + encode_frame(4, b"") + encode_frame(1, b""), ErrorCode.FRAME_UNEXPECTED),
    "no number": (b"\x00" + encode_frame(4, b"") + encode_frame(7, b"\0\0"), ErrorCode.FRAME_ERROR),
    "a table": (b"\x02\x3f\xe1\x1f", ErrorCode.QPACK_ENCODER_STREAM_ERROR),
    "a push": (b"\x01\0", ErrorCode.ID_ERROR),
}


@pytest.mark.parametrize("name", CONTROL)
async def test_a_server_that_breaks_control_is_left(engine: str, name: str) -> None:
    wire, code = CONTROL[name]
    async with pair_of(engine) as (near, far):
        client = Http3Connection(near, client=True)
        client.begin()
        far.open_unidirectional().send_nowait(wire, finish=name == "the end")
        assert (await far.wait_closed()).code == code
        if client.peer_settings is None:
            with pytest.raises(ConnectionClosed):
                await client.settled()


async def test_a_second_control_stream_ends_the_connection(engine: str) -> None:
    async with ends(engine) as both:
        both.server.quic.open_unidirectional().send_nowait(b"\x00")
        assert (await both.client.wait_closed()).code == ErrorCode.STREAM_CREATION_ERROR


async def test_a_server_that_leaves_gets_no_more_requests(engine: str) -> None:
    async with ends(engine) as both:
        near, far = await both.request()
        both.server._control.send_nowait(encode_frame(7, b"\x04"))
        while not both.client.leaving:
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionClosed):
            await both.client.open_request(HEAD)
        far.send_head(OK)
        assert await near.response() == OK


async def test_a_server_opens_no_requests(engine: str) -> None:
    async with ends(engine) as both:
        (await both.server.quic.open_stream()).send_nowait(b"x")
        assert (await both.server.wait_closed()).code == ErrorCode.STREAM_CREATION_ERROR


def test_field_sections_do_not_grow_beyond_their_bound() -> None:
    sections = FieldSections()
    assert sections.decode(0, sections.encode(0, HEAD)) == HEAD
    with pytest.raises(Http3Error) as caught:
        sections.decode(4, b"\0\0" + b"\xff\x16" * 3_000)  # a long field of the static table, over and over
    assert caught.value.code is ErrorCode.EXCESSIVE_LOAD
    with pytest.raises(Http3Error) as caught:
        sections.decode(8, b"\x02\x80\x10")
    assert caught.value.code is ErrorCode.QPACK_DECOMPRESSION_FAILED


# -- streams of one direction ------------------------------------------------------------------------------------


async def test_unidirectional_streams_carry_one_way_and_are_bounded(engine: str) -> None:
    async with pair_of(engine, 2) as (near, far):
        for number in range(2):
            stream = near.open_unidirectional()
            stream.send_nowait(b"%d" % number, finish=True)
            opened = await far.accept_stream()
            assert [await opened.receive(), await opened.receive()] == [b"%d" % number, b""]
            assert await stream.receive() == b""
            with pytest.raises(TransportError):
                opened.send_nowait(b"back")
            opened.reset()
        with pytest.raises(TransportError, match="no more"):
            near.open_unidirectional()
        while near.streams or far.streams:  # acknowledged, and forgotten
            await asyncio.sleep(0.01)
        (await near.open_stream()).send_nowait(b"still up")
        assert await (await far.accept_stream()).receive() == b"still up"


async def test_a_peer_may_not_send_on_a_stream_that_is_ours_alone() -> None:
    async with pair_of("aioquic") as (near, far):
        stream = near.open_unidirectional()
        stream.send_nowait(b"x")
        opened = await far.accept_stream()
        assert isinstance(opened, AioquicStream)
        opened._send_state, opened.reset_code = 0, None  # as if it had two directions
        opened.send_nowait(b"back")
        assert (await near.wait_closed()).code == 0x3  # FLOW_CONTROL_ERROR


async def test_without_the_setting_there_are_none(engine: str) -> None:
    async with pair_of(engine, 0) as (near, _):
        with pytest.raises(TransportError):
            near.open_unidirectional()
        with pytest.raises(TransportError):
            Http3Connection(near, client=True)
