"""A client of the private network: `async with mesh.connect(url, token_file=...) as m: await m.open_connection(...)`.

`open_connection` is a TLS connection of its own to the edge's gateway, by HTTP CONNECT: nothing is kept, so nothing has
to be made anew when the edge restarts. What is carried for others (the local proxy, UDP) shares one connection, over
QUIC or HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from pyconnector.agent.carry import SocketEnd
from pyconnector.agent.errors import MeshError
from pyconnector.agent.multiplexed import Multiplexed, NoHttp2, StreamEnd
from pyconnector.agent.outgoing import open_streams
from pyconnector.agent.quic.way import QuicWay
from pyconnector.agent.token_file import Token, TokenError, read_token
from pyconnector.agent.udp import flow_over
from pyconnector.protocol.connect_ip import encode_path
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.connect_client import (
    MAX_TEXT,
    connect_fields,
    connect_ip_fields,
    encode_connect,
    encode_connect_udp,
    read_status,
)
from pyconnector.transport.errors import TransportError
from pyconnector.transport.proxy.address import parse_proxy
from pyconnector.transport.tls.client_context import client_context
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.agent.carry import Carrier
    from pyconnector.agent.multiplexed import Fields
    from pyconnector.agent.udp import Flow

Pair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Seconds until a destination must be reached, the gateway's own limits included.
CONNECT_TIMEOUT: Final = 30.0
#: Seconds that the gateway has to answer where it is only asked whether it is there.
PROBE_TIMEOUT: Final = 5.0
#: Bytes that a reader keeps ahead of whoever reads.
READ_LIMIT: Final = 64 * 1024
#: What may carry flows.
AUTO, QUIC, HTTP2, HTTP1 = PROTOCOLS = ("auto", "quic", "http2", "http1.1")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MEANINGS: Final = {
    403: "no network rule allows this",
    407: "the token is not valid",
    502: "no route leads there",
    503: "the token has too many connections",
    504: "it cannot be reached",
}


class Mesh:
    """Opens connections through one gateway."""

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        ca_file: str | Path | None = None,
        virtual_network: str = "",
        proxy: str = "",
        protocol: str = "auto",
    ) -> None:
        """`url` is `https://HOST:PORT`, or `http://` on loopback. `proxy` is the URL of one by which the gateway is
        reached. `protocol` is `quic`, `http2`, `http1.1` (a connection for each flow), or `auto`: QUIC, and HTTP/2
        where UDP is blocked, in the clear, or by a proxy.

        Raises:
            MeshError: the URL or the authority cannot be used.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or 443
        except ValueError:
            port = 0
        if parts.scheme not in {"http", "https"} or not parts.hostname or not port or parts.path not in {"", "/"}:
            raise MeshError(f"{url[:255]!r} is no gateway, such as https://edge.example:8443")
        if parts.username is not None:
            raise MeshError("credentials do not belong into the gateway's URL: they are in the token's file")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise MeshError("a gateway beyond this machine needs https: the secret would be readable on the way")
        self.host, self.port = parts.hostname, port
        self._token = token
        self._virtual_network = virtual_network
        self._tls = _context(ca_file) if parts.scheme == "https" else None
        try:
            self._proxy = parse_proxy(proxy) if proxy else None
        except ValueError as error:
            raise MeshError(f"this is no proxy: {error}") from None
        context = self._http2_context(ca_file)
        quic = self._quic_way(protocol, ca_file)
        self._multiplexed = None
        if protocol != HTTP1:
            self._multiplexed = Multiplexed(
                self.host, self.port, context, self._proxy, quic=quic, only_quic=protocol == QUIC
            )
        self._open: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()

    @property
    def client_id(self) -> str:
        """Who this is, to the gateway."""
        return self._token.client_id

    def __repr__(self) -> str:
        return f"<Mesh {self.host}:{self.port} as {self._token.client_id} connections={len(self._open)}>"

    @property
    def protocol(self) -> str:
        """What carries what is opened now: `quic`, `http2`, `http1.1` (a connection each), "" before the first."""
        return "http1.1" if self._multiplexed is None else self._multiplexed.protocol

    @property
    def protocol_note(self) -> str:
        """Why QUIC was tried and is not used; empty otherwise."""
        quic = None if self._multiplexed is None else self._multiplexed.quic
        return "" if quic is None else quic.reason

    async def open_connection(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to a private address or name. Cancel leaves nothing open.

        Raises:
            MeshError: it was refused, or not reached.
        """
        return await self._reach(host, port, udp=False)

    async def open_udp(self, host: str, port: int) -> Flow:
        """Return UDP to a private address or name; `close` it. Cancel leaves nothing open.

        Raises:
            MeshError: it was refused, or not reached.
        """
        return flow_over(await self.open_end(host, port, udp=True))

    async def open_end(self, host: str, port: int, *, udp: bool = False) -> Carrier:
        """Return a flow of either kind in the form that is carried, over the one connection to the gateway where it
        speaks HTTP/3 or HTTP/2. Cancel leaves nothing open but that connection.

        Raises:
            MeshError: it was refused, or not reached.
        """
        if self._multiplexed is None:
            return SocketEnd(*await self._reach(host, port, udp=udp))
        token, gateway = self._token, join_host_port(self.host, self.port) if udp else ""
        try:
            fields = connect_fields(
                host, port, user=token.client_id, secret=token.secret, virtual_network=self._virtual_network,
                udp_at=gateway,
            )  # fmt: skip
            return await self._open_stream(self._multiplexed, fields, f"{host}:{port}")
        except ProtocolError as error:
            raise MeshError(str(error)) from error
        except NoHttp2:
            return SocketEnd(*await self._reach(host, port, udp=udp))

    async def open_ip(self) -> StreamEnd:
        """Return a stream for IP packets (RFC 9484), over QUIC or HTTP/2. Cancel leaves only the connection open.

        Raises:
            MeshError: it was refused, the gateway was not reached, or speaks HTTP/1.1 alone.
        """
        token, no = self._token, "IP packets need a gateway that speaks HTTP/3 or HTTP/2"
        if self._multiplexed is None:
            raise MeshError(no)
        try:
            fields = connect_ip_fields(
                join_host_port(self.host, self.port), encode_path(), user=token.client_id, secret=token.secret,
                virtual_network=self._virtual_network,
            )  # fmt: skip
            return await self._open_stream(self._multiplexed, fields, "the tunnel")
        except ProtocolError as error:
            raise MeshError(str(error)) from error
        except NoHttp2:
            raise MeshError(no) from None

    async def _open_stream(self, multiplexed: Multiplexed, fields: Fields, what: str) -> StreamEnd:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._answered(await multiplexed.open(fields), what)
        except TimeoutError:
            raise MeshError(f"{what} was not reached within {CONNECT_TIMEOUT:g} s") from None
        except TransportError as error:
            raise MeshError(f"{what}: the gateway broke off: {error}") from error
        except MeshError:
            raise
        except OSError as error:
            raise self._dial_error(error) from error

    async def _answered(self, end: StreamEnd, what: str) -> StreamEnd:
        try:
            status = dict(await end.stream.response()).get(b":status", b"")
            if status == b"200":
                return end
            text = b""
            while len(text) < MAX_TEXT and (piece := await end.stream.receive(MAX_TEXT - len(text))):
                text += piece
            raise _refusal(what, int(status) if status.isdigit() else 0, text)
        except BaseException:
            end.abort()
            raise

    async def _reach(self, host: str, port: int, *, udp: bool) -> Pair:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await self._dial()
                try:
                    await self._connect(reader, writer, host, port, udp=udp)
                except BaseException:
                    writer.transport.abort()
                    raise
        except TimeoutError:
            raise MeshError(f"{host}:{port} was not reached within {CONNECT_TIMEOUT:g} s") from None
        except MeshError:
            raise
        except OSError as error:
            raise self._dial_error(error) from error
        self._open.add(writer)
        return reader, writer

    async def probe(self) -> str:
        """Return why the gateway cannot be reached now; "" where it can. The token is not shown. Cancel at any time."""
        quic = None if self._multiplexed is None else self._multiplexed.quic
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                if quic is not None and (quic.is_up or self._only_quic):
                    (await quic.dial()).close()
                    return ""
                (await self._dial())[1].transport.abort()
        except TimeoutError:
            return f"the gateway {self.host}:{self.port} did not answer within {PROBE_TIMEOUT:g} s"
        except OSError as error:
            return str(self._dial_error(error))
        return ""

    async def close(self) -> None:
        """Close every connection that is still open. Idempotent."""
        if self._multiplexed is not None:
            await self._multiplexed.close()
        for writer in tuple(self._open):
            writer.close()
        self._open.clear()

    def _quic_way(self, protocol: str, ca_file: str | Path | None) -> QuicWay | None:
        if protocol not in PROTOCOLS:
            raise MeshError(f"{protocol!r} is no protocol: choose {', '.join(PROTOCOLS)}")
        self._only_quic = protocol == QUIC
        can = self._tls is not None and self._proxy is None
        if self._only_quic and not can:
            raise MeshError("QUIC to the gateway needs https and no proxy")
        if protocol in (HTTP2, HTTP1) or not can:
            return None
        return QuicWay(self.host, self.port, str(ca_file) if ca_file else None)

    def _http2_context(self, ca_file: str | Path | None) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = _context(ca_file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    async def _dial(self) -> Pair:
        return await open_streams(
            self.host, self.port, tls=self._tls, server_name=self.host, proxy=self._proxy, limit=READ_LIMIT
        )

    def _dial_error(self, error: OSError) -> MeshError:
        if isinstance(error, ssl.SSLError):
            return MeshError(f"the gateway's certificate is not trusted: {error.reason or error}")
        return MeshError(f"the gateway {self.host}:{self.port} cannot be reached: {error.strerror or error}")

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, *, udp: bool
    ) -> None:
        try:
            writer.write(self._request(host, port, udp=udp))
            status = read_status(await reader.readuntil(b"\r\n\r\n"))
        except ProtocolError as error:
            raise MeshError(str(error)) from error
        except asyncio.IncompleteReadError:
            raise MeshError("the gateway ended the connection without an answer") from None
        except asyncio.LimitOverrunError:
            raise MeshError("the gateway's answer is too large") from None
        if status == (101 if udp else 200):
            return
        raise _refusal(f"{host}:{port}", status, await reader.read(MAX_TEXT))

    def _request(self, host: str, port: int, *, udp: bool) -> bytes:
        user, secret, network = self._token.client_id, self._token.secret, self._virtual_network
        if not udp:
            return encode_connect(host, port, user=user, secret=secret, virtual_network=network)
        gateway = join_host_port(self.host, self.port)
        return encode_connect_udp(
            host, port, gateway=gateway, user=user, secret=secret, virtual_network=network
        )  # fmt: skip


def _refusal(what: str, status: int, body: bytes) -> MeshError:
    text = body.decode("utf-8", "replace").strip()
    shown = "".join(char for char in text if char.isprintable()).removesuffix(".")
    meaning = _MEANINGS.get(status, f"status {status}")
    return MeshError(f"{what}: {shown or meaning}", status)


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    token_file: str | Path,
    ca_file: str | Path | None = None,
    virtual_network: str = "",
    proxy: str = "",
    protocol: str = "auto",
) -> AsyncIterator[Mesh]:
    """Use the gateway at `url` within the block, as the service token in `token_file`.

    `proxy` is the URL of one by which the gateway is reached. `protocol` says what carries the flows of a local proxy,
    and UDP: see `Mesh`.

    Raises:
        MeshError: URL, authority or token cannot be used.
    """
    try:
        token = read_token(token_file)
    except TokenError as error:
        raise MeshError(str(error)) from error
    mesh = Mesh(url, token, ca_file=ca_file, virtual_network=virtual_network, proxy=proxy, protocol=protocol)
    try:
        yield mesh
    finally:
        await mesh.close()


def _context(ca_file: str | Path | None) -> ssl.SSLContext:
    try:
        context = client_context(ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise MeshError(f"{ca_file} holds no certificate that can vouch for a gateway") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
