"""Handshakes that are under way at a listener: who may begin one, and who must first show that it is where it says.

The first few begin at once. While more are under way, whoever sends a first packet is sent a Retry (RFC 9000 8.1.2),
for which nothing is kept: it goes to the address that the packet claims to come from, and comes back from there alone.
So packets with made-up addresses take no place from anybody. An address that is real has so many places, and where they
are taken its oldest handshake makes room, for one that gets on is over in a few round trips. Used by the listeners of
both engines; no I/O, clock and secret are the caller's.
"""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.seam import Address

#: Handshakes under way above which a client must show its address before another begins.
RETRY_ABOVE = 32
#: Handshakes under way of one address: enough for many connectors behind one router, which come and go in milliseconds.
PER_HOST = 64
#: Seconds that a handshake has before it makes room for another of its address.
LEAST_TIME = 0.5
#: Seconds that a client has to come back with what a Retry gave it.
TOKEN_LIFETIME = 10.0
#: Bytes of the connection ID that a Retry makes the client use.
ID_LENGTH = 8

_MAC, _TIME = 16, 8

_Connection = TypeVar("_Connection")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A handshake may begin. The IDs are what the server has to repeat in it (RFC 9000 7.3)."""

    original_destination: bytes
    retry_source: bytes | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The client has to come back with `token`, to the connection ID `source`."""

    source: bytes
    token: bytes


@dataclass(slots=True)
class _Host(Generic[_Connection]):
    under_way: deque[tuple[float, _Connection]] = field(default_factory=deque)  # oldest first


class HalfOpen(Generic[_Connection]):
    """The handshakes under way of one listener."""

    def __init__(
        self,
        limit: int,
        *,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        abandon: Callable[[_Connection], None],
    ) -> None:
        """At most `limit` in all; `abandon` gives one of them up, which has to come back as `ended`."""
        self._limit = limit
        self._now = now
        self._random = random
        self._abandon = abandon
        self._secret = random(32)
        self._hosts: dict[str, _Host[_Connection]] = {}
        self._where: dict[_Connection, str] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, connection: object) -> bool:
        return connection in self._where

    def __repr__(self) -> str:
        return f"<HalfOpen {len(self._where)} of {self._limit}, {len(self._hosts)} hosts>"

    def judge(self, address: Address, destination: bytes, token: bytes) -> Admitted | Retry | None:
        """Say what becomes of a first packet from `address` to the ID `destination`; None where it is dropped."""
        original = self._original(address, destination, token) if token else None
        if original is None:
            if len(self._where) < min(RETRY_ABOVE, self._limit):
                return Admitted(destination)
            return self._retry(address, destination)
        if not self._has_place(address):
            return None
        return Admitted(original, destination)

    def began(self, connection: _Connection, address: Address) -> None:
        """A handshake that was admitted is under way."""
        self._where[connection] = address[0]
        self._hosts.setdefault(address[0], _Host()).under_way.append((self._now(), connection))

    def ended(self, connection: _Connection) -> bool:
        """A handshake is over, however; return whether it was under way. Idempotent."""
        name = self._where.pop(connection, None)
        if name is None:
            return False
        host = self._hosts[name]
        host.under_way = deque(entry for entry in host.under_way if entry[1] is not connection)
        if not host.under_way:
            del self._hosts[name]
        return True

    def _has_place(self, address: Address) -> bool:
        """Whether one more may begin there, for which the oldest is given up if need be."""
        host = self._hosts.get(address[0])
        if host is not None and len(host.under_way) >= PER_HOST:
            return self._make_room(host)
        if len(self._where) >= self._limit:
            return self._make_room(max(self._hosts.values(), key=lambda one: len(one.under_way)))
        return True

    def _make_room(self, host: _Host[_Connection]) -> bool:
        since, oldest = host.under_way[0]
        if self._now() - since < LEAST_TIME:
            return False
        self.ended(oldest)
        self._abandon(oldest)
        return True

    # -- tokens ----------------------------------------------------------------------------------------------------

    def _retry(self, address: Address, destination: bytes) -> Retry:
        source = self._random(ID_LENGTH)
        body = int(self._now() * 1000).to_bytes(_TIME) + destination
        return Retry(source, self._sign(address, source, body) + body)

    def _original(self, address: Address, destination: bytes, token: bytes) -> bytes | None:
        """Return the ID that the client began with, where `token` is ours, in time, and from this address."""
        mac, body = token[:_MAC], token[_MAC:]
        if len(body) < _TIME or not hmac.compare_digest(mac, self._sign(address, destination, body)):
            return None
        age = self._now() - int.from_bytes(body[:_TIME]) / 1000
        return body[_TIME:] if age <= TOKEN_LIFETIME else None

    def _sign(self, address: Address, source: bytes, body: bytes) -> bytes:
        said = b"\0".join((address[0].encode(), b"%d" % address[1], source.hex().encode(), body))
        return hmac.digest(self._secret, said, "sha256")[:_MAC]
