"""An HTTP/3 client made of aioquic alone, so that it shares nothing with what it tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection, Setting
from aioquic.h3.events import DatagramReceived, DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset


class DatagramH3(H3Connection):
    """aioquic's, which says that it takes datagrams (RFC 9297 5.1)."""

    says_datagrams = True

    def _get_local_settings(self) -> dict[int, int]:
        settings = super()._get_local_settings()
        return {**settings, Setting.H3_DATAGRAM: 1} if self.says_datagrams else settings


class PlainH3(DatagramH3):
    """One that does not."""

    says_datagrams = False


class Answer:
    """What came on one stream."""

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.body = b""
        self.datagrams: list[bytes] = []
        self.ended = False
        self.reset: int | None = None
        self.stopped: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields.get(b":status", b"0"))


class H3Visitor(QuicConnectionProtocol):
    """One connection; what it sends is sent at once."""

    h3_type: type[DatagramH3] = DatagramH3

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.h3 = self.h3_type(self._quic)
        self.answers: dict[int, Answer] = {}
        self.closed: ConnectionTerminated | None = None
        self._changed = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.closed = event
        elif isinstance(event, StreamReset):
            self.answer(event.stream_id).reset = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.answer(event.stream_id).stopped = event.error_code
        for each in self.h3.handle_event(event):
            self._h3_event(each)
        self._changed.set()

    def _h3_event(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self.answer(event.stream_id).fields = dict(event.headers)
            self.answer(event.stream_id).ended |= event.stream_ended
        elif isinstance(event, DataReceived):
            self.answer(event.stream_id).body += event.data
            self.answer(event.stream_id).ended |= event.stream_ended
        elif isinstance(event, DatagramReceived):
            self.answer(event.stream_id).datagrams.append(event.data)

    def answer(self, stream_id: int) -> Answer:
        return self.answers.setdefault(stream_id, Answer())

    async def until(self, met: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until something is so, or the connection is lost."""
        async with asyncio.timeout(seconds):
            while not met() and self.closed is None:
                self._changed.clear()
                await self._changed.wait()

    def open(self, *fields: tuple[bytes, bytes], end: bool = False) -> int:
        """Send a request's head."""
        stream_id = self._quic.get_next_available_stream_id()
        self.h3.send_headers(stream_id, list(fields), end)
        self.transmit()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        self.h3.send_data(stream_id, data, end)
        self.transmit()

    def send_datagram(self, stream_id: int, data: bytes) -> None:
        self.h3.send_datagram(stream_id, data)
        self.transmit()

    def send_raw(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes that need not be frames."""
        self._quic.send_stream_data(stream_id, data, end)
        self.transmit()

    def send_raw_datagram(self, data: bytes) -> None:
        self._quic.send_datagram_frame(data)
        self.transmit()

    def open_unidirectional(self, data: bytes, *, end: bool = False) -> int:
        stream_id = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self.send_raw(stream_id, data, end=end)
        return stream_id

    def open_raw(self, data: bytes, *, end: bool = False) -> int:
        """Open a request's stream with bytes that need not be frames."""
        stream_id = self._quic.get_next_available_stream_id()
        self.send_raw(stream_id, data, end=end)
        return stream_id

    def reset(self, stream_id: int, code: int = 0x10C) -> None:
        self._quic.reset_stream(stream_id, code)
        self.transmit()

    async def head(self, stream_id: int) -> Answer:
        """Wait for the head of an answer, or for the stream's end."""
        answer = self.answer(stream_id)
        await self.until(lambda: bool(answer.fields) or answer.reset is not None)
        return answer

    async def end(self, stream_id: int) -> Answer:
        """Wait for the end of an answer."""
        answer = self.answer(stream_id)
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer


class PlainVisitor(H3Visitor):
    """Takes no datagrams."""

    h3_type = PlainH3


@asynccontextmanager
async def h3_visitor(
    address: tuple[str, int], *, datagrams: bool = True, frame_size: int = 65_535
) -> AsyncIterator[H3Visitor]:
    """Connect to `address`, whatever its certificate says."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, max_datagram_frame_size=frame_size or None
    )
    made = H3Visitor if datagrams else PlainVisitor
    async with connect(*address, configuration=configuration, create_protocol=made) as protocol:
        yield cast("H3Visitor", protocol)
