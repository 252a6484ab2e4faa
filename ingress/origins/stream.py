"""TCP services behind a hostname (tcp, ssh, rdp, smb and any other scheme): the visitor brings WebSocket frames."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .base import ByteReader, Headers, Origin, OriginRequest, OriginResponse
from .dial import Dialer, Endpoint, Resolver, dial_settings, resolve_name
from .socks import relay_after_greeting
from .tunnel import connect_tunnel
from .websocket import WebSocketTunnel, accept

if TYPE_CHECKING:
    from ingress.settings import OriginSettings


class StreamOrigin(Origin):
    """One TCP service. A plain request that reaches it is answered with 101 all the same (reference/wire.md 8)."""

    def __init__(self, endpoint: Endpoint, settings: OriginSettings, *, resolver: Resolver = resolve_name) -> None:
        self._endpoint = endpoint
        self._dialer = Dialer(dial_settings(settings), resolve=resolver)
        self._socks = settings.proxy_type == "socks"

    def __repr__(self) -> str:
        return f"<StreamOrigin {self._endpoint}>"

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Connect, then answer 101. Cancel closes the connection.

        Raises:
            OriginError: the service cannot be reached.
        """
        headers = accept(request)
        sock = await self._dialer.open_socket(self._endpoint)
        return await carry_frames(headers, body, sock, socks=self._socks)


async def carry_frames(headers: Headers, body: ByteReader, sock: socket.socket, *, socks: bool) -> OriginResponse:
    """Answer 101 and carry frames to a connected socket, with `socks` after a SOCKS greeting. Cancel closes it."""
    tunnel = WebSocketTunnel(headers)
    channel = await connect_tunnel(tunnel, tunnel.service, sock, hold=socks)
    if socks:
        tunnel.run(relay_after_greeting(tunnel, body, channel))
    else:
        tunnel.carry(body)
    return tunnel
