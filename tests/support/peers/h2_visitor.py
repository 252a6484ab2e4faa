"""A visitor who speaks HTTP/2 with prior knowledge: one connection, many streams, and control over every frame."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from h2 import config, events
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

Fields = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class StreamLog:
    """What came back on one stream."""

    fields: Fields = field(default_factory=list)
    informational: list[int] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields | None = None
    header_ended: bool = False
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields)[b":status"])

    def field(self, name: bytes) -> bytes | None:
        found = [value for key, value in self.fields if key == name]
        assert len(found) <= 1, f"{name!r} is there {len(found)} times"
        return found[0] if found else None


class H2Visitor(asyncio.Protocol):
    """Keeps what arrives per stream. With `hold` it gives no credit for data until told to."""

    def __init__(self, *, settings: Mapping[int, int] | None = None, hold: bool = False) -> None:
        self.h2 = H2Connection(
            config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self.streams: dict[int, StreamLog] = {}
        self.goaway: int | None = None
        self.settings_seen: dict[int, int] = {}
        self.pongs = 0
        self.lost = False
        self._settings = settings or {}
        self._hold = hold
        self._owed: list[tuple[int, int]] = []
        self._change = asyncio.Event()

    async def __aenter__(self) -> H2Visitor:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.h2.initiate_connection()
        if self._settings:
            self.h2.update_settings(dict(self._settings))
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self._take(event)
        except ProtocolError:
            if self.goaway is None:
                raise
        self.flush()
        self._change.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._change.set()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():  # on uvloop it would raise
            self.transport.write(data)

    async def close(self) -> None:
        self.transport.abort()
        await self.until(lambda: self.lost)

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until something is so; fails where it never is."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._change.clear()
                await self._change.wait()

    # -- requests --------------------------------------------------------------------------------------------------

    def open(
        self,
        *more: tuple[bytes, bytes],
        method: bytes = b"GET",
        path: bytes = b"/",
        pseudo: Mapping[str, bytes | None] | None = None,
        end: bool = True,
    ) -> int:
        """Send a request's header; returns the stream's number. `pseudo` replaces pseudo-fields, None drops one."""
        values: dict[str, bytes | None] = {"method": method, "scheme": b"http", "authority": b"app.test", "path": path}
        values |= pseudo or {}
        fields = [(b":" + name.encode(), value) for name, value in values.items() if value is not None]
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = StreamLog()
        self.h2.send_headers(stream_id, [*fields, *more], end_stream=end)
        self.flush()
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send a body as far and as fast as the edge lets it."""
        position = 0
        while position < len(data):
            await self.until(lambda: self.h2.local_flow_control_window(stream_id) > 0)
            size = min(self.h2.local_flow_control_window(stream_id), 16_384, len(data) - position)
            self.h2.send_data(stream_id, data[position : position + size])
            self.flush()
            position += size
        if end:
            self.h2.end_stream(stream_id)
            self.flush()

    def reset(self, stream_id: int) -> None:
        self.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self.flush()

    async def answer(self, stream_id: int) -> StreamLog:
        """Wait for the end of a response, or its reset."""
        log = self.streams[stream_id]
        await self.until(lambda: log.ended or log.reset is not None or self.lost)
        return log

    async def ask(
        self,
        *more: tuple[bytes, bytes],
        method: bytes = b"GET",
        path: bytes = b"/",
        pseudo: Mapping[str, bytes | None] | None = None,
        body: bytes = b"",
    ) -> StreamLog:
        """Send a whole request and wait for its answer."""
        stream_id = self.open(*more, method=method, path=path, pseudo=pseudo, end=not body)
        if body:
            await self.send(stream_id, body, end=True)
        return await self.answer(stream_id)

    def give_credit(self) -> None:
        """Acknowledge what was held back, and all that follows."""
        self._hold = False
        owed, self._owed = self._owed, []
        for stream_id, count in owed:
            self.h2.acknowledge_received_data(count, stream_id)
        self.flush()

    def _take(self, event: Any) -> None:
        log = self.streams.get(getattr(event, "stream_id", 0) or 0, StreamLog())
        if isinstance(event, events.ResponseReceived):
            log.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            log.header_ended = event.stream_ended is not None
        elif isinstance(event, events.InformationalResponseReceived):
            log.informational.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, events.DataReceived):
            log.body += event.data
            if self._hold:
                self._owed.append((event.stream_id, event.flow_controlled_length))
            else:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            log.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.StreamEnded):
            log.ended = True
        elif isinstance(event, events.StreamReset):
            log.reset = int(event.error_code or 0)
        elif isinstance(event, events.RemoteSettingsChanged):
            self.settings_seen |= {int(code): change.new_value for code, change in event.changed_settings.items()}
        elif isinstance(event, events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)


async def h2_visitor(
    address: tuple[str, int],
    *,
    settings: Mapping[int, int] | None = None,
    hold: bool = False,
    receive_buffer: int | None = None,
) -> H2Visitor:
    """Connect to an edge; `receive_buffer` keeps the system from taking much that is not read."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        _, visitor = await loop.create_connection(lambda: H2Visitor(settings=settings, hold=hold), sock=sock)
    except BaseException:
        sock.close()
        raise
    return visitor
