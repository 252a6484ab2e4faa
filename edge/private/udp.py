"""One UDP flow of a private-network client, over whichever connection of its tunnel carries it now.

When that connection drains or is lost the flow is registered at another: of the same connector by preference, where a
session of version 3 keeps its socket; else of another connector of the tunnel.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.datagrams.link import IDLE_SECONDS, DatagramLink, OpenFailed
from pyconnector.protocol.datagrams import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address
    from uuid import UUID

    from pyconnector.edge.connectors.tunnels import Member, Tunnel
    from pyconnector.edge.tasks import TaskSet

#: Packets that wait while a flow is being registered; older ones are dropped for newer ones.
WAITING_PACKETS: Final = 16
#: Seconds that a flow may be without a connection before it ends, and between looks for one.
PATIENCE: Final = 10.0
LOOK_INTERVAL: Final = 0.1


def link_of(member: Member) -> DatagramLink | None:
    """Return what carries datagrams over a connection, if anything does."""
    return getattr(member, "datagrams", None)


class PrivateUdp:
    """A flow from `open` to `close`, or to `on_end` with a sentence where it ends by itself."""

    def __init__(
        self,
        tunnel: Tunnel,
        address: IPv4Address | IPv6Address,
        port: int,
        *,
        tasks: TaskSet,
        on_data: Callable[[bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.address = address
        self.port = port
        self.sent = self.received = self.dropped = 0
        "Bytes towards the service, bytes from it, packets dropped here."
        self.connector_id: UUID | None = None
        self.here_alone = False
        "Whether it comes from another edge, and goes to no third."
        self._tunnel = tunnel
        self._tasks = tasks
        self._on_data = on_data
        self._on_end = on_end
        self._id = os.urandom(16)
        self._link: DatagramLink | None = None
        self._waiting: deque[bytes] = deque()
        self._closed = False
        self._moving = False
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._idle = self._loop.call_later(IDLE_SECONDS, self._look)

    def __repr__(self) -> str:
        return f"<PrivateUdp to {self.address} port {self.port} sent={self.sent} received={self.received}>"

    async def open(self, first: bytes = b"") -> None:
        """Register the flow, with its first packet if there is one. Cancel, or a failure, closes it.

        Raises:
            OpenFailed: no connector of the tunnel took it.
        """
        try:
            await self._register(first)
        except BaseException:
            self.close()
            raise
        self.sent += len(first)

    def send(self, data: bytes) -> None:
        """Send a packet to the service; what is too large, or finds no room, is dropped and counted."""
        if self._closed or len(data) > MAX_PAYLOAD_BYTES:
            self.dropped += 1
            return
        self._last = self._loop.time()
        if self._link is None:
            if len(self._waiting) >= WAITING_PACKETS:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(data)
        elif self._link.send(self._id, data):
            self.sent += len(data)
        else:
            self.dropped += 1

    def close(self) -> None:
        """End the flow, without a word to `on_end`. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._idle.cancel()
        self._waiting.clear()
        self._let_go()

    # -- what the link says --------------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """See `SessionUser.arrived`."""
        if not self._closed:
            self._last = self._loop.time()
            self.received += len(data)
            self._on_data(data)

    def ended(self, reason: str) -> None:
        """See `SessionUser.ended`."""
        self._link = None
        self._end(reason)

    def moved(self) -> None:
        """See `SessionUser.moved`."""
        if not self._closed and not self._moving and self._link is not None:
            self._moving = True
            self._tasks.start(self._move(), "edge udp flow moves")

    async def _move(self) -> None:
        before, self._link = self._link, None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await self._register(b"")
                        break
                    except OpenFailed:
                        await asyncio.sleep(LOOK_INTERVAL)
        except TimeoutError:
            self._end("no connector of the tunnel took the flow over")
            return
        finally:
            self._moving = False
            if before is not None and before is not self._link:
                await before.close_session(self._id)
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._link is not None:
            self.send(self._waiting.popleft())

    async def _register(self, first: bytes) -> None:
        failure = OpenFailed("No connector of the tunnel that carries UDP is connected.")
        for connector_id, link in self._candidates():
            try:
                await link.open(self._id, self.address, self.port, self, first=first)
            except OpenFailed as error:
                failure = error
                continue
            except asyncio.CancelledError:
                self._tasks.start(link.give_up(self._id), "edge udp flow is given up")
                raise
            if self._closed:
                await link.close_session(self._id)
                return
            self._link, self.connector_id = link, connector_id
            return
        raise failure

    def _candidates(self) -> list[tuple[UUID | None, DatagramLink]]:
        """What could carry the flow, the best first: at most one connection of each connector, then other edges."""
        found: dict[UUID, DatagramLink] = {}
        first = self._tunnel.pick()
        members = [*([first] if first is not None else []), *self._tunnel.members]
        for member in members:
            link = link_of(member)
            if link is not None:
                found.setdefault(member.registration.client_id, link)
        here = sorted(found.items(), key=lambda item: item[0] != self.connector_id)
        elsewhere = None if self.here_alone else self._tunnel.elsewhere
        peers = () if elsewhere is None else elsewhere(self._tunnel.tunnel_id)
        return [*here, *((None, link) for peer in peers if (link := link_of(peer)) is not None)]

    def _look(self) -> None:
        at = self._last + IDLE_SECONDS
        if at > self._loop.time():
            self._idle = self._loop.call_at(at, self._look)
        else:
            self._end("idle")

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_end(reason)

    def _let_go(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._id in link.sessions:
            self._tasks.start(link.close_session(self._id), "edge udp flow ends")
