"""The edge's addresses in DNS: two regions by SRV records (reference/lifecycle.md 4).

The system's resolver is asked first; where it fails, a public one over TLS, because some networks answer SRV queries
wrongly or not at all. Called by `connector.discovery.addresses` when no address was given.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import dns.rdatatype
import dns.rdtypes.IN.SRV

from pyconnector.connector.api.errors import EdgeNotFound
from pyconnector.connector.discovery.address_book import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE = "v2-origintunneld"
DOMAIN = "argotunnel.com"
#: Seconds that the system's resolver has, and then the public one.
SYSTEM_TIMEOUT = 10.0
FALLBACK_TIMEOUT = 15.0
FALLBACK_SERVER = ("1.1.1.1", 853, "cloudflare-dns.com")
#: Regions that are used, of those that DNS names.
REGIONS = 2
#: Addresses of one region that are used.
MAX_ADDRESSES = 64


def srv_name(region: str) -> str:
    """Return the name whose SRV records name the edge of `region`, empty for any."""
    return f"_{region + '-' if region else ''}{SERVICE}._tcp.{DOMAIN}"


async def look_up(region: str, *, ip_version: str) -> list[Region]:
    """Return the regions of the edge. Cancel at any time.

    Raises:
        EdgeNotFound: DNS names no edge, or one of its names has no address.
    """
    name = srv_name(region)
    try:
        async with asyncio.timeout(SYSTEM_TIMEOUT):
            targets = await _ask_system(name)
    except (dns.exception.DNSException, OSError, TimeoutError) as error:
        try:
            async with asyncio.timeout(FALLBACK_TIMEOUT):
                targets = await _ask_fallback(name)
        except (dns.exception.DNSException, OSError, TimeoutError):
            targets = []
        if not targets:
            raise EdgeNotFound(
                f"could not look the edge up in DNS ({name}): {_reason(error)}; "
                "is this machine online? --edge HOST:PORT names an edge without DNS"
            ) from error
    if len(targets) < REGIONS:
        raise EdgeNotFound(f"DNS names {len(targets)} regions of the edge ({name}), and {REGIONS} are needed")
    return [Region(await _addresses(host, port), ip_version) for host, port in targets[:REGIONS]]


async def _ask_system(name: str) -> list[tuple[str, int]]:
    answer = await dns.asyncresolver.resolve(name, "SRV", lifetime=SYSTEM_TIMEOUT)
    return _targets(answer)


async def _ask_fallback(name: str) -> list[tuple[str, int]]:
    server, port, hostname = FALLBACK_SERVER
    query = dns.message.make_query(name, "SRV")
    reply = await dns.asyncquery.tls(query, server, port=port, server_hostname=hostname, timeout=FALLBACK_TIMEOUT)
    return _targets(rdata for rrset in reply.answer if rrset.rdtype == dns.rdatatype.SRV for rdata in rrset)


def _targets(records: Iterable[object]) -> list[tuple[str, int]]:
    """Host and port of each record, lowest priority and then highest weight first."""
    found = [record for record in records if isinstance(record, dns.rdtypes.IN.SRV.SRV)]
    found.sort(key=lambda record: (record.priority, -record.weight))
    return [(record.target.to_text(omit_final_dot=True), record.port) for record in found]


async def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SYSTEM_TIMEOUT):
            found = await loop.getaddrinfo(host, port)
    except (OSError, TimeoutError) as error:
        raise EdgeNotFound(f"could not look up {host}, a region of the edge: {_reason(error)}") from error
    addresses = list(dict.fromkeys((str(entry[4][0]), port) for entry in found))[:MAX_ADDRESSES]
    if not addresses:
        raise EdgeNotFound(f"{host}, a region of the edge, has no address")
    return addresses


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, dns.exception.DNSException):
        return str(error).rstrip(".").lower() or type(error).__name__
    return str(error).lower()
