"""One TCP connection of a device: reached through its tunnel, then bytes both ways, each direction to its own end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.edge.private.gateway.flows import reach
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.wireguard import flow
from pyconnector.edge.private.wireguard.flow import PIECE, DeviceFlow, close_refused
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.gateway.records import FlowRecord
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.wireguard.library import DeviceStream
    from pyconnector.protocol.proxying.handshake import Connect


class TcpFlow(DeviceFlow):
    """See the module."""

    def __init__(self, gateway: Gateway, stream: DeviceStream, record: FlowRecord) -> None:
        super().__init__(gateway, stream, record)
        self._last = 0.0
        self._half_closed = False
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, request: Connect) -> None:
        """Carry it to its end. Cancel closes it."""
        try:
            exchange = await reach(self._gateway, self, request)
            try:
                self._look_idle()
                await self._join(exchange)
            finally:
                exchange.abort()
        except Refused as refused:
            note_refusal(self.record, refused)
            await close_refused(self._stream)
        finally:
            if self._idle is not None:
                self._idle.cancel()
            self._finish()

    async def _join(self, exchange: Exchange) -> None:
        record = self.record
        up = self._gateway.tasks.start(self._upload(exchange), "edge wireguard upload")
        try:
            await self._download(exchange)
            if not up.done():
                record.reason = CloseReason.ORIGIN_CLOSED
            self._half_closed = True
            self._look_idle()
            await up
            if record.reason is CloseReason.UNKNOWN:
                record.reason = CloseReason.CLIENT_CLOSED
            exchange.close()
        except TransportError:
            record.reason = CloseReason.ORIGIN_ERROR
        except OSError:
            record.reason = CloseReason.CLIENT_CLOSED
        finally:
            up.cancel()

    async def _download(self, exchange: Exchange) -> None:
        stream, source, record = self._stream, exchange.stream, self.record
        data = exchange.leftover
        while True:
            if data:
                record.received += len(data)
                self._touch()
                stream.write(data)
                await stream.drain()  # so that the library holds one piece at most
            received = source.receive_nowait(PIECE)
            data = await source.receive(PIECE) if received is None else received
            if not data:
                stream.write_eof()
                return

    async def _upload(self, exchange: Exchange) -> None:
        target, record = exchange.stream, self.record
        try:
            while data := await self._stream.read(PIECE):
                record.sent += len(data)
                self._touch()
                if target.send_nowait(data):
                    await target.drain()
            target.finish()
            self._half_closed = True
            self._look_idle()
        except TransportError:
            return  # the destination wants no more of it; its answer may come nevertheless

    def _touch(self) -> None:
        self._last = asyncio.get_running_loop().time()

    def _look_idle(self) -> None:
        """End the flow once it was silent for too long; a device that vanished looks like one that sends no more."""
        loop = asyncio.get_running_loop()
        if self._idle is not None:
            self._idle.cancel()
        self._last = self._last or loop.time()
        at = self._last + (flow.HALF_CLOSED_SECONDS if self._half_closed else flow.IDLE_SECONDS)
        if at <= loop.time():
            self.cut_off(CloseReason.IDLE, "")
        else:
            self._idle = loop.call_at(at, self._look_idle)
