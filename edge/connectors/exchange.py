"""The request seam of the edge: a visitor's request into a tunnel, and the connector's answer to it.

Visitors of every kind say what they want as a `TunnelRequest` and get an `Exchange`; they know nothing of the form of
the tunnel protocol below. Each form is a subclass (`edge.connectors.quic.exchange` for QUIC data streams,
`edge.connectors.http2.exchange` for HTTP/2), opened by the connection that carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pyconnector.transport.errors import ConnectionClosed

if TYPE_CHECKING:
    from uuid import UUID

    from pyconnector.edge.connectors.management import OneConnector
    from pyconnector.edge.connectors.tunnels import Member, Tunnel
    from pyconnector.protocol.http.headers import RequestHead
    from pyconnector.protocol.streams.connect import ConnectionType
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


class Refused(Exception):
    """The connector answered with an error in place of a response. The text is its own; `status` is for the visitor."""

    def __init__(self, reason: str, status: int = 502) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRequest:
    """What is asked of a connector."""

    kind: ConnectionType
    head: RequestHead | None = None
    "For HTTP and WebSocket."
    destination: str = ""
    "HOST:PORT, for TCP."
    takes_trailers: bool = False
    "Whether the visitor can be sent trailer fields."


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelResponse:
    """The head of a connector's answer."""

    status: int = 0
    "0 where a TCP destination is reached: there is no head."
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class BodyReader(Protocol):
    """Where a response's body is read."""

    async def receive(self, limit: int) -> bytes:
        """Return 1..`limit` bytes, or b"" at the end. Cancel at any time: no byte is lost."""

    def receive_nowait(self, limit: int) -> bytes | None:
        """As `receive`, or None where it would wait."""


class Exchange(ABC):
    """One request on a connection of a connector, counted in `in_flight` until `close` or `abort`."""

    __slots__ = ("_member", "body", "leftover", "stream")

    def __init__(self, member: Member, stream: Stream) -> None:
        self._member: Member | None = member
        self.stream = stream
        "Where the body of the request goes; behind an answer that is a tunnel, both directions."
        self.body: BodyReader = stream
        "Where the response's body is read, behind what is in `leftover`."
        self.leftover = b""
        "Payload that arrived together with the response."
        member.in_flight += 1

    @property
    def connector(self) -> str:
        """The id of the connector that has it; empty once it is over."""
        return "" if self._member is None else str(self._member.registration.client_id)

    @abstractmethod
    async def response(self) -> TunnelResponse:
        """Wait for the connector's answer. Cancel leaves the exchange as it is: abort it.

        Raises:
            Refused: it answered with an error.
            Broken: it answered something that is no response, or broke off.
        """

    @property
    @abstractmethod
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The response's trailer fields, once its body is at its end."""

    @property
    def connector_id(self) -> UUID | None:
        """Which connector carries it; None once it is over."""
        return None if self._member is None else self._member.registration.client_id

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
    tunnel: Tunnel | OneConnector | None,
    request: TunnelRequest,
    *,
    body: bytes = b"",
    finish: bool = False,
    here_alone: bool = False,
) -> Exchange:
    """Send `request` over the best connection of `tunnel`, with the beginning of its body.

    Where there is none here it goes to another edge that has one, unless it came from one (`here_alone`).

    Cancel leaves nothing behind.

    Raises:
        NoTunnel: it has no connection.
        Broken: the request is too large for the tunnel, or a field of it cannot be carried.
    """
    while tunnel is not None and (member := tunnel.pick()) is not None:
        try:
            return await member.open(request, body=body, finish=finish)
        except ConnectionClosed:
            tunnel.leave(member)  # its own task will notice too, a moment later
    if tunnel is not None and tunnel.elsewhere is not None and not here_alone:
        for peer in tunnel.elsewhere(tunnel.tunnel_id):
            try:
                return await peer.open(request, body=body, finish=finish)
            except ConnectionClosed:
                continue
    raise NoTunnel
