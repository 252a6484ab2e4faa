"""The gRPC origin, over HTTP/2 without TLS: /BEHAVIOUR/NUMBER/SIZE, messages up, messages down, trailers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, cast

from h2 import config, events
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from bench.stress.body import Wrong, check_body, make_body

if TYPE_CHECKING:
    from bench.stress.ledger import Ledger

_LARGEST_FRAME = 16_384


def message(body: bytes) -> bytes:
    """Return one gRPC message: a flag, a length, and the bytes."""
    return b"\0" + len(body).to_bytes(4, "big") + body


class Call:
    """One stream."""

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.room = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class GrpcOrigin(asyncio.Protocol):
    """One connection."""

    def __init__(self, ledger: Ledger, held: set[GrpcOrigin]) -> None:
        self.h2 = H2Connection(config.H2Configuration(client_side=False, header_encoding=None))
        self._ledger = ledger
        self._held = held
        self._calls: dict[int, Call] = {}
        self._leaving = False
        self._last = 1 << 31
        "The last stream that is served; later ones may be sent again elsewhere, and must not be served here too."

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._held.add(self)
        self.transport = cast("asyncio.Transport", transport)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self)
        for call in self._calls.values():
            if call.task is not None:
                call.task.cancel()

    def flush(self) -> None:
        if (data := self.h2.data_to_send()) and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self._take(event)
        except ProtocolError as error:
            # After our GOAWAY the library refuses what was sent before it was heard.
            if not self._leaving:
                self._ledger.finding(f"at the gRPC origin: {type(error).__name__}: {error}")
            self.transport.abort()
            return
        self.flush()

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            if event.stream_id <= self._last:
                call = self._calls[event.stream_id] = Call()
                call.fields = dict(event.headers)
        elif isinstance(event, events.DataReceived):
            if event.stream_id <= self._last:
                self._calls[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded) and event.stream_id <= self._last:
            call = self._calls[event.stream_id]
            call.task = asyncio.get_running_loop().create_task(self._serve(event.stream_id, call), name="grpc call")
            call.task.add_done_callback(self._done)
        elif isinstance(event, events.StreamReset):
            if (gone := self._calls.pop(event.stream_id, None)) and gone.task is not None:
                gone.task.cancel()
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            for call in self._calls.values():
                call.room.set()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ledger.finding(f"at the gRPC origin: {type(error).__name__}: {error}")

    async def _serve(self, stream_id: int, call: Call) -> None:
        try:
            _, behaviour, number, size = call.fields[b":path"].decode().split("/")
            self._check(call, int(number))
            await self._answer(stream_id, call, behaviour, int(number), int(size))
        except ProtocolError:
            if stream_id in self._calls and not self._leaving:
                raise
        finally:
            self._calls.pop(stream_id, None)
            self.flush()

    def _check(self, call: Call, number: int) -> None:
        data = bytes(call.body)
        try:
            if int.from_bytes(data[1:5], "big") != len(data) - 5:
                raise Wrong(f"the message of call {number} has {len(data)} bytes and ended")
            check_body(data[5:], number, whose="the message of call")
        except Wrong as error:
            self._ledger.finding(f"wrong: {error}")
        self._ledger.arrived(number)

    async def _answer(self, stream_id: int, call: Call, behaviour: str, number: int, size: int) -> None:
        dice = random.Random(number)
        head: list[Any] = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"x-number", b"%d" % number)]
        if behaviour == "late":
            await asyncio.sleep(dice.uniform(0, 0.2))
        if behaviour == "error":
            self.h2.send_headers(stream_id, [*head, (b"grpc-status", b"13")], end_stream=True)
            return
        self.h2.send_headers(stream_id, head)
        data = message(make_body(number, size))
        if behaviour == "cut":
            await self._send(stream_id, call, data[: dice.randrange(len(data))])
            self.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            return
        while data:
            count = dice.randint(1, len(data)) if behaviour == "pieces" else len(data)
            await self._send(stream_id, call, data[:count])
            data = data[count:]
            if data and dice.random() < 0.5:
                await asyncio.sleep(dice.uniform(0, 0.01))
        self.h2.send_headers(stream_id, [(b"grpc-status", b"0"), (b"x-hash", b"%d" % number)], end_stream=True)
        if behaviour == "goaway":
            self.shut()

    def shut(self) -> None:
        """Say that no new streams are taken, and go when the old ones are over."""
        if self._leaving or self.transport.is_closing():
            return
        self._leaving = True
        # By hand: the library's own way ends the streams under way.
        self._last = max(self.h2.highest_inbound_stream_id, 1)
        self.flush()
        self.transport.write(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + self._last.to_bytes(4, "big") + b"\0\0\0\0")
        self._wind_down(200)

    def _wind_down(self, tries: int) -> None:
        if len(self._calls) > 1 and tries:
            asyncio.get_running_loop().call_later(0.01, self._wind_down, tries - 1)
        else:
            self.transport.close()

    async def _send(self, stream_id: int, call: Call, data: bytes) -> None:
        while data:
            count = min(self.h2.local_flow_control_window(stream_id), _LARGEST_FRAME, len(data))
            if count <= 0:
                self.flush()
                call.room.clear()
                await call.room.wait()
                continue
            self.h2.send_data(stream_id, data[:count])
            data = data[count:]
            self.flush()
