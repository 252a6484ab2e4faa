"""Private names, resolved where they are known: by the connector's own resolver, through its virtual DNS service
(reference/wire.md 9).

Answers are kept for as long as they say, within bounds.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from pyconnector.edge.private.datagrams.link import OpenFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.edge.private.udp import PrivateUdp

#: Where a connector answers DNS.
DNS_ADDRESS: Final = IPv6Address("2606:4700:cf1:2000::1")
DNS_PORT: Final = 53
#: Seconds for one question, and how often it is asked: a datagram may be lost.
QUERY_TIMEOUT: Final = 1.5
ATTEMPTS: Final = 3
#: Seconds that an answer is kept at least and at most, and a failure; and answers kept.
MIN_TTL, MAX_TTL, FAILURE_TTL = 1.0, 300.0, 2.0
MAX_KEPT: Final = 4_096
#: Aliases (CNAME) that are followed within one answer.
MAX_ALIASES: Final = 8
#: Datagrams that are looked into for one question, bytes of each, and records: reading names that point at each other
#: takes long, and a connector may send what it wants.
MAX_LOOKS, MAX_ANSWER, MAX_RECORDS = ATTEMPTS, 1_232, 64


class NameNotFound(Exception):
    """A name has no address, or its resolver did not answer. The text is one sentence."""


class NameQueries:
    """Resolves names, each through a tunnel."""

    def __init__(self, flow: Callable[[Tunnel, IPv6Address, int, Callable[[bytes], None]], PrivateUdp]) -> None:
        self._flow = flow
        self._kept: OrderedDict[tuple[UUID, str], tuple[float, IPv4Address | IPv6Address | str]] = OrderedDict()

    async def resolve(self, tunnel: Tunnel, name: str) -> IPv4Address | IPv6Address:
        """Return an address of `name`, IPv4 by preference. Cancel at any time.

        Raises:
            NameNotFound: it has none.
        """
        key = (tunnel.tunnel_id, name)
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(key)
        if kept is None or kept[0] <= now:
            found, ttl = await self._ask_both(tunnel, name)
            kept = (asyncio.get_running_loop().time() + ttl, found)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        if isinstance(kept[1], str):
            raise NameNotFound(kept[1])
        return kept[1]

    async def _ask_both(self, tunnel: Tunnel, name: str) -> tuple[IPv4Address | IPv6Address | str, float]:
        failure = f"{name} has no address."
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found = await self._ask(tunnel, name, kind)
            except NameNotFound as error:
                return str(error), FAILURE_TTL
            if found is not None:
                return found
        return failure, FAILURE_TTL

    async def _ask(
        self, tunnel: Tunnel, name: str, kind: dns.rdatatype.RdataType
    ) -> tuple[IPv4Address | IPv6Address, float] | None:
        query = dns.message.make_query(name, kind)
        answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

        looks = 0

        def arrived(data: bytes) -> None:
            nonlocal looks
            if answer.done() or looks >= MAX_LOOKS or not _may_answer(data, query.id):
                return
            looks += 1
            try:
                message = dns.message.from_wire(data)
            except (dns.exception.DNSException, ValueError):
                return
            if query.is_response(message):
                answer.set_result(message)

        flow = self._flow(tunnel, DNS_ADDRESS, DNS_PORT, arrived)
        wire = query.to_wire()
        try:
            await flow.open(wire)
            for _ in range(ATTEMPTS):
                try:
                    async with asyncio.timeout(QUERY_TIMEOUT):
                        return read_answer(await asyncio.shield(answer), name, kind)
                except TimeoutError:
                    flow.send(wire)
        except OpenFailed as error:
            raise NameNotFound(f"{name} cannot be looked up: {error}") from error
        finally:
            flow.close()
        raise NameNotFound(f"{name} cannot be looked up: the connector's resolver did not answer.")


def _may_answer(data: bytes, query_id: int) -> bool:
    counts = [int.from_bytes(data[at : at + 2]) for at in (4, 6, 8, 10)]
    return (
        len(data) <= MAX_ANSWER
        and int.from_bytes(data[:2]) == query_id
        and counts[0] == 1
        and sum(counts[1:]) <= MAX_RECORDS
    )


def read_answer(
    message: dns.message.Message, name: str, kind: dns.rdatatype.RdataType
) -> tuple[IPv4Address | IPv6Address, float] | None:
    """Return the first address of an answer with the seconds that it may be kept, or None where it holds none.

    Raises:
        NameNotFound: the resolver says that there is no such name, or that it failed.
    """
    code = message.rcode()
    if code == dns.rcode.NXDOMAIN:
        raise NameNotFound(f"{name} does not exist.")
    if code != dns.rcode.NOERROR:
        raise NameNotFound(f"{name} cannot be looked up: the resolver says {dns.rcode.to_text(code)}.")
    wanted = dns.name.from_text(name)
    ttl = MAX_TTL
    for _ in range(MAX_ALIASES):
        for rrset in message.answer:
            if rrset.name != wanted:
                continue
            if rrset.rdtype == kind:
                text = str(next(iter(rrset)))
                address = IPv4Address(text) if kind == dns.rdatatype.A else IPv6Address(text)
                return address, max(MIN_TTL, min(ttl, float(rrset.ttl)))
            if rrset.rdtype == dns.rdatatype.CNAME:
                wanted = next(iter(rrset)).target
                ttl = min(ttl, float(rrset.ttl))
                break
        else:
            return None
    return None
