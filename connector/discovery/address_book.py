"""Which edge address each connection dials (reference/lifecycle.md 4). Pure: randomness is an argument.

Discovery yields regions; given addresses (`--edge`) alternate between two. A connection index keeps its address
until it is told to rotate. Several connections to one address are allowed only for given addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

#: Seconds after a failed IPv6 address before a region returns to IPv6.
FAMILY_FALLBACK_SECONDS = 600.0


def is_ipv6(address: Address) -> bool:
    """Whether the host of `address` is written as IPv6."""
    return ":" in address[0]


@dataclass(slots=True)
class Region:
    """The addresses of one region, by family. `addresses` is in the order of the answer: its first is the primary."""

    addresses: Sequence[Address]
    ip_version: str = "auto"
    fallen_back_until: float | None = None
    _primary: list[Address] = field(init=False)
    _secondary: list[Address] = field(init=False)

    def __post_init__(self) -> None:
        four = [address for address in self.addresses if not is_ipv6(address)]
        six = [address for address in self.addresses if is_ipv6(address)]
        if self.ip_version == "both":
            self._primary, self._secondary = [*six, *four], []
        elif self.ip_version == "4":
            self._primary, self._secondary = four, []
        elif self.ip_version == "6":
            self._primary, self._secondary = six, []
        elif self.addresses and not is_ipv6(self.addresses[0]):
            self._primary, self._secondary = four, six
        else:
            self._primary, self._secondary = six, four

    def active(self) -> list[Address]:
        """The addresses of the family in use."""
        return self._secondary if self.fallen_back_until is not None else self._primary

    def failed(self, address: Address, now: float) -> None:
        """`address` could not be reached: fall back to the other family, or return from it."""
        if self.fallen_back_until is None:
            if is_ipv6(address) and address in self._primary and self._secondary:
                self.fallen_back_until = now + FAMILY_FALLBACK_SECONDS
        elif address in self._secondary or now >= self.fallen_back_until:
            self.fallen_back_until = None


class AddressBook:
    """Addresses and who uses them."""

    def __init__(
        self, regions: Sequence[Region], *, choose: Callable[[Sequence[Address]], Address], shared: bool = False
    ) -> None:
        self._regions = [region for region in regions if region.active()]
        self._choose = choose
        self._shared = shared
        self._owned: dict[int, Address] = {}
        self._handshakes: dict[Address, float] = {}

    def __repr__(self) -> str:
        return f"<AddressBook addresses={len(self.addresses)} in_use={len(self._owned)} shared={self._shared}>"

    @property
    def addresses(self) -> list[Address]:
        """Every address in use, once: two regions may name the same."""
        return list(dict.fromkeys(address for region in self._regions for address in region.active()))

    def capacity(self, wanted: int) -> int:
        """How many of `wanted` connections can be had."""
        return wanted if self._shared else min(wanted, len(self.addresses))

    def take(self, index: int) -> Address | None:
        """Return the address of connection `index`, the same as before unless it rotated; None where none is free."""
        address = self._owned.get(index)
        if address is not None and list(self._owned.values()).count(address) > 1:
            # Shared once for want of another: there may be a free one by now.
            free = self._pick(excluded=address, only_free=True)
            if free is not None:
                self._owned[index] = address = free
        if address is None:
            address = self._pick(excluded=None)
            if address is not None:
                self._owned[index] = address
        return address

    def give_back(self, index: int) -> None:
        """Connection `index` is made no more: its address is free. Idempotent."""
        self._owned.pop(index, None)

    def reached(self, address: Address, seconds: float) -> None:
        """A handshake with `address` took so long."""
        self._handshakes[address] = seconds

    def learn(self, regions: Sequence[Region]) -> bool:
        """Know other addresses from now on, if there are any; return whether they differ from those of before.

        A connection keeps its address until it rotates, listed or not.
        """
        known = [region for region in regions if region.active()]
        before = set(self.addresses)
        if not known or {address for region in known for address in region.active()} == before:
            return False
        self._regions = known
        addresses = self.addresses
        self._handshakes = {each: took for each, took in self._handshakes.items() if each in addresses}
        return True

    def rotate(self, index: int, *, now: float, unreachable: bool = True) -> bool:
        """Give `index` another address; False where there is none that fewer use, so that it keeps its own.

        An address that is out of reach is worth keeping where all others are in use: two connections on one would end
        together, and none would find out that the other address is back.
        """
        old = self._owned.pop(index, None)
        if old is None:
            return self.take(index) is not None
        if unreachable:
            self._handshakes.pop(old, None)
            for region in self._regions:
                if old in region.addresses:
                    region.failed(old, now)
        # One that is listed no longer is not worth keeping.
        most = list(self._owned.values()).count(old) if old in self.addresses else None
        new = self._pick(excluded=old, most=most)
        self._owned[index] = old if new is None else new
        return new is not None

    def _best(self, addresses: list[Address], used: Sequence[Address]) -> Address:
        """Of free addresses those of the family that fewer connections use, where both are in use; of these the one
        whose handshake was the quickest, where any is known."""
        six = [address for address in addresses if is_ipv6(address)]
        if six and len(six) < len(addresses):
            four = [address for address in addresses if not is_ipv6(address)]
            sixes = sum(map(is_ipv6, used))
            addresses = six if sixes <= len(used) - sixes else four
        known = [address for address in addresses if address in self._handshakes]
        return min(known, key=lambda address: self._handshakes[address]) if known else self._choose(addresses)

    def _pick(self, *, excluded: Address | None, only_free: bool = False, most: int | None = None) -> Address | None:
        """The region with more free addresses first; among shared ones those that fewest connections use.

        None is shared with `only_free`, or where more than `most` connections use it.
        """
        used = list(self._owned.values())
        free = [[a for a in region.active() if a not in used and a != excluded] for region in self._regions]
        best = max(free, key=len, default=[])
        if best:
            ties = [addresses for addresses in free if len(addresses) == len(best)]
            return self._best([address for addresses in ties for address in addresses], used)
        candidates = [address for address in self.addresses if address != excluded] if self._shared else []
        if not candidates or only_free:
            return None
        fewest = min(used.count(address) for address in candidates)
        if most is not None and fewest > most:
            return None
        return self._choose([address for address in candidates if used.count(address) == fewest])
