"""TCP services behind a hostname (tcp, ssh, rdp, smb and any other scheme): the visitor brings WebSocket frames."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pyconnector.ingress.rules.proxy_protocol import proxy_header, visitor_address
from pyconnector.origins.base import ByteReader, Headers, Origin, OriginRequest, OriginResponse
from pyconnector.origins.failures import not_connected
from pyconnector.origins.net.dial import Dialer, Endpoint, Resolver, cause_of, dial_settings, resolve_name
from pyconnector.origins.tcp.socks import relay_after_greeting
from pyconnector.origins.tcp.tunnel import connect_tunnel
from pyconnector.origins.websocket import WebSocketTunnel, accept

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings


class StreamOrigin(Origin):
    """One TCP service. A plain request that reaches it is answered with 101 all the same (reference/wire.md 8)."""

    def __init__(self, endpoint: Endpoint, settings: OriginSettings, *, resolver: Resolver = resolve_name) -> None:
        self._endpoint = endpoint
        self._dialer = Dialer(dial_settings(settings), resolve=resolver)
        self._socks = settings.proxy_type == "socks"
        self._proxy_protocol = settings.proxy_protocol

    def __repr__(self) -> str:
        return f"<StreamOrigin {self._endpoint}>"

    async def probe(self) -> None:
        """See `Origin.probe`."""
        (await self._dialer.open_socket(self._endpoint)).close()

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Connect, then answer 101. Cancel closes the connection.

        Raises:
            OriginError: the service cannot be reached.
        """
        headers = accept(request)
        sock = await self._dialer.open_socket(self._endpoint)
        try:
            announcement = self._announcement(request, sock)
        except OSError as error:  # the service has broken off already: it has no address any more
            sock.close()
            raise not_connected(cause_of(error, str(self._endpoint))) from error
        return await carry_frames(headers, body, sock, socks=self._socks, announcement=announcement)

    def _announcement(self, request: OriginRequest, sock: socket.socket) -> bytes:
        """The PROXY protocol header that names the visitor, where the rule asks for one. The edge tells no port."""
        if not self._proxy_protocol:
            return b""
        address = visitor_address(request.headers)
        peer = sock.getpeername()
        source = (address, 0) if address is not None else None
        return proxy_header(self._proxy_protocol, source, (peer[0].partition("%")[0], peer[1]))


async def carry_frames(
    headers: Headers, body: ByteReader, sock: socket.socket, *, socks: bool, announcement: bytes = b""
) -> OriginResponse:
    """Answer 101 and carry frames to a connected socket, with `socks` after a SOCKS greeting. Cancel closes it.

    `announcement` is sent to the service before anything else.
    """
    tunnel = WebSocketTunnel(headers)
    channel = await connect_tunnel(tunnel, tunnel.service, sock, hold=socks)
    if announcement:
        channel.write(announcement)
    if socks:
        tunnel.run(relay_after_greeting(tunnel, body, channel))
    else:
        tunnel.carry(body)
    return tunnel
