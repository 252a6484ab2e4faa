"""Readers of the log who send their smallest frames without end, and take nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from pyconnector.connector.management.log_stream import LogStream
from pyconnector.connector.management.sessions import LogSession
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FRAMES_AT_ONCE, FrameDecoder
from tests.support.loop.turns import TurnMeter

MASK = b"abcd"
START = json.dumps({"type": "start_streaming"}).encode()
UNITS = {
    "pong": frames.masked_frame(frames.PONG, b"", MASK),
    "pieces of a message": frames.masked_frame(frames.CONTINUATION, b"", MASK).replace(b"\x80", b"\x00", 1),
    "start": frames.masked_frame(frames.TEXT, START, MASK),
}


class Flood:
    """What a reader sends, all of it there."""

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.taken = 0

    async def receive(self, limit: int = 65_536) -> bytes:
        data = self.wire[self.taken : self.taken + limit]
        self.taken += len(data)
        return data

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        return None


def stream_for(body: Flood) -> LogStream:
    def session(disconnect: Any) -> LogSession:
        return LogSession("me", UUID(int=7), random=lambda: 0.0, disconnect=disconnect)

    stream = LogStream([], session)
    stream.converse(body)
    return stream


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("readers", [1, 100])
@pytest.mark.parametrize("kind", UNITS)
async def test_tiny_frames_of_readers_take_turns(kind: str, readers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(FrameDecoder, "_header", meter.counting(FrameDecoder._header, lambda begin: 1))
    count = 5_000 // readers
    begun = frames.masked_frame(frames.TEXT, b"", MASK).replace(b"\x81", b"\x01", 1) if "pieces" in kind else b""
    streams = [stream_for(Flood(begun + UNITS[kind] * count)) for _ in range(readers)]
    with meter:
        await asyncio.gather(*map(_ended, streams))
    assert meter.total >= count * (1 if kind == "start" else readers)
    assert meter.most <= 2 * readers * FRAMES_AT_ONCE


async def _ended(stream: LogStream) -> None:
    while await stream.receive():
        pass
    stream.abort()


@pytest.mark.usefixtures("each_loop")
async def test_who_takes_no_answers_is_read_no_further() -> None:
    ping = frames.masked_frame(frames.PING, bytes(125), MASK)
    body = Flood(ping * 20_000)
    stream = stream_for(body)
    before = -1
    while before < body.taken:
        before = body.taken
        for _ in range(10):
            await asyncio.sleep(0)
    assert body.taken < len(body.wire) // 4
    assert stream.size < 1024 * 1024
    stream.abort()
