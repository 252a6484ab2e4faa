"""The answer to a WebSocket upgrade (RFC 6455 section 4.2.2)."""

from __future__ import annotations

import base64
import hashlib

from pyconnector.origins.base import Headers, OriginError, OriginRequest, RequestKind

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_value(key: bytes) -> bytes:
    """What proves to the client that its `key` was read."""
    return base64.b64encode(hashlib.sha1(key.strip() + _GUID, usedforsecurity=False).digest())


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
