"""HTTP/2 with the h2 library at the other end, as client and as server, in memory: both understand each other."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from pyconnector.transport.http2 import CLIENT_SETTINGS, SERVER_SETTINGS, Http2Connection, Http2Stream

HEAD = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"app.test"), (b":path", b"/")]


class Wire:
    """The socket of our end, which hands what is written to h2 and what h2 answers back."""

    def __init__(self, *, client: bool, **settings: int) -> None:
        self.ours: Http2Connection | None = None
        self.events: list[events.Event] = []
        self.closed = False
        self.h2 = H2Connection(H2Configuration(client_side=not client, header_encoding=None))
        self.h2.initiate_connection()
        self.h2.update_settings({getattr(SettingCodes, name.upper()): value for name, value in settings.items()})

    def write(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        asyncio.get_running_loop().call_soon(self.send)

    def send(self) -> None:
        """Give our end what h2 has to say."""
        if self.ours is not None and (data := self.h2.data_to_send()) and not self.closed:
            self.ours.socket_received(data)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    def close(self) -> None:
        self.closed = True
        if self.ours is not None:
            asyncio.get_running_loop().call_soon(self.ours.socket_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, _name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def connected(*, client: bool, **settings: int) -> tuple[Wire, Http2Connection]:
    wire = Wire(client=client, **settings)
    chosen = CLIENT_SETTINGS if client else SERVER_SETTINGS
    ours = Http2Connection(cast("asyncio.Transport", wire), client=client, settings=chosen)
    wire.ours = ours
    wire.send()
    return wire, ours


async def settled() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def read(stream: Http2Stream) -> bytes:
    pieces = []
    while piece := await stream.receive():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(3))
async def test_a_client_on_h2_is_served(seed: int) -> None:
    draw = random.Random(seed)
    wire, ours = connected(client=False, initial_window_size=(1000, 65_535, 1_000_000)[seed])
    bodies = {}
    for stream_id in range(1, 17, 2):
        fields = [*HEAD, *((b"x-%d" % draw.randrange(50), draw.randbytes(30).hex().encode()) for _ in range(8))]
        if stream_id == 5:
            fields.append((b"x-large", b"v" * 40_000))  # goes on in further frames
        bodies[stream_id] = (fields, draw.randbytes(draw.choice((0, 1, 5000))), draw.randbytes(draw.choice((0, 9000))))
        weight = draw.choice((None, 10))
        wire.h2.send_headers(stream_id, fields, end_stream=not bodies[stream_id][1], priority_weight=weight)
        if body := bodies[stream_id][1]:
            wire.h2.send_data(stream_id, body, pad_length=draw.choice((None, 0, 200)))
            wire.h2.send_headers(stream_id, [(b"trailer", b"yes")], end_stream=True)
        wire.send()

    for fields, body, answer in bodies.values():
        stream = cast("Http2Stream", await asyncio.wait_for(ours.accept_stream(), 30))
        assert stream.head == fields
        assert await read(stream) == body
        assert stream.trailers == ([(b"trailer", b"yes")] if body else [])
        stream.send_head([(b":status", b"200"), (b"x-answer", b"%d" % stream.stream_id)])
        stream.send_nowait(answer)
        stream.send_trailers([(b"sum", b"1")])
    await settled()

    for stream_id, (_, _, answer) in bodies.items():
        data = b"".join(event.data for event in wire.of(events.DataReceived) if event.stream_id == stream_id)
        assert data == answer
    assert [dict(event.headers)[b":status"] for event in wire.of(events.ResponseReceived)] == [b"200"] * 8
    assert len(wire.of(events.StreamEnded)) == 8
    assert not ours.streams
    assert ours.closed is None


async def test_a_server_on_h2_is_asked() -> None:
    wire, ours = connected(client=True, max_concurrent_streams=10)
    for number in range(30):
        asked = [*HEAD, (b"x-number", b"n" * (40_000 if number == 3 else 3))]  # that one goes on in further frames
        stream = await ours.open_request(asked)
        stream.send_nowait(b"question" * 100, finish=True)
        await settled()
        assert len(wire.of(events.StreamEnded)) == number + 1
        assert wire.of(events.RequestReceived)[-1].headers == asked
        wire.h2.send_headers(stream.stream_id, [(b":status", b"103"), (b"link", b"</a>")])
        wire.h2.send_headers(stream.stream_id, [(b":status", b"200")])
        wire.h2.send_data(stream.stream_id, b"answer" * 100)
        wire.h2.send_headers(stream.stream_id, [(b"sum", b"2")], end_stream=True)
        wire.send()
        assert await stream.response() == [(b":status", b"200")]
        assert await read(stream) == b"answer" * 100
        assert stream.trailers == [(b"sum", b"2")]

    assert not ours.streams
    assert ours.closed is None


async def test_windows_that_a_new_setting_moves_are_kept() -> None:
    wire, ours = connected(client=False, initial_window_size=1000)
    wire.h2.send_headers(1, HEAD, end_stream=True)
    wire.send()
    stream = cast("Http2Stream", await ours.accept_stream())
    wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    wire.send()
    stream.send_nowait(bytes(5000), finish=True)
    await settled()
    assert not wire.of(events.DataReceived)

    wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 500, SettingCodes.HEADER_TABLE_SIZE: 0})
    wire.send()
    await settled()

    assert sum(len(event.data) for event in wire.of(events.DataReceived)) == 5000
    assert wire.of(events.StreamEnded)
    assert ours.closed is None


async def test_frames_for_streams_that_were_reset_are_passed_over() -> None:
    wire, ours = connected(client=False)
    for stream_id in (1, 3):
        wire.h2.send_headers(stream_id, HEAD)
    wire.send()
    gone = cast("Http2Stream", await ours.accept_stream())
    other = cast("Http2Stream", await ours.accept_stream())
    wire.h2.send_data(1, bytes(3000))
    wire.h2.increment_flow_control_window(10, 1)
    wire.h2.send_headers(1, [(b"x-late", b"1")], end_stream=True)
    late, before = wire.h2.data_to_send(), ours.consumed_total
    gone.reset()
    gone.stop()
    ours.socket_received(late)
    wire.h2.send_headers(5, [*HEAD, (b"x-late", b"1")], end_stream=True)
    wire.send()

    assert cast("Http2Stream", await ours.accept_stream()).head == [*HEAD, (b"x-late", b"1")]
    assert ours.consumed_total - before == 3000
    assert set(ours.streams) == {other.stream_id, 5}
    assert ours.closed is None
