"""Why a handshake came to nothing, as one sentence for a user."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.udp.batched import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.transport.seam import Address, Connection, ConnectionClosedInfo
    from pyconnector.transport.udp.batched import UdpEndpoint

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


def refusal(exc: OSError, address: Address) -> ConnectFailed:
    """Return the error for what the system says of sending to `address`, be it this machine or the network."""
    place = address_text(address)
    if exc.errno == errno.ECONNREFUSED:
        return ConnectFailed(f"nothing listens at {place}")
    name = errno.errorcode.get(exc.errno or 0, "")
    detail = (exc.strerror or str(exc)) + (f" ({name})" if name else "")
    if exc.errno in (errno.EACCES, errno.EPERM):
        return ConnectFailed(f"this machine may not send to {place}: {detail}", no_route=True)
    return ConnectFailed(f"cannot reach {place}: {detail}", no_route=True)


def follow_routes(endpoint: UdpEndpoint, connection: Connection) -> None:
    """Have a client's socket follow the routes of its machine, now that its handshake is over.

    Raises:
        ConnectFailed: no socket could be had; the connection is closed.
    """
    try:
        endpoint.follow_routes()
    except OSError as exc:
        connection.close()
        raise ConnectFailed(f"cannot open a socket: {exc.strerror or exc}") from exc


def idle_reason(timeout: float) -> str:
    """Say that a connection ended because its peer was silent for `timeout` seconds."""
    return f"nothing was heard from the peer for {timeout:g} s"


def standstill_reason(seconds: float) -> str:
    """Say that a connection ended because this side did not run for so long."""
    return f"this process stood still for {seconds:.0f} s, longer than the peer waits"


def socket_failure(exc: OSError, address: Address, local: tuple[str | None, int]) -> ConnectFailed:
    """Return the error for a socket that could not be had from `local` (None and 0: whatever the system chooses)."""
    host, port = local
    if exc.errno in REFUSALS and not host:
        return refusal(exc, address)
    place = f" from {address_text((host or '*', port))}" if host or port else ""
    return ConnectFailed(f"cannot send to {address_text(address)}{place}: {exc.strerror or exc}")


def handshake_failure(
    info: ConnectionClosedInfo, address: Address, server_name: str, refusals: Sequence[OSError] = ()
) -> ConnectFailed:
    """Return the error for a connection that ended as `info` says before its handshake was complete.

    `refusals` is what the system said meanwhile of sending there.
    """
    if refusals:
        return refusal(refusals[0], address)
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
