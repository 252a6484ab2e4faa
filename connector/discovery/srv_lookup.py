"""The edge's addresses in DNS: two regions by SRV records (reference/lifecycle.md 4).

Called by `connector.discovery.addresses` when no address was given. What a resolver says is checked, not believed:
who serves at an address has to prove in TLS that it is the edge, and what cannot be an address of anybody is left out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import EdgeNotFound
from pyconnector.connector.discovery.address_book import Region
from pyconnector.connector.discovery.places import DOMAIN, PROVIDER, Discovery
from pyconnector.connector.discovery.resolvers import DEFAULT_RESOLVERS, NoAnswer, ServerResolver
from pyconnector.connector.observe.log import Log, escape, fields

if TYPE_CHECKING:
    from pyconnector.connector.discovery.resolvers import Resolver

SERVICE = "v2-origintunneld"
#: Regions that are used, of those that DNS names.
REGIONS = 2
#: Addresses of one region that are used.
MAX_ADDRESSES = 64


def srv_name(region: str, domain: str = DOMAIN) -> str:
    """Return the name whose SRV records name the edge of `region`, empty for any."""
    return f"_{region + '-' if region else ''}{SERVICE}._tcp.{domain}"


async def look_up(
    region: str,
    *,
    ip_version: str,
    resolvers: Sequence[Resolver] | None = None,
    discovery: Discovery = PROVIDER,
) -> list[Region]:
    """Return the regions of the edge, as the first resolver names them that names any. Cancel at any time.

    A server that `discovery` names is asked alone; a public resolver is never asked for names of a mesh.

    Raises:
        EdgeNotFound: none does. The text is what the first one said.
    """
    name = srv_name(region, discovery.domain)
    first: NoAnswer | None = None
    if discovery.server is not None:
        resolvers = (ServerResolver(*discovery.server),)
    elif resolvers is None:
        resolvers = DEFAULT_RESOLVERS[:1] if discovery.is_own else DEFAULT_RESOLVERS
    for resolver in resolvers:
        try:
            return await _regions(resolver, name, ip_version)
        except NoAnswer as error:
            first = first or error
            Log("discovery").debug("A resolver does not name the edge: %s", error, **fields(name=name))
    raise EdgeNotFound(
        f"could not look the edge up in DNS ({name}): {first}; "
        "is this machine online? --edge HOST:PORT names an edge without DNS"
    ) from first


async def _regions(resolver: Resolver, name: str, ip_version: str) -> list[Region]:
    try:
        async with asyncio.timeout(resolver.timeout):
            targets = await resolver.targets(name)
            if len(targets) < REGIONS:
                raise NoAnswer(f"it names {len(targets)} regions of the edge, and {REGIONS} are needed")
            regions = []
            for target in targets[:REGIONS]:
                hosts = await _addresses(resolver, target.host)
                regions.append(Region([(host, target.port) for host in hosts], ip_version))
    except TimeoutError as error:
        raise NoAnswer("no answer in time") from error
    if not any(region.active() for region in regions):
        raise NoAnswer(f"it names no IPv{ip_version} address of the edge (--edge-ip-version)")
    return regions


async def _addresses(resolver: Resolver, host: str) -> list[str]:
    try:
        found = await resolver.addresses(host)
    except NoAnswer as error:
        raise NoAnswer(f"{escape(host)}, a region of the edge: {error}") from error
    usable = [address for address in dict.fromkeys(found) if _can_be_dialled(address)][:MAX_ADDRESSES]
    if not usable:
        raise NoAnswer(f"{escape(host)}, a region of the edge, has no address")
    return usable


def _can_be_dialled(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address(0xFFFFFFFF))
