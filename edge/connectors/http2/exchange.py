"""A visitor's request as an HTTP/2 request to the connector (wire.md 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pyconnector.edge.connectors.exchange import Broken, Exchange, Refused, TunnelResponse
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import TunnelRequest
    from pyconnector.edge.connectors.tunnels import Member
    from pyconnector.transport.http2 import Http2Stream

#: Bytes of a request's field section, as RFC 9113 6.5.2 counts them: what our connectors take.
MAX_REQUEST_FIELDS = 256 * 1024
#: Who asks, in TCP requests: a connector looks no further than whether there is something.
_SOURCE = "pyconnector-edge"
#: What a connector that only tells a status is understood to say (wire.md 14).
_NO_REASON = "The connector could not reach the service; its log says why."
_RATE_LIMITED = "The connector has too many active flows."


class Http2Exchange(Exchange):
    """An HTTP/2 stream that carries one request."""

    __slots__ = ("_request",)

    def __init__(self, member: Member, stream: Http2Stream, request: TunnelRequest) -> None:
        super().__init__(member, stream)
        self._request = request

    async def response(self) -> TunnelResponse:
        """See `Exchange.response`. Cancel leaves the exchange as it is: abort it."""
        kind = self._request.kind
        try:
            answer = form.read_response(await cast("Http2Stream", self.stream).response())
        except TransportError as exc:
            raise Broken(f"The connector broke off before it answered: {exc}.") from exc
        except ProtocolError as exc:
            raise Broken(f"The connector's answer is malformed: {exc}.") from exc
        if answer.failed:
            reason = _RATE_LIMITED if answer.rate_limited else _NO_REASON
            raise Refused(reason, answer.status if 400 <= answer.status < 600 else 502)
        if kind is ConnectionType.TCP:
            if answer.status != 200:
                raise Broken(f"The connector answered a TCP request with status {answer.status}.")
            return TunnelResponse()
        status = answer.status
        if status == 200 and kind is ConnectionType.WEBSOCKET and _is_handshake(answer.headers):
            status = 101  # HTTP/2 has no word for it
        return TunnelResponse(status=status, headers=answer.headers)

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """See `Exchange.trailers`."""
        if not self._request.takes_trailers:
            return []
        try:
            return form.read_trailers(cast("Http2Stream", self.stream).trailers)
        except ProtocolError:
            return []  # of a peer that does not keep to its own rules nothing is passed on


def _is_handshake(headers: form.Fields) -> bool:
    return any(name.lower() == b"upgrade" and value.lower() == b"websocket" for name, value in headers)


class Requests(Protocol):
    """What opens requests: an `Http2Connection`."""

    async def open_request(self, head: form.Fields, *, end: bool = False) -> Http2Stream:
        """See `Http2Connection.open_request`."""


async def open_http2_exchange(
    member: Member,
    connection: Requests,
    request: TunnelRequest,
    *,
    body: bytes,
    finish: bool,
    form_of: type[Http2Exchange] = Http2Exchange,
) -> Http2Exchange:
    """Send `request` on `connection`, with the beginning of its body. Cancel leaves nothing behind.

    `form_of` is what reads the answer.

    Raises:
        Broken: the request is too large for the tunnel, or a field of it cannot be carried.
        ConnectionClosed: the connection is over.
    """
    head = request.head
    try:
        if head is None:
            fields = form.tcp_request_fields(request.destination, _SOURCE)
        else:
            fields = form.request_fields(head, websocket=request.kind is ConnectionType.WEBSOCKET)
    except ProtocolError as exc:
        raise Broken(f"The request is malformed: {exc}.", 400) from exc
    if sum(len(name) + len(value) + 32 for name, value in fields) > MAX_REQUEST_FIELDS:
        raise Broken(f"The request does not fit the tunnel: its header is beyond {MAX_REQUEST_FIELDS} bytes.", 431)
    stream = await connection.open_request(fields, end=finish and not body)
    if body:
        stream.send_nowait(body, finish=finish)
    return form_of(member, stream, request)
