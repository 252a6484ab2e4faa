"""One stream from a visitor to a connector: opened on the best connection, counted, and given up as a whole.

Used by every kind of visitor. What the visitor speaks and how bodies are framed is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.connectors.framed_body import FramedBody
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, encode_connect_request
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER
from pyconnector.transport.errors import ConnectionClosed, TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.tunnels import Member, Tunnel
    from pyconnector.protocol.streams.connect import ConnectRequest, ConnectResponse
    from pyconnector.transport.seam import Stream

#: Bytes taken from a stream at once on their way to a visitor.
PIECE = 256 * 1024
#: Seconds a connector may leave a stream open after it said all that its response needs.
END_TIMEOUT = 2.0


class NoTunnel(Exception):
    """No tunnel, or no connection of it, is there for a request."""


class Broken(Exception):
    """The connector or the connection to it failed. The text is one sentence for the visitor, who is shown `status`."""

    def __init__(self, reason: str, status: int = 502) -> None:
        super().__init__(reason)
        self.status = status


class Exchange:
    """A stream that carries one visitor's request, until `close` or `abort`."""

    __slots__ = ("_decoder", "_member", "_takes_trailers", "body", "leftover", "stream")

    def __init__(self, member: Member, stream: Stream, *, takes_trailers: bool = False) -> None:
        self._member: Member | None = member
        self._decoder = ConnectResponseDecoder()
        self._takes_trailers = takes_trailers
        self.stream = stream
        self.body: Stream | FramedBody = stream
        "Where the response's body is read, behind what is in `leftover`."
        self.leftover = b""
        "Payload that arrived together with the response."
        member.in_flight += 1

    async def response(self) -> ConnectResponse:
        """Wait for the connector's answer. Cancel leaves the exchange as it is: abort it.

        Raises:
            Broken: it answered something else, or broke off.
        """
        stream, decoder = self.stream, self._decoder
        try:
            while True:
                data = await stream.receive()
                if not data:
                    raise Broken("The connector ended the stream without an answer.")
                response = decoder.feed(data)
                if response is not None:
                    self.leftover = decoder.leftover
                    if self._takes_trailers and TRAILERS_OFFER in response.metadata:
                        self.body = FramedBody(stream, self.leftover)
                        self.leftover = b""
                    return response
        except TransportError as exc:
            raise Broken(f"The connector broke off before it answered: {exc}.") from exc
        except ProtocolError as exc:
            raise Broken(f"The connector's answer is malformed: {exc}.") from exc

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The response's trailer fields, once its body is at its end."""
        return self.body.trailers if isinstance(self.body, FramedBody) else []

    def close(self) -> None:
        """Both directions ended as they should. Idempotent."""
        member, self._member = self._member, None
        if member is not None:
            member.in_flight -= 1

    def abort(self) -> None:
        """Cut off at once what has not ended. Idempotent, and a no-op after `close`."""
        if self._member is not None:
            self.close()
            self.stream.reset()
            self.stream.stop()


async def open_exchange(
    tunnel: Tunnel | None,
    request: ConnectRequest,
    *,
    body: bytes = b"",
    finish: bool = False,
    takes_trailers: bool = False,
) -> Exchange:
    """Open a stream for `request` on the best connection of `tunnel`, with the beginning of the body.

    `takes_trailers` says that `request` offers to.

    Cancel leaves nothing behind.

    Raises:
        NoTunnel: it has no connection.
        Broken: the request is too large for the tunnel.
    """
    try:
        opening = encode_connect_request(request)
    except ProtocolError as exc:
        raise Broken(f"The request does not fit the tunnel: {exc}.") from exc
    while tunnel is not None and (member := tunnel.pick()) is not None:
        try:
            stream = await member.transport.open_stream()
            stream.send_nowait(opening + body if body else opening, finish=finish)
        except ConnectionClosed:
            tunnel.leave(member)  # its own task will notice too, a moment later
            continue
        return Exchange(member, stream, takes_trailers=takes_trailers)
    raise NoTunnel
