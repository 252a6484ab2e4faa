"""Where the edge is: addresses given by the user, or the edge's SRV records (reference/lifecycle.md 4)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import EdgeNotFound, StartFailed
from pyconnector.connector.discovery.address_book import AddressBook, Region
from pyconnector.connector.discovery.region_names import PORT, region_names
from pyconnector.connector.observe.log import Log, escape, fields

if TYPE_CHECKING:
    from pyconnector.connector.config.model import EdgeConfig
    from pyconnector.connector.discovery.resolvers import Resolver
    from pyconnector.transport.seam import Address

#: Seconds that looking up one name may take.
RESOLVE_TIMEOUT = 10.0


def split_host_port(text: str) -> Address:
    """Read `host:port`, `[v6]:port` or `host`.

    Raises:
        ValueError: it is none of these. The message is a sentence.
    """
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port_text = rest[1:] if rest.startswith(":") else ""
        if not bracket or (rest and not port_text):
            raise ValueError(f'"{escape(text)}" is no address; write [IPV6]:PORT')
    elif text.count(":") > 1:
        host, port_text = text, ""
    else:
        host, colon, port_text = text.partition(":")
        if colon and not port_text:
            raise ValueError(f'"{escape(text)}" lacks its port; write HOST:PORT')
    if not host:
        raise ValueError(f'"{escape(text)}" lacks a host; write HOST:PORT')
    if not port_text:
        return host, PORT
    if not port_text.isascii() or not port_text.isdigit() or not 1 <= int(port_text) <= 65535:
        raise ValueError(f'"{escape(text)}" has no port between 1 and 65535')
    return host, int(port_text)


async def resolve_given(addresses: Sequence[str], *, ip_version: str = "auto", by_name: bool = False) -> list[Region]:
    """Look up each given address; those that cannot be used are logged and left out. Cancel at any time.

    With `by_name` a host that is not found stays as it is: a proxy may know it.

    Raises:
        EdgeNotFound: none of them can be looked up at the moment.
        StartFailed: none of them can ever be used.
    """
    regions: list[Region] = []
    unusable: dict[str, str] = {}
    may_be_found = False
    for text in addresses:
        try:
            found = await _resolve(split_host_port(text), ip_version)
        except (ValueError, OSError, TimeoutError) as error:
            if by_name and not isinstance(error, ValueError):
                regions.append(Region([split_host_port(text)]))
                continue
            unusable[text] = _reason(error)
            may_be_found = may_be_found or not isinstance(error, ValueError)
        else:
            regions.append(Region(found, "both" if ip_version == "both" else "auto"))
    if not regions:
        reasons = "; ".join(f"{text}: {reason}" for text, reason in unusable.items())
        raise (EdgeNotFound if may_be_found else StartFailed)(f"failed to resolve any edge address ({reasons})")
    for text, reason in unusable.items():
        Log("discovery").warning("Cannot use an edge address", **fields(address=text, reason=reason))
    return regions


async def _resolve(address: Address, ip_version: str) -> list[Address]:
    """Return one address, or with `both` one of each family."""
    host, port = address
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if ip_version not in ("auto", "both", str(literal.version)):
            raise ValueError(f"is no IPv{ip_version} address")
        return [(host, port)]
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(ip_version, socket.AF_UNSPEC)
    async with asyncio.timeout(RESOLVE_TIMEOUT):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    hosts = [str(entry[4][0]) for entry in found]
    if ip_version != "both":
        return [(hosts[0], port)]
    return [(host, port) for host in {":" in host: host for host in reversed(hosts)}.values()]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer from the resolver within {RESOLVE_TIMEOUT:g} s"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)


async def find_edge(
    edge: EdgeConfig,
    *,
    choose: Callable[[Sequence[Address]], Address],
    resolvers: Sequence[Resolver] | None = None,
    share: Callable[[Sequence[Region]], Sequence[Region]] | None = None,
) -> AddressBook:
    """Return the edge addresses to dial: those given, or those that DNS names, of which `share` may leave some to
    others. Cancel at any time.

    Raises:
        EdgeNotFound: DNS does not answer, or not with an edge; or the address to connect from is not there yet.
        StartFailed: there is none.
    """
    if edge.bind_address is not None:
        _check_bind(edge.bind_address)
    if edge.addresses:
        by_name = edge.proxy is not None
        regions = await resolve_given(edge.addresses, ip_version=edge.ip_version, by_name=by_name)
        return AddressBook(regions, choose=choose, shared=True)
    from pyconnector.connector.discovery.resolvers import DEFAULT_RESOLVERS
    from pyconnector.connector.discovery.srv_lookup import look_up

    if edge.proxy is not None and resolvers is None:
        resolvers = DEFAULT_RESOLVERS[:1]  # the public one over TLS would have to be reached past the proxy
    try:
        regions = await look_up(edge.region, ip_version=edge.ip_version, resolvers=resolvers, discovery=edge.discovery)
    except EdgeNotFound as error:
        if edge.proxy is None or edge.discovery.is_own:
            raise
        Log("discovery").info("The edge is not in the DNS of this network: its names are left to the proxy (%s)", error)
        return AddressBook([Region([(name, PORT)]) for name in region_names(edge.region)], choose=choose, shared=True)
    if edge.discovery.is_own:
        return AddressBook(regions, choose=choose, shared=True)  # there may be fewer edges than connections
    return AddressBook(regions if share is None else share(regions), choose=choose)


def _check_bind(host: str) -> None:
    """An address that is none of this machine's: no attempt to connect from it would succeed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EdgeNotFound(f"cannot connect from {host} (--edge-bind-address): {reason}") from error
