"""The DNS listener of a control plane: UDP, and TCP for answers that have no room there."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, cast

from pyconnector.control.discovery.records import MAX_QUERY, answer, for_udp
from pyconnector.control.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pyconnector.control.discovery.edges import KnownEdges

#: Queries that are worked on at once; what comes beyond is dropped, and asked again by whoever still wants it.
MAX_QUERIES = 100
#: Answers over UDP that one address gets at once, and seconds after which it gets one more: nobody is flooded in the
#: name of somebody else.
BURST, REFILL = 50, 0.05
#: TCP connections at once, and seconds that each step may take. Of each a query is answered in a turn of the loop.
MAX_CONNECTIONS, TCP_TIMEOUT = 50, 5.0

_log = logging.getLogger("pyconnector.control")


class DnsServer:
    """Serves the edges' records from `start` to `close`."""

    def __init__(self, edges: KnownEdges) -> None:
        self._edges = edges
        self._pace = Pace(burst=BURST, refill=REFILL)
        self._shuffle = random.SystemRandom().shuffle
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<DnsServer {len(self._tasks)} queries, {len(self._streams)} TCP connections>"

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen at one port number for both, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        try:
            self._tcp = await asyncio.start_server(self._serve, host, port, limit=MAX_QUERY, backlog=MAX_CONNECTIONS)
            bound = self._tcp.sockets[0].getsockname()
            self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=bound[:2])
        except BaseException:
            await self.close()
            raise
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """Stop. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in tuple(self._tasks):
            task.cancel()
        for writer in tuple(self._streams):
            writer.transport.abort()
        serving = [task for task in self._streams.values() if task is not None]
        await asyncio.gather(*self._tasks, *serving, return_exceptions=True)

    def received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer a datagram, unless too many are under way or went to that address lately."""
        if (
            len(data) > MAX_QUERY
            or len(self._tasks) >= MAX_QUERIES
            or not self._pace.take(address[0], time.monotonic())
        ):
            return
        self._begin(self._answer(data, address))

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        whole = answer(data, await self._edges.get(), shuffle=self._shuffle)
        if whole is not None and self._udp is not None and not self._udp.is_closing():
            self._udp.sendto(for_udp(whole, data), address)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="DNS query")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("A DNS query failed: %r", error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._streams) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._streams[writer] = asyncio.current_task()
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # it left, or takes too long
        finally:
            await self._leave(writer)

    async def _leave(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        try:
            async with asyncio.timeout(TCP_TIMEOUT):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()  # who does not take its last answers keeps no place
            self._streams.pop(writer, None)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(TCP_TIMEOUT):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > MAX_QUERY:
                return False
            data = await reader.readexactly(size)
            whole = answer(data, await self._edges.get(), shuffle=self._shuffle)
            if whole is None:
                return False
            writer.write(len(whole).to_bytes(2, "big") + whole)
            await writer.drain()
            await asyncio.sleep(0)  # many queries may be there already
        return True


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.received(data, addr)
