"""An HTTP/2 request of the edge as an `Exchange` (wire.md 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import NeverIndexedHeaderTuple

from pyconnector.connector.requests.exchange import Exchange
from pyconnector.origins.base import OriginRequest, RequestKind
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.http.http2_form import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.origins.base import ByteReader
    from pyconnector.transport.http2 import Http2Stream

_KINDS = {Kind.HTTP: RequestKind.HTTP, Kind.WEBSOCKET: RequestKind.WEBSOCKET, Kind.TCP: RequestKind.TCP}


class Http2Exchange(Exchange):
    """One stream that the edge opened."""

    __slots__ = ("_fields", "_form", "_stream", "body", "kind")

    def __init__(self, stream: Http2Stream, kind: Kind) -> None:
        """`kind` is none of the connection's own."""
        self._stream = stream
        self._fields = stream.head or []
        self._form = kind
        self.kind = RequestKind.HTTP if kind is Kind.HTTP else _KINDS[kind]  # what most are, without hashing an enum
        self.body: ByteReader = stream

    def __repr__(self) -> str:
        return f"<Http2Exchange {self.kind.value} stream={self._stream.stream_id}>"

    def request(self) -> OriginRequest:
        """See `Exchange.request`."""
        if self.kind is RequestKind.TCP:
            return OriginRequest(
                kind=self.kind, method="", target="", host="", headers=[], body_length=None,
                destination=form.tcp_destination(self._fields),
            )  # fmt: skip
        head = form.read_request(self._fields, self._form, ended=self._stream.bodiless)
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
        return form.claimed(self._fields)

    @property
    def number(self) -> int:
        """See `Exchange.number`."""
        return self._stream.stream_id

    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], *, tunnel: bool = False) -> None:
        """See `Exchange.respond`."""
        self._begin(form.response_fields(status, headers))

    def acknowledge(self) -> None:
        """See `Exchange.acknowledge`."""
        self._begin(form.acknowledgement_fields(self._fields))

    def send_nowait(self, data: bytes) -> bool:
        """See `Exchange.send_nowait`."""
        return self._stream.send_nowait(data)

    def flush(self) -> bool:
        """See `Exchange.flush`. What is queued leaves at the end of the turn anyway."""
        return False

    async def drain(self) -> None:
        """See `Exchange.drain`. Cancel at any time."""
        await self._stream.drain()

    def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """See `Exchange.finish`."""
        if not trailers:
            self._stream.send_nowait(data, finish=True)
            return
        fields = form.trailer_fields(trailers)
        if data:
            self._stream.send_nowait(data)
        self._stream.send_trailers(fields)

    def fail(self, reason: str, status: int = 502, *, rate_limited: bool = False) -> None:
        """Answer with the status alone: this form has no place for a reason (wire.md 14)."""
        self._stream.send_head(form.failure_fields(status, rate_limited=rate_limited))
        self._stream.finish()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._stream.reset()
        self._stream.stop()

    def _begin(self, fields: form.Fields) -> None:
        # A large value that never repeats would push what repeats out of the table of the compression.
        fields[form.SERIALIZED] = NeverIndexedHeaderTuple(*fields[form.SERIALIZED])
        self._stream.send_head(fields)
