"""SOCKS5 (RFC 1928) for visitors, inside the WebSocket carriage: CONNECT without authentication, bounded by ipRules."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Protocol

from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.failures import quoted
from pyconnector.origins.net.channel import Channel, pump
from pyconnector.origins.net.dial import Dialer, Endpoint, Resolver, dial_settings, resolve_name
from pyconnector.origins.tcp.destinations import check_allowed, resolve
from pyconnector.origins.tcp.tunnel import connect_tunnel
from pyconnector.origins.websocket import WebSocketTunnel, accept
from pyconnector.web.websocket.frames import NORMAL

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings

#: Seconds a client has to say where it wants to go.
GREETING_TIMEOUT = 30.0

SUCCEEDED = 0
NOT_ALLOWED = 2
NETWORK_UNREACHABLE = 3
HOST_UNREACHABLE = 4
REFUSED = 5
COMMAND_NOT_SUPPORTED = 7
ADDRESS_NOT_SUPPORTED = 8

_VERSION = 5
_NO_AUTHENTICATION = 0
_NO_ACCEPTABLE_METHOD = 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_UNREACHABLE_ERRORS = {errno.ENETUNREACH: NETWORK_UNREACHABLE, errno.ECONNREFUSED: REFUSED}


class SocksError(Exception):
    """The client spoke no SOCKS5, or asked for what is not there; caught by the tunnel, which ends."""


class Replies(Protocol):
    """The way back to the client."""

    def put(self, data: bytes) -> None:
        """Send bytes."""


class SocksReader:
    """Reads exact amounts of what a client sends; what is left over belongs to the relay."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._held = b""

    async def exactly(self, count: int) -> bytes:
        """Return `count` bytes. Cancel loses what was read. Raises SocksError at an early end."""
        while len(self._held) < count:
            data = await self._reader.receive()
            if not data:
                raise SocksError("the client ended within its SOCKS request")
            self._held += data
        data, self._held = self._held[:count], self._held[count:]
        return data

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """As `ByteReader` has it."""
        if not self._held:
            return self._reader.receive_nowait(limit)
        data, self._held = self._held[:limit], self._held[limit:]
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        """As `ByteReader` has it."""
        data = self.receive_nowait(limit)
        return await self._reader.receive(limit) if data is None else data


async def greet(reader: SocksReader, replies: Replies) -> Endpoint:
    """Go through the greeting and the request; return where the client wants to go. Cancel at any time.

    Raises:
        SocksError: it asked for something else than CONNECT without authentication, and was told so.
    """
    version, methods = await reader.exactly(2)
    if version != _VERSION:
        raise SocksError(f"SOCKS version {version} is not spoken here")
    if _NO_AUTHENTICATION not in await reader.exactly(methods):
        replies.put(bytes((_VERSION, _NO_ACCEPTABLE_METHOD)))
        raise SocksError("the client insists on authentication")
    replies.put(bytes((_VERSION, _NO_AUTHENTICATION)))
    version, command, _, kind = await reader.exactly(4)
    if version != _VERSION:
        raise SocksError(f"SOCKS version {version} is not spoken here")
    host = await _host(reader, kind, replies)
    port = int.from_bytes(await reader.exactly(2))
    if command != _CONNECT:
        replies.put(reply(COMMAND_NOT_SUPPORTED))
        raise SocksError(f"SOCKS command {command} is not supported")
    return Endpoint(host=host, port=port)


def reply(code: int, address: tuple[str, int] | None = None) -> bytes:
    """A reply with `address`, or with zeros."""
    host, port = (address or ("0.0.0.0", 0))[:2]
    try:
        packed = ipaddress.ip_address(host.partition("%")[0])
        kind, body = (_IPV4 if packed.version == 4 else _IPV6), packed.packed
    except ValueError:
        name = host.encode("utf-8", "surrogateescape")[:255]
        kind, body = _NAME, bytes((len(name),)) + name
    return bytes((_VERSION, code, 0, kind)) + body + port.to_bytes(2)


async def relay_after_greeting(tunnel: WebSocketTunnel, body: ByteReader, channel: Channel) -> None:
    """SOCKS in front of a fixed service: the request is read, its destination ignored (reference/ingress.md 8)."""
    client = SocksReader(tunnel.reader(body))
    try:
        await _greet_in_time(client, tunnel.service)
    except SocksError as error:
        tunnel.close_with(NORMAL, str(error))
        channel.abort()
        return
    tunnel.service.put(reply(SUCCEEDED, channel.local_address()))
    channel.release()
    await pump(client, channel)


class SocksOrigin(Origin):
    """`socks-proxy`: the client chooses the destination, ipRules decide; with none, nothing is allowed."""

    def __init__(self, settings: OriginSettings, *, resolver: Resolver = resolve_name) -> None:
        self._rules = settings.ip_rules
        self._resolver = resolver
        self._dialer = Dialer(dial_settings(settings))

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer 101 at once; everything else is said inside the tunnel. Cancel ends it.

        Raises:
            OriginError: it is a TCP stream by address.
        """
        tunnel = WebSocketTunnel(accept(request))
        tunnel.run(self._session(tunnel, SocksReader(tunnel.reader(body))))
        return tunnel

    async def _session(self, tunnel: WebSocketTunnel, client: SocksReader) -> None:
        replies = tunnel.service
        try:
            wanted = await _greet_in_time(client, replies)
            sock = await self._open(wanted, replies)
        except (SocksError, OriginError) as error:
            tunnel.close_with(NORMAL, str(error))
            return
        channel = await connect_tunnel(tunnel, replies, sock, hold=True)
        replies.put(reply(SUCCEEDED, channel.local_address()))
        channel.release()
        await pump(client, channel)

    async def _open(self, wanted: Endpoint, replies: Replies) -> socket.socket:
        shown = (wanted.host, wanted.port)
        try:
            destination = await resolve(wanted, self._resolver)
            check_allowed(self._rules, destination)
        except OriginError:
            replies.put(reply(NOT_ALLOWED, shown))
            raise
        try:
            return await self._dialer.open_socket(destination)
        except OriginError as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, OSError) else None
            replies.put(reply(_UNREACHABLE_ERRORS.get(number or 0, HOST_UNREACHABLE)))
            raise


async def _host(reader: SocksReader, kind: int, replies: Replies) -> str:
    if kind == _IPV4:
        return str(ipaddress.IPv4Address(await reader.exactly(4)))
    if kind == _IPV6:
        return str(ipaddress.IPv6Address(await reader.exactly(16)))
    if kind == _NAME:
        [length] = await reader.exactly(1)
        name = (await reader.exactly(length)).decode("utf-8", "surrogateescape")
        if not name or not name.isprintable():
            raise SocksError(f"{quoted(name)!r} is no name")
        return name
    replies.put(reply(ADDRESS_NOT_SUPPORTED))
    raise SocksError(f"address type {kind} is not supported")


async def _greet_in_time(client: SocksReader, replies: Replies) -> Endpoint:
    try:
        async with asyncio.timeout(GREETING_TIMEOUT):
            return await greet(client, replies)
    except TimeoutError as error:
        raise SocksError(f"the client did not say within {GREETING_TIMEOUT:g} s where it wants to go") from error
