"""What proves that a WebSocket handshake was read (RFC 6455 section 4)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """Return a value for Sec-WebSocket-Key."""
    return base64.b64encode(random_bytes(16))


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that proves that `key` was read (4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.strip() + _GUID, usedforsecurity=False).digest())
