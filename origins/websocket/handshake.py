"""The answer to a WebSocket upgrade (RFC 6455 section 4.2.2)."""

from __future__ import annotations

from pyconnector.origins.base import Headers, OriginError, OriginRequest, RequestKind
from pyconnector.web.websocket.handshake import accept_value


def accept(request: OriginRequest) -> Headers:
    """The fields of a 101 answer to `request`; none without a key (reference/wire.md 8).

    Raises:
        OriginError: it is a private-network stream, which no rule of the config serves.
    """
    if request.kind is RequestKind.TCP:
        raise OriginError("A TCP stream by address cannot be sent to a service of an ingress rule")
    for name, value in request.headers:
        if name.lower() == b"sec-websocket-key":
            return [
                (b"Connection", b"Upgrade"),
                (b"Sec-Websocket-Accept", accept_value(value)),
                (b"Upgrade", b"websocket"),
            ]
    return []
