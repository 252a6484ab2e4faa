"""A visitor's request as a QUIC data stream (wire.md 6 to 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.connectors.exchange import Broken, Exchange, Refused, TunnelResponse
from pyconnector.edge.connectors.quic.framed_body import FramedBody
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import error_status, request_metadata, response_head
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, encode_connect_request
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import TunnelRequest
    from pyconnector.edge.connectors.tunnels import Member
    from pyconnector.protocol.streams.connect import ConnectResponse
    from pyconnector.transport.seam import Connection, Stream


class QuicExchange(Exchange):
    """A data stream that carries one request."""

    __slots__ = ("_decoder", "_request")

    def __init__(self, member: Member, stream: Stream, request: TunnelRequest) -> None:
        super().__init__(member, stream)
        self._decoder = ConnectResponseDecoder()
        self._request = request

    async def response(self) -> TunnelResponse:
        """See `Exchange.response`. Cancel leaves the exchange as it is: abort it."""
        try:
            answer = await self.answer()
            if answer.error:
                raise Refused(answer.error, error_status(answer))
            if self._request.kind is ConnectionType.TCP and not answer.metadata:
                return TunnelResponse()
            status, headers = response_head(answer)
        except TransportError as exc:
            raise Broken(f"The connector broke off before it answered: {exc}.") from exc
        except ProtocolError as exc:
            raise Broken(f"The connector's answer is malformed: {exc}.") from exc
        return TunnelResponse(status=status, headers=headers)

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """See `Exchange.trailers`."""
        return self.body.trailers if isinstance(self.body, FramedBody) else []

    async def answer(self) -> ConnectResponse:
        """Wait for the message that answers, error or not. Cancel leaves the exchange as it is: abort it.

        Raises:
            Broken: the connector ended the stream without one.
            ProtocolError, TransportError: it is malformed, or the stream broke off.
        """
        stream, decoder = self.stream, self._decoder
        while True:
            data = await stream.receive()
            if not data:
                raise Broken("The connector ended the stream without an answer.")
            answer = decoder.feed(data)
            if answer is not None:
                self.leftover = decoder.leftover
                if self._request.takes_trailers and TRAILERS_OFFER in answer.metadata:
                    self.body = FramedBody(stream, self.leftover)
                    self.leftover = b""
                return answer


async def open_quic_exchange(
    member: Member, connection: Connection, request: TunnelRequest, *, body: bytes, finish: bool
) -> QuicExchange:
    """Open a stream for `request` on `connection`, with the beginning of its body. Cancel leaves nothing behind.

    Raises:
        Broken: the request is too large for the tunnel, or a field of it cannot be carried.
        ConnectionClosed: the connection is over.
    """
    message = _connect_request(request)
    try:
        opening = encode_connect_request(message)
    except ProtocolError as exc:
        raise Broken(f"The request does not fit the tunnel: {exc}.") from exc
    stream = await connection.open_stream()
    stream.send_nowait(opening + body if body else opening, finish=finish)
    return QuicExchange(member, stream, request)


def _connect_request(request: TunnelRequest) -> ConnectRequest:
    """The message that opens the stream. Where the visitor takes trailers, the connector is offered to send them."""
    head = request.head
    if head is None:
        return ConnectRequest(dest=request.destination, type=request.kind)
    try:
        metadata = request_metadata(head)
    except ProtocolError as exc:
        raise Broken(f"The request is malformed: {exc}.", 400) from exc
    if request.takes_trailers:
        metadata = (*metadata, TRAILERS_OFFER)
    return ConnectRequest(dest=f"http://{head.host}{head.target}", type=request.kind, metadata=metadata)
