"""Data streams of the edge whose opening is a message made once: for loads that cost little, and for malformed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyconnector.edge.connectors.exchange import NoTunnel, TunnelRequest
from pyconnector.edge.connectors.quic.exchange import QuicExchange
from pyconnector.protocol.streams.openings import encode_connect_request

if TYPE_CHECKING:
    from pyconnector.edge.connectors.connection import EdgeConnection
    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.protocol.streams.connect import ConnectRequest
    from pyconnector.transport.seam import Stream


async def open_message(
    tunnel: Tunnel | None, message: ConnectRequest, *, body: bytes = b"", finish: bool = False
) -> QuicExchange:
    """Open a stream with `message` on the best connection of `tunnel`. Cancel leaves nothing behind.

    Raises:
        NoTunnel: it has no connection.
    """
    member = _member(tunnel)
    stream = await member.transport.open_stream()
    stream.send_nowait(encode_connect_request(message) + body, finish=finish)
    return QuicExchange(member, stream, TunnelRequest(kind=message.type))


async def open_stream(tunnel: Tunnel | None, opening: bytes, *, finish: bool = False) -> Stream:
    """Open a stream that begins with `opening`, encoded before. Cancel leaves nothing behind.

    Raises:
        NoTunnel: the tunnel has no connection.
    """
    stream = await _member(tunnel).transport.open_stream()
    stream.send_nowait(opening, finish=finish)
    return stream


def _member(tunnel: Tunnel | None) -> EdgeConnection:
    member = cast("EdgeConnection | None", tunnel.pick()) if tunnel is not None else None
    if member is None:
        raise NoTunnel
    return member
