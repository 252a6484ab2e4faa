"""Dial an edge over TCP and TLS, and be the HTTP/2 server on that socket (wire.md 1, 14)."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.http2.connection import LINGER
from pyconnector.transport.http2.settings import EDGE_SERVER_NAME, SERVER_SETTINGS, Http2Settings
from pyconnector.transport.http2.socket import Http2Socket
from pyconnector.transport.quic.failures import address_text, refusal
from pyconnector.transport.tls.edge_roots import find_roots

if TYPE_CHECKING:
    from pyconnector.transport.http2.connection import Http2Connection
    from pyconnector.transport.proxy.address import Proxy
    from pyconnector.transport.seam import Address


async def connect(
    address: Address,
    *,
    ca_file: str | None = None,
    server_name: str = EDGE_SERVER_NAME,
    settings: Http2Settings = SERVER_SETTINGS,
    local_host: str | None = None,
    proxy: Proxy | None = None,
) -> Http2Connection:
    """Connect to `address` from `local_host`, through `proxy` if one is given. No ALPN is offered: the edge knows.

    `ca_file` replaces the system's authorities and Cloudflare's. Cancel leaves nothing open.

    Raises:
        ConnectFailed: unreachable, timed out, TLS refused, or the local address cannot be bound.
    """
    context = _context(ca_file)
    place, timeout = address_text(address), settings.dial_timeout
    started = asyncio.get_running_loop().time()
    socket = Http2Socket(client=False, settings=settings)
    through: asyncio.Transport | None = None
    if proxy is not None:
        from pyconnector.transport.proxy.dial import open_through  # where there is one

        through = await open_through(proxy, address, local_host=local_host, timeout=timeout)
        place = f"{place} (through the proxy {proxy})"
    try:
        async with asyncio.timeout_at(started + timeout):
            if through is not None:
                await _secure(through, socket, context, server_name, timeout)
            else:
                await asyncio.get_running_loop().create_connection(
                    lambda: socket,
                    *address,
                    ssl=context,
                    server_hostname=server_name,
                    local_addr=(local_host, 0) if local_host else None,
                    ssl_handshake_timeout=timeout,
                    ssl_shutdown_timeout=LINGER,
                )
    except TimeoutError:
        raise ConnectFailed(f"no answer from {place} within {timeout:g} s (TCP)") from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectFailed(error.verify_message or "its certificate is not accepted", untrusted=True) from error
    except ssl.SSLError as error:
        raise ConnectFailed(f"the TLS handshake with {place} failed: {error.reason or error}") from error
    except ConnectionError as error:
        if isinstance(error, ConnectionRefusedError):
            raise refusal(error, address) from error
        raise ConnectFailed(f"{place} closed the connection during the TLS handshake") from error
    except OSError as error:
        raise refusal(error, address) from error
    assert socket.connection is not None
    return socket.connection


async def _secure(
    transport: asyncio.Transport, socket: Http2Socket, context: ssl.SSLContext, server_name: str, timeout: float
) -> None:
    """Begin TLS on a connection that was opened by other means. Cancel closes it."""
    try:
        upgraded = await asyncio.get_running_loop().start_tls(
            transport,
            socket,
            context,
            server_hostname=server_name,
            ssl_handshake_timeout=timeout,
            ssl_shutdown_timeout=LINGER,
        )
    except BaseException:
        transport.abort()
        raise
    assert upgraded is not None
    socket.connection_made(upgraded)


def _context(ca_file: str | None) -> ssl.SSLContext:
    path = find_roots(ca_file).path
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError as error:
        raise ConnectFailed(f"cannot read the certificate authorities in {path}: {error.strerror or error}") from error
    return _cached_context(ca_file, changed)


@functools.lru_cache(maxsize=4)
def _cached_context(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    """Return a client's context; made once for a state of the file, for the system's authorities take a while."""
    roots = find_roots(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # RFC 9525 6.3
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(roots.path)
    if roots.extra:
        context.load_verify_locations(cadata=roots.extra.decode("ascii"))
    return context
