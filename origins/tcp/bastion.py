"""The bastion: TCP to wherever the visitor's client says, unless ipRules say otherwise (reference/ingress.md 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.origins.base import ByteReader, Headers, Origin, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.net.dial import Dialer, Resolver, dial_settings, resolve_name
from pyconnector.origins.tcp.destinations import check_allowed, parse_destination, resolve
from pyconnector.origins.tcp.stream import carry_frames
from pyconnector.origins.websocket import accept

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings

JUMP_DESTINATION = b"cf-access-jump-destination"


class BastionOrigin(Origin):
    """Reads the destination from a header. Without ipRules any destination will do, as in the reference."""

    def __init__(self, settings: OriginSettings, *, resolver: Resolver = resolve_name) -> None:
        self._rules = settings.ip_rules
        self._resolver = resolver
        self._dialer = Dialer(dial_settings(settings), resolve=resolver)
        self._socks = settings.proxy_type == "socks"

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Connect to what the header names, then answer 101. Cancel closes the connection.

        Raises:
            OriginError: no destination (400), not allowed (403), or not reachable.
        """
        headers = accept(request)
        destination = parse_destination(_jump_destination(request.headers))
        if self._rules:
            destination = await resolve(destination, self._resolver)
            check_allowed(self._rules, destination)
        sock = await self._dialer.open_socket(destination)
        return await carry_frames(headers, body, sock, socks=self._socks)


def _jump_destination(headers: Headers) -> str:
    for name, value in headers:
        if name.lower() == JUMP_DESTINATION and value.strip():
            return value.strip().decode("utf-8", "surrogateescape")
    raise OriginError("Did not receive a destination from the client: is --destination set on the client's side?", 400)
