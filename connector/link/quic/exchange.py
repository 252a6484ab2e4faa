"""A QUIC data stream as an `Exchange` (wire.md 6 to 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.requests.exchange import MAX_REASON_CHARS, Exchange
from pyconnector.origins.base import OriginRequest, RequestKind
from pyconnector.protocol.http.headers import HOST_KEY, METHOD_KEY, RATE_LIMITED, STATUS_KEY, lookup, request_head
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import encode_connect_response, encode_response_head
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER, encode_data, encode_trailers

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pyconnector.origins.base import ByteReader
    from pyconnector.protocol.streams.connect import Metadata
    from pyconnector.transport.seam import Stream

#: A head is joined with a first piece of body up to this size; beyond it the copy would cost more than a second write.
JOIN_LIMIT = 32 * 1024

_ACKNOWLEDGEMENT = encode_connect_response(ConnectResponse())
_KINDS = {
    ConnectionType.HTTP: RequestKind.HTTP,
    ConnectionType.WEBSOCKET: RequestKind.WEBSOCKET,
    ConnectionType.TCP: RequestKind.TCP,
}


class QuicExchange(Exchange):
    """One data stream whose opening was read."""

    __slots__ = ("_framed", "_head", "_opening", "_stream", "body", "kind")

    def __init__(self, stream: Stream, opening: ConnectRequest, leftover: bytes) -> None:
        """`leftover` is what of the body arrived together with the opening."""
        self._stream = stream
        self._opening = opening
        self._head = b""  # of the answer, until the first piece of its body
        self._framed = False
        self.kind = _KINDS[opening.type]
        self.body: ByteReader = _Prefixed(leftover, stream) if leftover else stream

    def __repr__(self) -> str:
        return f"<QuicExchange {self.kind.value} stream={self._stream.stream_id}>"

    def request(self) -> OriginRequest:
        """See `Exchange.request`."""
        opening = self._opening
        if self.kind is RequestKind.TCP:
            return OriginRequest(
                kind=self.kind, method="", target="", host="", headers=[], body_length=None, destination=opening.dest
            )
        head = request_head(opening)
        return OriginRequest(
            kind=self.kind,
            method=head.method,
            target=head.target,
            host=head.host,
            headers=head.headers,
            body_length=head.body_length if self.kind is RequestKind.HTTP else None,
        )

    def claimed(self) -> tuple[str, str]:
        """See `Exchange.claimed`."""
        metadata = self._opening.metadata
        method, host = (lookup(metadata, key).decode("utf-8", "replace") for key in (METHOD_KEY, HOST_KEY))
        return method, host

    @property
    def number(self) -> int:
        """See `Exchange.number`."""
        return self._stream.stream_id

    def read_for(self, reader: Hashable) -> None:
        """See `Exchange.read_for`."""
        self._stream.read_for(reader)

    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], *, tunnel: bool = False) -> None:
        """See `Exchange.respond`."""
        framed = not tunnel and TRAILERS_OFFER in self._opening.metadata
        self._head = encode_response_head(status, headers, (TRAILERS_OFFER,) if framed else ())
        self._framed = framed

    def acknowledge(self) -> None:
        """See `Exchange.acknowledge`."""
        self._head = _ACKNOWLEDGEMENT

    def send_nowait(self, data: bytes) -> bool:
        """See `Exchange.send_nowait`."""
        if self._framed:
            data = encode_data(data)
        if self._head:
            data = self._joined(data)
        return self._stream.send_nowait(data)

    def flush(self) -> bool:
        """See `Exchange.flush`."""
        head, self._head = self._head, b""
        return self._stream.send_nowait(head) if head else False

    async def drain(self) -> None:
        """See `Exchange.drain`. Cancel at any time."""
        await self._stream.drain()

    def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """See `Exchange.finish`."""
        if self._framed:
            end = encode_trailers(trailers)
            data = encode_data(data) + end if data else end
        if self._head:
            data = self._joined(data)
        self._stream.send_nowait(data, finish=True)

    def fail(self, reason: str, status: int = 502, *, rate_limited: bool = False) -> None:
        """Say in a ConnectResponse why there is no response (wire.md 7).

        The reference sends no status; an edge that looks for one finds it where it is not the usual 502.
        """
        metadata: Metadata = (RATE_LIMITED,) if rate_limited else ()
        if status != 502:
            metadata = ((STATUS_KEY, str(status).encode("ascii")), *metadata)
        self._head = b""
        answer = ConnectResponse(error=reason[:MAX_REASON_CHARS], metadata=metadata)
        self._stream.send_nowait(encode_connect_response(answer), finish=True)

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._stream.reset()
        self._stream.stop()

    def _joined(self, data: bytes) -> bytes:
        """`data` behind the head that waits for it, or alone where joining would copy too much."""
        head, self._head = self._head, b""
        if len(data) <= JOIN_LIMIT:
            return head + data
        self._stream.send_nowait(head)
        return data


class _Prefixed:
    """A stream whose first bytes were read together with its opening."""

    __slots__ = ("_first", "_stream")

    def __init__(self, first: bytes, stream: Stream) -> None:
        self._first = first
        self._stream = stream

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `ByteReader.receive`. Cancel at any time: no byte is lost."""
        return self._take(limit) if self._first else await self._stream.receive(limit)

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `ByteReader.receive_nowait`."""
        return self._take(limit) if self._first else self._stream.receive_nowait(limit)

    def _take(self, limit: int) -> bytes:
        data, self._first = self._first[:limit], self._first[limit:]
        return data
