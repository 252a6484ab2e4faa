"""Streams that the edge opens on a QUIC connection: their openings read, then served as requests or RPC (wire.md 3).

One task for each stream, and no timer and no other task where nothing has to be waited for, so that a small request
suspends only for its origin.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.connector.link.quic.exchange import QuicExchange
from pyconnector.connector.requests.running import RunningRequests
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.openings import OpeningDecoder, RpcOpening
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.connector.observe.log import Log
    from pyconnector.connector.requests.path import RequestPath
    from pyconnector.transport.seam import Stream

#: Seconds that a stream has to complete its opening.
OPENING_TIMEOUT = 10.0
#: Bytes of incomplete openings that one connection may hold; a stream that would go beyond is refused.
MAX_OPENING_BACKLOG = 8 * 1024 * 1024

#: What a stream stands for that is refused before its opening was read.
_UNREAD = ConnectRequest(dest="", type=ConnectionType.HTTP)


class DataStreams:
    """Serves every stream that the edge opens on one connection."""

    def __init__(self, path: RequestPath, *, serve_rpc: Callable[[Stream, bytes], Awaitable[None]], log: Log) -> None:
        self._path = path
        self._serve_rpc = serve_rpc
        self._log = log
        self._opening_backlog = 0
        self.running = RunningRequests(log)

    def __repr__(self) -> str:
        return f"<DataStreams active={self.running.active}>"

    def accept(self, stream: Stream) -> None:
        """Serve `stream` from here on. Does not wait and does not raise."""
        if reason := self.running.refusal:
            self._path.refuse(QuicExchange(stream, _UNREAD, b""), reason)
            stream.stop()
            return
        self.running.start(self._serve(stream), "edge stream")

    async def _serve(self, stream: Stream) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task(self.running.loop))
        stream.set_abort_callback(cast("Callable[[], None]", task.cancel))
        try:
            decoder = OpeningDecoder()
            data = stream.receive_nowait()
            opening = decoder.feed(data) if data else None
            if opening is None:
                opening = await self._wait_for_opening(stream, decoder, data)
            if isinstance(opening, RpcOpening):
                await self._serve_rpc(stream, decoder.leftover)
            else:
                await self._path.serve(QuicExchange(stream, opening, decoder.leftover))
            stream.finish()
            stream.stop()
        except BaseException as error:
            stream.reset()
            stream.stop()
            if isinstance(error, ProtocolError):
                self._log.warning("Refused a stream: %s", error)
            elif not isinstance(error, TransportError):
                raise
        finally:
            stream.set_abort_callback(None)

    async def _wait_for_opening(
        self, stream: Stream, decoder: OpeningDecoder, first: bytes | None
    ) -> ConnectRequest | RpcOpening:
        """Return what the stream declares itself to be, of which `first` was read already."""
        if first == b"":
            raise ProtocolError("it ended before it began")
        held = len(first or b"")
        self._opening_backlog += held
        try:
            async with asyncio.timeout(OPENING_TIMEOUT):
                while True:
                    data = await stream.receive()
                    if not data:
                        raise ProtocolError("it ended within its opening")
                    held += len(data)
                    self._opening_backlog += len(data)
                    opening = decoder.feed(data)
                    if opening is not None:
                        return opening
                    if self._opening_backlog > MAX_OPENING_BACKLOG:
                        raise ProtocolError("too many openings are incomplete at once")
        except TimeoutError:
            raise ProtocolError(f"its opening was not complete after {OPENING_TIMEOUT:g} s") from None
        finally:
            self._opening_backlog -= held
