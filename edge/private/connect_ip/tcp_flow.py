"""One TCP connection of a client: accepted when its destination is reached, then bytes both ways to their own ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.connect_ip.flow import IpFlow, error_of
from pyconnector.edge.private.gateway.flows import reach
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.protocol.proxying.handshake import Verdict
from pyconnector.transport.errors import TransportError
from pyconnector.transport.ip.tcp.values import Ended, State

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.connect_ip.tunnel import IpTunnel
    from pyconnector.protocol.proxying.handshake import Connect
    from pyconnector.transport.ip.tcp.connection import Connection

#: Bytes that are carried at once.
PIECE: Final = 64 * 1024


class _Gone(Exception):
    """The client's connection is over."""


class TcpFlow(IpFlow):
    """See the module. Run it in `task`."""

    def __init__(self, tunnel: IpTunnel, connection: Connection, request: Connect) -> None:
        super().__init__(tunnel, "tcp", request)
        self._connection = connection
        self._changed = (asyncio.Event(), asyncio.Event())
        connection.on_change = self._on_change

    async def run(self) -> None:
        """Carry it to its end. Cancel breaks it off."""
        connection, record = self._connection, self.record
        whole = False
        try:
            exchange = await reach(self._gateway, self, self._request)
            try:
                exchange.stream.read_for(self._tunnel)  # what this client does not take is given up together
                connection.accept(self._tunnel.now)
                self._tunnel.wake()
                await self._join(exchange)
                whole = True
            finally:
                exchange.abort()
        except Refused as refused:
            note_refusal(record, refused)
            if refused.verdict is Verdict.UNREACHABLE:
                connection.refuse()
            else:
                self._tunnel.stack.refuse_connection(connection, error_of(refused), self._tunnel.now)
        except _Gone:
            timed_out = connection.ended is Ended.TIMEOUT
            record.reason = CloseReason.CLIENT_ERROR if timed_out else CloseReason.CLIENT_CLOSED
        except TransportError:
            record.reason = CloseReason.ORIGIN_ERROR
        finally:
            if not whole:
                connection.abort()
                connection.forget()
            connection.on_change = _nothing
            self._tunnel.wake()
            self._finish()

    async def _join(self, exchange: Exchange) -> None:
        up = self._gateway.tasks.start(self._upload(exchange), "edge connect-ip upload")
        try:
            await self._download(exchange)
            if not up.done():
                self.record.reason = CloseReason.ORIGIN_CLOSED
            await up
            if self.record.reason is CloseReason.UNKNOWN:
                self.record.reason = CloseReason.CLIENT_CLOSED
            exchange.close()
        finally:
            up.cancel()

    async def _download(self, exchange: Exchange) -> None:
        connection, source, tunnel = self._connection, exchange.stream, self._tunnel
        data = exchange.leftover
        while True:
            while data:
                room = connection.room
                if room <= 0:
                    await self._change(0)
                    continue
                piece, data = data[:room], data[room:]
                connection.write(piece, tunnel.now)
                self.record.received += len(piece)
                tunnel.wake()
            received = source.receive_nowait(PIECE)
            data = await source.receive(PIECE) if received is None else received
            if not data:
                connection.finish(tunnel.now)
                tunnel.wake()
                return

    async def _upload(self, exchange: Exchange) -> None:
        connection, target = self._connection, exchange.stream
        wanted = True
        while True:
            data = connection.read(PIECE)
            if not data:
                if connection.peer_ended:
                    if wanted:
                        target.finish()
                    return
                await self._change(1)
                continue
            self._tunnel.wake()  # its window may have grown
            self.record.sent += len(data)
            try:
                if wanted and target.send_nowait(data):
                    await target.drain()
            except TransportError:
                wanted = False  # the destination wants no more of it; its answer may come nevertheless

    async def _change(self, which: int) -> None:
        """Wait until something changed. Raises `_Gone` where the connection is over."""
        if self._connection.state is State.CLOSED:
            raise _Gone
        event = self._changed[which]
        event.clear()
        await event.wait()

    def _on_change(self) -> None:
        connection = self._connection
        for event in self._changed:
            event.set()
        if connection.state is State.CLOSED and connection.ended in {Ended.RESET, Ended.TIMEOUT}:
            self.cut_off(*_ENDINGS[connection.ended])


def _nothing() -> None:
    """Nobody is told any more."""


_ENDINGS: Final = {
    Ended.RESET: (CloseReason.CLIENT_CLOSED, Ended.RESET.value),
    Ended.TIMEOUT: (CloseReason.CLIENT_ERROR, Ended.TIMEOUT.value),
}
