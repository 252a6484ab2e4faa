"""Who is asked for the edge's names: the system's resolver, and a public one over TLS where that fails.

Some networks answer SRV queries wrongly or not at all, and some resolvers answer nothing (reference/lifecycle.md 4).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.SRV

#: Seconds that one resolver has for everything that it is asked.
SYSTEM_TIMEOUT = 10.0
FALLBACK_TIMEOUT = 15.0
#: Server, port and name of the public resolver.
FALLBACK_SERVER = ("1.1.1.1", 853, "cloudflare-dns.com")
#: SRV records that are looked at.
MAX_TARGETS = 16


@dataclass(frozen=True, slots=True)
class Target:
    """One SRV record: a host of the edge and its port."""

    host: str
    port: int


class NoAnswer(Exception):
    """A resolver did not say what it was asked. The text is a part of a sentence."""


class Resolver(Protocol):
    """Answers questions about names."""

    timeout: float

    async def targets(self, name: str) -> list[Target]:
        """Return what the SRV records of `name` point at, best first. Raises NoAnswer. Cancel at any time."""

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of `host` in the order of the answer. Raises NoAnswer. Cancel at any time."""


HostLookup = Callable[[str], Awaitable[list[str]]]


async def look_up_host(host: str) -> list[str]:
    """Ask the system as every program does: /etc/hosts counts. Raises OSError. Cancel at any time."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return [str(entry[4][0]) for entry in found]


class SystemResolver:
    """The servers that this machine is set up with, unless others are given."""

    timeout = SYSTEM_TIMEOUT

    def __init__(
        self,
        make: Callable[[], dns.asyncresolver.Resolver] = dns.asyncresolver.Resolver,
        *,
        look_up_host: HostLookup = look_up_host,
    ) -> None:
        self._make = make
        self._look_up_host = look_up_host

    async def targets(self, name: str) -> list[Target]:
        """See `Resolver`."""
        return _targets(await self._ask(name, "SRV"))

    async def addresses(self, host: str) -> list[str]:
        """See `Resolver`. Where the system does not know the host, its servers are asked directly."""
        try:
            return await self._look_up_host(host)
        except OSError as error:
            try:
                return await _both_families(self._ask, host)
            except NoAnswer:
                raise NoAnswer((error.strerror or str(error)).lower()) from error

    async def texts(self, name: str) -> list[str]:
        """Return the TXT records of `name`, the parts of each put together. Raises NoAnswer. Cancel at any time."""
        found = [getattr(record, "strings", ()) for record in await self._ask(name, "TXT")]
        return [b"".join(parts).decode("utf-8", "replace") for parts in found]

    async def _ask(self, name: str, kind: str) -> Iterable[object]:
        try:
            answer = await self._make().resolve(name, kind, lifetime=self.timeout, search=False)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise NoAnswer(_reason(error)) from error
        return answer.rrset or ()


class ServerResolver(SystemResolver):
    """One server that is given, and asked for everything: names that it knows nobody else may know."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._server = host, port

    async def addresses(self, host: str) -> list[str]:
        """See `Resolver`."""
        return await _both_families(self._ask, host)

    async def _ask(self, name: str, kind: str) -> Iterable[object]:
        host, port = self._server
        try:
            found = await look_up_host(host)
        except OSError as error:
            raise NoAnswer(f"the DNS server {host}: {(error.strerror or str(error)).lower()}") from error
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = list(dict.fromkeys(found)), port
        try:
            answer = await resolver.resolve(name, kind, lifetime=self.timeout, search=False)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise NoAnswer(_reason(error)) from error
        return answer.rrset or ()


class TlsResolver:
    """A resolver that is asked over TLS, whose certificate must be right."""

    timeout = FALLBACK_TIMEOUT

    def __init__(self, server: tuple[str, int, str] = FALLBACK_SERVER, *, verify: bool | str = True) -> None:
        self._server = server
        self._verify = verify

    async def targets(self, name: str) -> list[Target]:
        """See `Resolver`."""
        return _targets(await self._ask(name, "SRV"))

    async def addresses(self, host: str) -> list[str]:
        """See `Resolver`."""
        return await _both_families(self._ask, host)

    async def _ask(self, name: str, kind: str) -> Iterable[object]:
        address, port, server_name = self._server
        try:
            query = dns.message.make_query(name, kind)
            query.flags |= dns.flags.RD
            reply = await dns.asyncquery.tls(
                query, address, port=port, server_hostname=server_name, timeout=self.timeout, verify=self._verify
            )
        except (dns.exception.DNSException, OSError, ValueError, EOFError) as error:
            raise NoAnswer(_reason(error)) from error
        if reply.rcode() != dns.rcode.NOERROR:
            raise NoAnswer(f"the answer is {dns.rcode.to_text(reply.rcode())}")
        return [each for rrset in reply.answer if rrset.rdtype == query.question[0].rdtype for each in rrset]


async def _both_families(ask: Callable[[str, str], Awaitable[Iterable[object]]], host: str) -> list[str]:
    found: list[str] = []
    failed: NoAnswer | None = None
    for kind in ("A", "AAAA"):
        try:
            found += [str(record) for record in await ask(host, kind)]
        except NoAnswer as error:
            failed = failed or error
    if not found:
        raise failed or NoAnswer("it has no address")
    return found


def _targets(records: Iterable[object]) -> list[Target]:
    """Lowest priority first, then highest weight. A root target or port 0 means that there is no such service."""
    found = [record for record in records if isinstance(record, dns.rdtypes.IN.SRV.SRV)]
    found.sort(key=lambda record: (record.priority, -record.weight))
    usable = [record for record in found if record.port and len(record.target.labels) > 1]
    return [Target(record.target.to_text(omit_final_dot=True), record.port) for record in usable[:MAX_TARGETS]]


def _reason(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout | TimeoutError):
        return "no answer in time"
    if isinstance(error, dns.exception.DNSException):
        return str(error).rstrip(".").lower() or type(error).__name__
    return str(error).lower() or type(error).__name__


#: Who is asked, in this order.
DEFAULT_RESOLVERS: tuple[Resolver, ...] = (SystemResolver(), TlsResolver())
