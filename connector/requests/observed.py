"""An exchange that is observed: what goes through it is noted in a record, and observers are told of its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.requests.exchange import Exchange
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pyconnector.connector.observe.observer import Observer, RequestRecord
    from pyconnector.origins.base import ByteReader, OriginRequest


class ObservedExchange(Exchange):
    """Stands around the exchange of one form, for as long as its request is served."""

    __slots__ = ("_inner", "_observer", "_record", "body", "kind")

    def __init__(self, inner: Exchange, record: RequestRecord, observer: Observer) -> None:
        self._inner = inner
        self._record = record
        self._observer = observer
        self.kind = inner.kind
        self.body: ByteReader = _CountedReader(inner.body, record)

    def __repr__(self) -> str:
        return f"<ObservedExchange {self._inner!r}>"

    def request(self) -> OriginRequest:
        """See `Exchange.request`."""
        try:
            request = self._record.request = self._inner.request()
        except ProtocolError:
            self._record.claimed = self._inner.claimed()
            raise
        return request

    def claimed(self) -> tuple[str, str]:
        """See `Exchange.claimed`."""
        return self._inner.claimed()

    @property
    def number(self) -> int:
        """See `Exchange.number`."""
        return self._inner.number

    def read_for(self, reader: Hashable) -> None:
        """See `Exchange.read_for`."""
        self._inner.read_for(reader)

    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], *, tunnel: bool = False) -> None:
        """See `Exchange.respond`."""
        self._inner.respond(status, headers, tunnel=tunnel)
        self._record.status = status
        self._observer.head(self._record)

    def acknowledge(self) -> None:
        """See `Exchange.acknowledge`."""
        self._inner.acknowledge()
        self._observer.head(self._record)

    def send_nowait(self, data: bytes) -> bool:
        """See `Exchange.send_nowait`."""
        self._record.bytes_out += len(data)
        return self._inner.send_nowait(data)

    def flush(self) -> bool:
        """See `Exchange.flush`."""
        return self._inner.flush()

    async def drain(self) -> None:
        """See `Exchange.drain`. Cancel at any time."""
        await self._inner.drain()

    def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """See `Exchange.finish`."""
        self._record.bytes_out += len(data)
        self._inner.finish(data, trailers)

    def fail(self, reason: str, status: int = 502, *, rate_limited: bool = False) -> None:
        """See `Exchange.fail`."""
        self._record.status, self._record.error = status, reason
        self._observer.head(self._record)
        self._inner.fail(reason, status, rate_limited=rate_limited)

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._inner.abort()


class _CountedReader:
    """A request's body whose bytes are counted."""

    __slots__ = ("_body", "_record")

    def __init__(self, body: ByteReader, record: RequestRecord) -> None:
        self._body = body
        self._record = record

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `ByteReader.receive`. Cancel at any time: no byte is lost."""
        data = await self._body.receive(limit)
        self._record.bytes_in += len(data)
        return data

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `ByteReader.receive_nowait`."""
        data = self._body.receive_nowait(limit)
        if data:
            self._record.bytes_in += len(data)
        return data
