"""Open a TCP connection through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.proxy.address import HTTPS, Proxy
from pyconnector.transport.proxy.handshake import Handshake, ProxyRefused, handshake_for, shown
from pyconnector.transport.tls.client_context import client_context
from pyconnector.transport.tls.edge_roots import system_roots

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


async def open_through(
    proxy: Proxy, address: Address, *, local_host: str | None = None, timeout: float, ca_file: str | None = None
) -> asyncio.Transport:
    """Return the transport of a connection to `address`, on which nothing was said yet and nothing is read.

    All of it within `timeout` seconds. `ca_file` replaces the system's authorities for a proxy that is spoken to over
    TLS. Cancel leaves nothing open.

    Raises:
        ConnectFailed: the proxy is out of reach, refuses, stalls, or is none.
    """
    try:
        speaker = _Speaker(handshake_for(proxy, *address))
    except ValueError:
        raise ConnectFailed(f"no proxy can be asked for the host {shown(address[0].encode())}") from None
    context = client_context(ca_file or system_roots()) if proxy.kind == HTTPS else None
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().create_connection(
                lambda: speaker,
                proxy.host,
                proxy.port,
                ssl=context,
                local_addr=(local_host, 0) if local_host else None,
            )
            await speaker.opened
    except TimeoutError:
        raise ConnectFailed(f"the proxy {proxy} does not answer within {timeout:g} s") from None
    except ProxyRefused as error:
        raise ConnectFailed(f"the proxy {proxy} {error}") from error
    except ssl.SSLError as error:
        raise ConnectFailed(f"no TLS with the proxy {proxy}: {_reason(error)}") from error
    except OSError as error:
        raise ConnectFailed(f"cannot reach the proxy {proxy}: {error.strerror or error}") from error
    finally:
        if not speaker.is_open:
            speaker.abort()
    assert speaker.transport is not None
    return speaker.transport


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or (error.reason or str(error)).replace("_", " ").lower()


class _Speaker(asyncio.Protocol):
    """Says what the handshake says."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether the way is open."""
        return self.opened.done() and not self.opened.cancelled() and self.opened.exception() is None

    def abort(self) -> None:
        """Close the socket, if there is one. Idempotent."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The proxy was reached."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake.start())

    def data_received(self, data: bytes) -> None:
        """The proxy answered."""
        assert self.transport is not None
        if self.opened.done():
            return
        try:
            answer = self._handshake.receive_data(data)
        except ProxyRefused as error:
            self.opened.set_exception(error)
            return
        if answer:
            self.transport.write(answer)
        if self._handshake.done:
            self.transport.pause_reading()
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy left."""
        if not self.opened.done():
            self.opened.set_exception(ProxyRefused("closed the connection before it answered"))
