"""UDP ASSOCIATE of the local proxy (RFC 1928 section 7): a socket of loopback for one program, a flow for each place.

Packets of anybody but the program are dropped, and so are fragments.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

from pyconnector.agent.udp import Flow
from pyconnector.protocol.proxying.handshake import HandshakeError
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp

Open: TypeAlias = Callable[[str, int], Awaitable[Flow]]

#: Destinations of one program at once.
MAX_DESTINATIONS: Final = 64
#: Packets that wait while a destination is reached.
MAX_WAITING: Final = 16
#: Seconds without a packet after which a destination is forgotten, and for which one that was refused is not tried.
IDLE_SECONDS: Final = 120.0
REFUSED_SECONDS: Final = 5.0

_log = logging.getLogger("pyconnector.agent")


class _Destination:
    """One destination: reached by a task, which then carries what comes back."""

    def __init__(self) -> None:
        self.flow: Flow | None = None
        self.waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self.used = 0.0
        self.task: asyncio.Task[None]


class Association(asyncio.DatagramProtocol):
    """The UDP of one program, from `open` to `close`."""

    def __init__(self, reach: Open) -> None:
        """`reach` opens a flow to a destination; it raises OSError."""
        self.dropped = 0
        self._reach = reach
        self._program: Any = None
        self._destinations: dict[tuple[str, int], _Destination] = {}
        self._refused: dict[tuple[str, int], float] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Association destinations={len(self._destinations)} dropped={self.dropped}>"

    async def open(self, host: str) -> tuple[str, int]:
        """Bind a socket at `host`, and return where. Cancel leaves nothing open.

        Raises:
            OSError: there is none to be had.
        """
        transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        bound = transport.get_extra_info("sockname")
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """End every flow. Idempotent. Cancel leaves some of them ending."""
        if self._transport is not None:
            self._transport.close()
        tasks = [each.task for each in self._destinations.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A packet came, of the program perhaps."""
        if self._program is None:
            self._program = addr  # who sends first: the socket is of loopback, and told to nobody else
        if addr != self._program:
            self.dropped += 1
            return
        try:
            found = decode_udp(data)
        except HandshakeError:
            found = None
        if found is None:
            self.dropped += 1
            return
        self._to(found[:2], found[2])

    def _to(self, where: tuple[str, int], payload: bytes) -> None:
        destination = self._destinations.get(where)
        if destination is None:
            if len(self._destinations) >= MAX_DESTINATIONS or self._refused.get(where, 0.0) > self._loop.time():
                self.dropped += 1
                return
            destination = self._destinations[where] = _Destination()
            destination.task = asyncio.create_task(self._carry(where, destination), name="local proxy udp flow")
        destination.used = self._loop.time()
        if destination.flow is None:
            destination.waiting.append(payload)
        else:
            destination.flow.send(payload)

    async def _carry(self, where: tuple[str, int], destination: _Destination) -> None:
        try:
            flow = destination.flow = await self._reach(*where)
            try:
                while destination.waiting:
                    flow.send(destination.waiting.popleft())
                await self._answers(where, destination, flow)
            finally:
                self.dropped += flow.dropped
                flow.close()
        except OSError as error:
            _log.info("%s", error)
            if destination.flow is None:
                if len(self._refused) >= MAX_DESTINATIONS:
                    self._refused.clear()
                self._refused[where] = self._loop.time() + REFUSED_SECONDS
        finally:
            del self._destinations[where]

    async def _answers(self, where: tuple[str, int], destination: _Destination, flow: Flow) -> None:
        while True:
            try:
                async with asyncio.timeout_at(destination.used + IDLE_SECONDS):
                    payload = await flow.receive()
            except TimeoutError:
                if self._loop.time() >= destination.used + IDLE_SECONDS:
                    return
                continue  # the program sent something meanwhile
            destination.used = self._loop.time()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(encode_udp(*where, payload), self._program)
