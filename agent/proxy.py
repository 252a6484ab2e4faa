"""A local proxy to the private network, SOCKS5 and HTTP on one port of loopback, so that programs need no secret.

Each connection of a program becomes one through the gateway, or a direct one where its destination is not included; of
its UDP (SOCKS5) each destination does.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pyconnector.agent.associate import Association
from pyconnector.agent.carry import PIECE, SocketEnd, Traffic, join
from pyconnector.agent.errors import MeshError
from pyconnector.agent.split import Includes
from pyconnector.agent.udp import open_direct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.handshake import (
    AccessToken,
    Associate,
    Connect,
    Credentials,
    HandshakeError,
    Verdict,
)
from pyconnector.protocol.proxying.http_connect import MAX_HEAD, HttpConnect
from pyconnector.protocol.proxying.http_forward import turn_to_server
from pyconnector.protocol.proxying.socks5 import VERSION, Socks5
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from pyconnector.agent.carry import End
    from pyconnector.agent.client import Mesh
    from pyconnector.agent.udp import Flow
    from pyconnector.protocol.proxying.handshake import Handshake

Pair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Seconds that a program has for its request, and a direct destination to be reached.
HANDSHAKE_TIMEOUT: Final = 10.0
DIRECT_TIMEOUT: Final = 15.0
#: Programs' connections at once.
MAX_CLIENTS: Final = 1_024
_VERDICTS: Final = {403: Verdict.FORBIDDEN, 407: Verdict.FORBIDDEN, 502: Verdict.UNROUTABLE, 503: Verdict.BUSY}

_log = logging.getLogger("pyconnector.agent")


@dataclass(slots=True)
class Counts:
    """What became of programs' requests."""

    opened: int = 0
    direct: int = 0
    failed: int = 0
    last_error: str = ""


class LocalProxy:
    """Serves programs between `start` and `close`."""

    address: tuple[str, int]

    def __init__(self, mesh: Mesh, includes: Includes | None = None) -> None:
        self._mesh = mesh
        self._includes = includes or Includes()
        self.traffic = Traffic()
        self.counts = Counts()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<LocalProxy clients={len(self._clients)}>"

    async def start(self, host: str = "127.0.0.1", port: int = 40_000) -> tuple[str, int]:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken.
            ValueError: it is not of loopback: the proxy asks nobody who they are.
        """
        if host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"the local proxy asks nobody who they are, so it listens on loopback only, not on {host}")
        self._server = await asyncio.start_server(self._accept, host, port, limit=PIECE)
        bound = self._server.sockets[0].getsockname()
        self.address = (str(bound[0]), int(bound[1]))
        return self.address

    def status(self) -> dict[str, Any]:
        """Return how it is, for people: counts and bytes since the start."""
        return {
            "proxy": join_host_port(*self.address), "connections": len(self._clients), "opened": self.counts.opened,
            "direct": self.counts.direct, "failed": self.counts.failed, "last_error": self.counts.last_error,
            "bytes_sent": self.traffic.sent, "bytes_received": self.traffic.received,
        }  # fmt: skip

    async def close(self) -> None:
        """Stop listening and break off every connection. Idempotent. Cancel leaves some of them ending."""
        if self._server is not None:
            self._server.close()
        clients = tuple(self._clients)
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(clients)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (HandshakeError, ProtocolError, MeshError, TimeoutError, OSError, EOFError) as error:
            _log.debug("a program's connection ended: %s", error)
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = (reader, writer)
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            handshake, request, early = await _request(near)
        if isinstance(request, Associate):
            await self._associate(handshake, reader, writer)
            return
        far = await self._reach(handshake, request.host, request.port, writer)
        if not early.passes_on:
            writer.write(handshake.answer(Verdict.GRANTED))
        try:
            await far.send(early.data)
        except BaseException:
            far.abort()
            raise
        await join(SocketEnd(*near), far, self.traffic)

    async def _associate(
        self, handshake: Handshake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry UDP until the program closes this connection (RFC 1928 section 7)."""
        association = Association(self._reach_udp)
        try:
            bound = await association.open(str(writer.get_extra_info("sockname")[0]))
            writer.write(handshake.answer(Verdict.GRANTED, bound=bound))
            while await reader.read(PIECE):
                pass
        finally:
            await association.close()

    async def _reach_udp(self, host: str, port: int) -> Flow:
        if not self._includes.takes(host):
            self.counts.direct += 1
            return await open_direct(host, port)
        try:
            flow = await self._mesh.open_udp(host, port)
        except MeshError as error:
            self.counts.failed += 1
            self.counts.last_error = str(error)
            raise
        self.counts.opened += 1
        return flow

    async def _reach(self, handshake: Handshake, host: str, port: int, writer: asyncio.StreamWriter) -> End:
        try:
            if self._includes.takes(host):
                end = await self._mesh.open_end(host, port)
                self.counts.opened += 1
                return end
            async with asyncio.timeout(DIRECT_TIMEOUT):
                pair = await asyncio.open_connection(host, port, limit=PIECE)
            self.counts.direct += 1
            return SocketEnd(*pair)
        except MeshError as error:
            _log.info("%s", error)
            self.counts.failed += 1
            self.counts.last_error = str(error)
            writer.write(handshake.answer(_VERDICTS.get(error.status, Verdict.UNREACHABLE), str(error)))
            raise
        except (OSError, TimeoutError) as error:
            writer.write(handshake.answer(Verdict.UNREACHABLE, f"{host}:{port} cannot be reached"))
            raise ProtocolError(f"{host}:{port} cannot be reached: {error}") from error


@dataclass(frozen=True, slots=True)
class _Early:
    """What a program sent with its request; `passes_on` says that it is the request itself, for the service."""

    data: bytes
    passes_on: bool = False


async def _request(near: Pair) -> tuple[Handshake, Connect | Associate, _Early]:
    reader, writer = near
    first = await reader.readexactly(1)
    try:
        if first[0] == VERSION:
            return await _handshake(Socks5(anybody=True), first, near)
        head = first + await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"CONNECT ") or len(head) > MAX_HEAD:
            return await _handshake(HttpConnect(), head, near)
        host, port, data = turn_to_server(head)
        return HttpConnect(), Connect(host, port), _Early(data, passes_on=True)
    except HandshakeError as error:
        writer.write(error.answer)
        raise
    except ProtocolError as error:
        writer.write(HttpConnect().answer(Verdict.FAILED, str(error)))
        raise


async def _handshake(handshake: Handshake, first: bytes, near: Pair) -> tuple[Handshake, Connect | Associate, _Early]:
    data, (reader, writer) = first, near
    while True:
        event = handshake.feed(data)
        writer.write(handshake.bytes_to_send())
        if isinstance(event, Credentials | AccessToken):
            writer.write(handshake.authenticated())
            data = b""
        elif event is not None:
            return handshake, event, _Early(handshake.leftover)
        else:
            data = await reader.read(PIECE)
            if not data:
                raise EOFError("a program left in the middle of its request")
