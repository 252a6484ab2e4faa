"""Why a handshake came to nothing, as one sentence for a user."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address, ConnectionClosedInfo

#: Where TLS alerts begin among QUIC's error codes (RFC 9001 4.8).
CRYPTO_ERROR = 0x100
#: Alerts about a certificate (RFC 8446 6.2): bad, unsupported, revoked, expired, unknown, unknown authority.
CERTIFICATE_ALERTS = frozenset((42, 43, 44, 45, 46, 48))
HANDSHAKE_FAILURE = 40
NO_APPLICATION_PROTOCOL = 120

#: How the library that compares names for aioquic shows those of a certificate: DNS names and addresses.
_PATTERN = re.compile(r"\w+Pattern\(pattern=(?:b|IPv[46]Address\()(?P<name>'[^']*')\)+")


def plain_names(reason: str) -> str:
    """Return a TLS failure's text with the names of a certificate as they are written there."""
    return _PATTERN.sub(r"\g<name>", reason)


def address_text(address: Address) -> str:
    """Return host and port as a user writes them."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def handshake_failure(info: ConnectionClosedInfo, address: Address, server_name: str) -> ConnectFailed:
    """Return the error for a connection that ended as `info` says before its handshake was complete."""
    place = address_text(address)
    alert = info.code - CRYPTO_ERROR
    if info.local and alert in CERTIFICATE_ALERTS:
        detail = info.reason or "no reason given"
        return ConnectFailed(f"the certificate of {place} does not vouch for {server_name}: {detail}", untrusted=True)
    if info.idle:
        return ConnectFailed(f"{place} did not answer")
    if alert == NO_APPLICATION_PROTOCOL:
        return ConnectFailed(f"{place} speaks QUIC but not the tunnel protocol")
    if alert == HANDSHAKE_FAILURE:
        return ConnectFailed(f"{place} and this side have no cipher, signature or key exchange in common")
    who = "this side" if info.local else place
    return ConnectFailed(f"{who} ended the handshake: {info.reason or f'error {info.code:#x}'}")
