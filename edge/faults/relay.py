"""Packet faults from a seed: a UDP relay that loses, delays and duplicates what passes through it.

The edge puts it before its QUIC socket when asked to (`fault_relay`); the bench uses it alone. With no faults set it
passes everything on, in order.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.edge.settings import SettingsError
from pyconnector.edge.tasks import TaskSet
from pyconnector.transport.udp.batched import UdpEndpoint

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

#: Addresses that are relayed at once; a new one takes the place of the one that was silent longest.
MAX_CLIENTS = 1024
#: Datagrams that wait for the socket of a new client to open.
MAX_EARLY = 64
#: Datagrams that are being delayed; more are lost, as in a full queue.
MAX_DELAYED = 100_000
SOCKET_BUFFER = 7 * 1024 * 1024

DIRECTIONS = ("both", "to_edge", "to_connector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to packets. Probabilities from 0 to 1, times in seconds, one way."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    "15 ms each way make a round trip of 30 ms."
    jitter: float = 0.0
    "Up to so much more delay, each packet its own: packets overtake each other."
    seed: int = 0
    direction: str = "both"

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SettingsError(f"{name} is a probability from 0 to 1")
        for name in ("delay", "jitter"):
            if not 0.0 <= getattr(self, name) <= 10.0:
                raise SettingsError(f"{name} is a number of seconds from 0 to 10")
        if self.direction not in DIRECTIONS:
            raise SettingsError(f"the direction is one of {', '.join(DIRECTIONS)}")


class _Direction:
    """The packets that go one way: decided by its own generator, so that one direction does not disturb the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._faults = Faults()
        self._active = False
        self._random = random.Random()
        self._delayed: set[asyncio.TimerHandle] = set()
        self._waiting = 0
        self.passed = 0
        self.lost = 0
        self.duplicated = 0

    def set(self, faults: Faults | None) -> None:
        """Begin with these from now on; what is delayed already arrives as planned."""
        self._active = faults is not None and faults.direction in ("both", self._name)
        if faults is not None:
            self._faults = faults
            self._random = random.Random(f"{faults.seed} {self._name}")

    def carry(self, endpoint: UdpEndpoint, address: Address, datagrams: list[bytes]) -> None:
        """Do to `datagrams` what the faults say, and send what is left."""
        if not self._active:
            self.passed += len(datagrams)
            endpoint.send([(data, address) for data in datagrams])
            return
        faults = self._faults
        left: list[bytes] = []
        for data in datagrams:
            # Always as many draws a packet, so that what happens to the n-th does not depend on the settings of others.
            lost, doubled, late = self._random.random(), self._random.random(), self._random.random()
            if lost < faults.loss:
                self.lost += 1
                continue
            copies = 1 + (doubled < faults.duplicate)
            self.duplicated += copies - 1
            if faults.jitter:
                self._later(endpoint, address, [data] * copies, faults.delay + late * faults.jitter)
            else:
                left += [data] * copies
        if left:
            if faults.delay:
                self._later(endpoint, address, left, faults.delay)
            else:
                self._send(endpoint, address, left)

    def cancel(self) -> None:
        """Lose what is being delayed."""
        for handle in self._delayed:
            handle.cancel()
        self._delayed.clear()

    def _later(self, endpoint: UdpEndpoint, address: Address, datagrams: list[bytes], delay: float) -> None:
        room = MAX_DELAYED - self._waiting
        self.lost += max(len(datagrams) - room, 0)
        datagrams = datagrams[:room]
        if not datagrams:
            return
        self._waiting += len(datagrams)

        def arrive() -> None:
            self._waiting -= len(datagrams)
            self._delayed.discard(handle)
            self._send(endpoint, address, datagrams)

        handle = asyncio.get_running_loop().call_later(delay, arrive)
        self._delayed.add(handle)

    def _send(self, endpoint: UdpEndpoint, address: Address, datagrams: list[bytes]) -> None:
        self.passed += len(datagrams)
        endpoint.send([(data, address) for data in datagrams])


class _Client:
    """One address of a connector, and the socket that stands for it towards the edge."""

    def __init__(self) -> None:
        self.endpoint: UdpEndpoint | None = None
        self.early: list[bytes] = []
        self.gone = False


class FaultRelay:
    """Relays UDP between whoever sends to it and one target."""

    def __init__(self, host: str, port: int, target: Address) -> None:
        self._host, self._port, self._target = host, port, target
        self._front: UdpEndpoint | None = None
        self._clients: OrderedDict[Address, _Client] = OrderedDict()
        self._to_edge = _Direction("to_edge")
        self._to_connector = _Direction("to_connector")
        self._tasks = TaskSet()
        self._faults: Faults | None = None

    def __repr__(self) -> str:
        return f"<FaultRelay clients={len(self._clients)} faults={self._faults}>"

    @property
    def faults(self) -> Faults | None:
        """What happens to packets now."""
        return self._faults

    def set(self, faults: Faults | None) -> None:
        """Do this to packets from now on; None to leave them alone. The generators begin anew from the seed."""
        self._faults = faults
        self._to_edge.set(faults)
        self._to_connector.set(faults)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what happened to packets so far."""
        return {
            name: {"passed": way.passed, "lost": way.lost, "duplicated": way.duplicated}
            for name, way in (("to_edge", self._to_edge), ("to_connector", self._to_connector))
        }

    async def start(self) -> Address:
        """Listen, and return where. Cancel leaves no socket open.

        Raises:
            OSError: the address is taken or not ours.
        """
        self._front = await UdpEndpoint.open(
            self._host, self._port, socket_buffer=SOCKET_BUFFER, on_datagrams=self._from_connectors
        )
        return self._front.address

    async def close(self) -> None:
        """Close every socket. Idempotent. Cancel leaves sockets closed."""
        self._to_edge.cancel()
        self._to_connector.cancel()
        for client in self._clients.values():
            self._drop(client)
        self._clients.clear()
        if self._front is not None:
            self._front.close()
        await self._tasks.cancel_all()

    def _from_connectors(self, datagrams: list[tuple[bytes, Address]]) -> None:
        by_address: dict[Address, list[bytes]] = {}
        for data, address in datagrams:
            by_address.setdefault(address, []).append(data)
        for address, batch in by_address.items():
            client = self._clients.get(address)
            if client is None:
                client = self._new_client(address)
            else:
                self._clients.move_to_end(address)
            if client.endpoint is not None:
                self._to_edge.carry(client.endpoint, self._target, batch)
            else:
                client.early += batch[: MAX_EARLY - len(client.early)]

    def _new_client(self, address: Address) -> _Client:
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(self._clients.popitem(last=False)[1])
        client = self._clients[address] = _Client()
        self._tasks.start(self._open(client, address), "edge fault relay")
        return client

    async def _open(self, client: _Client, address: Address) -> None:
        def back(datagrams: list[tuple[bytes, Address]]) -> None:
            if self._front is not None:
                self._to_connector.carry(self._front, address, [data for data, _ in datagrams])

        endpoint = await UdpEndpoint.open("", 0, socket_buffer=SOCKET_BUFFER, on_datagrams=back, remote=self._target)
        if client.gone:
            endpoint.close()
            return
        client.endpoint = endpoint
        self._to_edge.carry(endpoint, self._target, client.early)
        client.early = []

    def _drop(self, client: _Client) -> None:
        client.gone = True
        if client.endpoint is not None:
            client.endpoint.close()
