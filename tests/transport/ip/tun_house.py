"""A TUN device in a network namespace of the test, with a stack at its other end and a path between that loses packets.

kernel's TCP  10.99.0.1 ---- tun ---- path (seeded) ---- IpStack, which is every other address of 10.99.0.0/24
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pyconnector.agent.interface.device import Tun
from pyconnector.transport.ip.icmp import EchoRequest
from pyconnector.transport.ip.stack import Asked, IpStack, TcpAsked
from pyconnector.transport.ip.tcp.values import State
from tests.support.houses.namespaces import run_ip

if TYPE_CHECKING:
    from pyconnector.transport.ip.tcp.connection import Connection

CLIENT, CLIENT6 = "10.99.0.1", "fd99::1"
ROUTERS = {4: ip_address("10.99.0.254").packed, 6: ip_address("fd99::fe").packed}


@dataclass(frozen=True)
class Path:
    """What happens to packets in each direction, as shares of them."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    seed: int = 1


class TunHouse:
    """Echoes what connections bring, datagrams and pings; `decide` may refuse or change that."""

    def __init__(self, tun: Tun, path: Path) -> None:
        self.stack = IpStack(mtu=1280, secret=b"s" * 16, routers=ROUTERS)
        self.stack.sources = frozenset((ip_address(CLIENT).packed, ip_address(CLIENT6).packed))
        self.connections: list[Connection] = []
        self.decide: Callable[[Asked], None] = self.serve
        self.finish_with_peer = True
        self._tun = tun
        self._path = path
        self._random = random.Random(path.seed)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._held: dict[str, tuple[Callable[[bytes], object], bytes]] = {}
        self._to_echo: dict[Connection, bytes] = {}
        self._loop.add_reader(tun.descriptor, self._readable)

    @property
    def now(self) -> float:
        return self._loop.time()

    def close(self) -> None:
        self._loop.remove_reader(self._tun.descriptor)
        if self._timer is not None:
            self._timer.cancel()
        self.stack.close()

    def serve(self, asked: Asked) -> None:
        if isinstance(asked, TcpAsked):
            connection = asked.connection
            self.connections.append(connection)
            self._to_echo[connection] = b""
            connection.on_change = partial(self._soon, connection)
            connection.accept(self.now)
        elif isinstance(asked, EchoRequest):
            self.stack.send_reply(asked, asked.data)
        else:
            packet = asked.packet
            self.stack.send_udp(
                (packet.destination, asked.destination_port), (packet.source, asked.source_port), asked.payload
            )

    def _soon(self, connection: Connection) -> None:
        self._loop.call_soon(self._echo, connection)

    def _echo(self, connection: Connection) -> None:
        if connection.state is State.CLOSED:
            return
        while True:
            data = self._to_echo[connection] or connection.read(65_536)
            room = connection.room
            self._to_echo[connection] = data[room:]
            if not data or not room:
                break
            connection.write(data[:room], self.now)
        if connection.peer_ended and not connection.readable and not self._to_echo[connection]:
            if self.finish_with_peer:
                connection.finish(self.now)
        self.flush()

    def _readable(self) -> None:
        for _ in range(64):
            packet = self._tun.read()
            if packet is None:
                break
            self._travel("in", self._arrived, packet)
        self.flush()

    def _arrived(self, packet: bytes) -> None:
        asked = self.stack.receive(packet, self.now)
        if asked is not None:
            self.decide(asked)

    def flush(self) -> None:
        for packet in self.stack.packets_to_send():
            self._travel("out", self._tun.write, packet)
        if self._timer is not None:
            self._timer.cancel()
        due = self.stack.next_timer
        self._timer = None if due is None else self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self.stack.on_timer(self.now)
        self.flush()

    def _travel(self, way: str, deliver: Callable[[bytes], object], packet: bytes) -> None:
        path, chance = self._path, self._random.random()
        held = self._held.pop(way, None)
        if chance < path.loss:
            pass
        elif chance < path.loss + path.duplication:
            deliver(packet)
            deliver(packet)
        elif chance < path.loss + path.duplication + path.reordering and held is None:
            self._held[way] = (deliver, packet)
        else:
            deliver(packet)
        if held is not None:
            held[0](held[1])


@contextlib.asynccontextmanager
async def tun_house(path: Path | None = None) -> AsyncIterator[TunHouse]:
    """To be used within `run_in_own_network`."""
    tun = Tun("pyct%d")
    try:
        run_ip("address", "add", f"{CLIENT}/24", "dev", tun.name)
        run_ip("link", "set", tun.name, "mtu", "1280", "up")
        run_ip("-6", "address", "add", f"{CLIENT6}/64", "dev", tun.name, "nodad")
        house = TunHouse(tun, path or Path())
        try:
            yield house
        finally:
            house.close()
    finally:
        tun.close()
