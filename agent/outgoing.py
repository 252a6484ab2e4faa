"""Connections of this machine to an edge: directly, or through a proxy, with or without TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.proxy.address import Proxy, parse_proxy
from pyconnector.transport.proxy.bypass import parse_no_proxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

_P = TypeVar("_P", bound=asyncio.BaseProtocol)
#: Seconds that a proxy has to open the way.
PROXY_TIMEOUT: Final = 20.0
#: What other programs obey too: the first that is set counts. NO_PROXY says what is reached directly all the same.
VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_EXCEPTIONS: Final = ("NO_PROXY", "no_proxy")


def proxy_of_environment(environ: Mapping[str, str], host: str, port: int) -> Proxy | None:
    """Return the proxy that the environment names for a host; None for none.

    Raises:
        ValueError: it names something else than a proxy, in one sentence.
    """
    name = next((name for name in VARIABLES if environ.get(name)), None)
    if name is None:
        return None
    exceptions = parse_no_proxy(next((environ[each] for each in _EXCEPTIONS if environ.get(each)), ""))
    if exceptions.covers(host, port):
        return None
    try:
        return parse_proxy(environ[name])
    except ValueError as error:
        raise ValueError(f"{name} names no proxy: {error}") from None


async def open_protocol(
    make: Callable[[], _P], host: str, port: int, *, tls: ssl.SSLContext | None, server_name: str, proxy: Proxy | None
) -> tuple[asyncio.Transport, _P]:
    """Connect, and return the transport with its protocol. Cancel leaves nothing open.

    Raises:
        OSError: it cannot be reached, or is not trusted (`ssl.SSLError`).
    """
    loop = asyncio.get_running_loop()
    if proxy is None:
        transport, protocol = await loop.create_connection(
            make, host, port, ssl=tls, server_hostname=server_name if tls is not None else None
        )
        return transport, protocol
    from pyconnector.transport.proxy.dial import open_through  # where there is one

    try:
        through = await open_through(proxy, (host, port), timeout=PROXY_TIMEOUT)
    except ConnectFailed as error:
        raise ConnectionError(error.reason) from error
    protocol = make()
    if tls is None:
        through.set_protocol(protocol)
        protocol.connection_made(through)
        through.resume_reading()
        return through, protocol
    try:
        upgraded = await loop.start_tls(through, protocol, tls, server_hostname=server_name)
    except BaseException:
        through.abort()
        raise
    assert upgraded is not None
    protocol.connection_made(upgraded)
    return upgraded, protocol


async def open_streams(
    host: str, port: int, *, tls: ssl.SSLContext | None, server_name: str, proxy: Proxy | None, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, and return a stream pair. Cancel leaves nothing open. Raises as `open_protocol`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit, loop)
    transport, protocol = await open_protocol(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), host, port, tls=tls, server_name=server_name,
        proxy=proxy,
    )  # fmt: skip
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
