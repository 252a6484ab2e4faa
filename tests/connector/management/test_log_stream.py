"""A reader of the log and what it gets, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest

from pyconnector.connector.management import sessions
from pyconnector.connector.management.log_stream import IDLE_TIMEOUT, LogStream
from pyconnector.connector.management.messages import MAX_MESSAGE
from pyconnector.connector.management.sessions import WINDOW, LogSession
from pyconnector.connector.observe.log import HTTP, Log, fields
from pyconnector.connector.observe.log_taps import NOBODY, TAPS, logging_as
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import Control, FrameDecoder, Piece

pytestmark = pytest.mark.usefixtures("virtual_time")

ME = UUID(int=7)
MASK = b"abcd"


class Body:
    """What the reader sends."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()

    def say(self, opcode: int, payload: bytes) -> None:
        self.sent.put_nowait(frames.masked_frame(opcode, payload, MASK))

    async def receive(self, limit: int = 65_536) -> bytes:
        return await self.sent.get()

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        return self.sent.get_nowait() if not self.sent.empty() else None


class Reader:
    """One reader with its stream."""

    def __init__(self, actor: str = "me", random: float = 0.0) -> None:
        self.body = Body()
        self.stream = LogStream(
            [], lambda disconnect: LogSession(actor, ME, random=lambda: random, disconnect=disconnect)
        )
        self._decoder = FrameDecoder(masked=False)
        self._found: list[Piece | Control] = []
        self.stream.converse(self.body)

    def start(self, **filters: Any) -> None:
        self.body.say(frames.TEXT, json.dumps({"type": "start_streaming", "filters": filters or None}).encode())

    def stop(self) -> None:
        self.body.say(frames.TEXT, b'{"type":"stop_streaming"}')

    async def frame(self) -> Piece | Control | None:
        while not self._found:
            data = await self.stream.receive()
            if not data:
                return None
            self._found = self._decoder.feed(data)
        return self._found.pop(0)

    async def line(self) -> dict[str, Any]:
        while True:
            found = await self.frame()
            assert found is not None
            if isinstance(found, Piece):
                (line,) = json.loads(found.payload)["logs"]
                assert isinstance(line, dict)
                return line

    async def close_code(self) -> int:
        while True:
            found = await self.frame()
            assert found is not None
            if isinstance(found, Control) and found.opcode == frames.CLOSE:
                assert await self.frame() is None, "nothing follows"
                return frames.close_code(found.payload)


@contextlib.asynccontextmanager
async def reader(actor: str = "me", **options: Any) -> AsyncIterator[Reader]:
    made = Reader(actor, **options)
    try:
        yield made
    finally:
        made.stream.abort()
        await asyncio.sleep(0.1)
        assert TAPS.level == NOBODY or sessions._streaming


async def run(test: Coroutine[Any, Any, None]) -> None:
    await test
    assert TAPS.level == NOBODY
    assert not sessions._streaming


async def settle() -> None:
    await asyncio.sleep(0.1)


async def test_lines_come_whatever_the_log_itself_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pyconnector")
    log = Log("test", {"connIndex": 1}, kind=HTTP)

    assert not log.isEnabledFor(logging.DEBUG)
    async with reader() as one:
        log.info("before")
        one.start()
        await settle()
        assert log.isEnabledFor(logging.DEBUG)
        log.debug("%s asked", "who", **fields(token="hush", path="/x"))
        line = await one.line()
        assert line.pop("time").endswith("Z")
        assert line == {
            "message": "who asked",
            "event": "http",
            "fields": {"connIndex": 1, "token": "*****", "path": "/x"},
        }
        log.error("broken")
        assert (await one.line())["level"] == "error"
    assert [record.getMessage() for record in caplog.records] == ["broken"]


async def test_filters_choose_level_kind_and_share() -> None:
    general, http = Log("test"), Log("test", kind=HTTP)

    async with reader(random=0.49) as one:
        one.start(level="info", events=["http"], sampling=0.5)
        await settle()
        general.error("of another kind")
        http.debug("below")
        http.info("this")
        assert (await one.line())["message"] == "this"
    async with reader(random=0.5) as other:
        other.start(sampling=0.5)
        await settle()
        http.info("left out")
        other.stop()
        other.start()
        await settle()
        http.info("seen")
        assert (await other.line())["message"] == "seen"


async def test_lines_of_other_connectors_of_the_process_are_not_shown() -> None:
    log = Log("test")

    async with reader() as one:
        one.start()
        await settle()
        with logging_as(uuid4()):
            log.info("somebody else's")
        with logging_as(ME):
            log.info("mine")
        log.info("of the process")
        assert [(await one.line())["message"] for _ in range(2)] == ["mine", "of the process"]


async def test_lines_that_nobody_takes_are_dropped() -> None:
    log = Log("test")

    async with reader() as one:
        one.start()
        await settle()
        for number in range(3 * WINDOW):
            log.info("%d", number)
        await settle()
        log.info("last")
        told = [(await one.line())["message"] for _ in range(WINDOW + 1)]
        assert told == [*map(str, range(WINDOW)), "last"]
        assert one.stream._session.dropped == 2 * WINDOW


async def test_a_reader_who_takes_nothing_holds_little() -> None:
    log = Log("test")

    async with reader() as one:
        one.start()
        for _ in range(1000):
            await settle()
            log.info("x" * 2000)
        assert one.stream.size < 320 * 1024


async def test_one_reads_at_a_time_and_the_same_one_begins_anew() -> None:
    async with reader("a") as first, reader("b") as other, reader("a") as again:
        first.start()
        await settle()
        other.start()
        assert await other.close_code() == 4002
        again.start()
        assert await first.close_code() == 1000
        await settle()
        Log("test").info("here")
        assert (await again.line())["message"] == "here"


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (frames.BINARY, b'{"type":"start_streaming"}', 1003),
        (frames.TEXT, b"hello", 1003),
        (frames.TEXT, b'{"type":"dance"}', 1003),
        (frames.TEXT, b'{"type":"start_streaming","filters":{"level":"loud"}}', 4001),
        (frames.TEXT, b" " * (MAX_MESSAGE + 1), 1003),
        (frames.CLOSE, (1000).to_bytes(2), 1000),
    ],
)
async def test_the_conversation_ends_with_a_code(opcode: int, payload: bytes, code: int) -> None:
    async with reader() as one:
        if opcode == frames.CLOSE:
            one.body.say(opcode, payload)
        else:
            one.body.sent.put_nowait(_large_frame(opcode, payload))
        assert await one.close_code() == code


def _large_frame(opcode: int, payload: bytes) -> bytes:
    return frames.masked_frame(opcode, payload, MASK)


async def test_who_streams_nothing_is_sent_away_and_who_streams_is_not() -> None:
    loop = asyncio.get_running_loop()
    async with reader() as one:
        assert await one.close_code() == 4003
        assert loop.time() == pytest.approx(IDLE_TIMEOUT, abs=1)
    async with reader() as other:
        other.start()
        await asyncio.sleep(2 * IDLE_TIMEOUT)
        Log("test").info("still there")
        assert (await other.line())["message"] == "still there"
        other.stop()
        assert await other.close_code() == 4003


async def test_pings_are_answered_and_sent() -> None:
    async with reader() as one:
        one.body.say(frames.PING, b"hi")
        pong, ping = await one.frame(), await one.frame()
        assert isinstance(pong, Control)
        assert (pong.opcode, pong.payload) == (frames.PONG, b"hi")
        assert isinstance(ping, Control)
        assert ping.opcode == frames.PING
