"""How the checks before a connection try each thing: real handshakes with the edge, under the name that it keeps for
that, and closed at once (reference/wire.md 1)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.discovery.addresses import resolve_given
from pyconnector.connector.discovery.prechecks import PROBE_TIMEOUT, Probes, Region
from pyconnector.connector.discovery.region_names import PORT, region_names
from pyconnector.connector.observe.log import escape
from pyconnector.transport.settings import ClientTls

if TYPE_CHECKING:
    from pyconnector.connector.config.model import EdgeConfig
    from pyconnector.connector.discovery.resolvers import Resolver
    from pyconnector.transport.seam import Address

#: Name that an edge is asked for by checks alone.
PROBE_SERVER_NAME = "probe.cftunnel.com"
REASON = "precheck complete"


def probes_for(edge: EdgeConfig, resolvers: Sequence[Resolver] | None = None) -> Probes:
    """Return what tries the edge that `edge` says."""
    given = edge.addresses
    return Probes(
        regions=_given(edge) if given else _looked_up(edge, resolvers),
        quic=_quic(edge) if edge.proxy is None else None,
        http2=_http2(edge),
        api=None if given else _api(edge),
    )


def _given(edge: EdgeConfig) -> Callable[[], Awaitable[Sequence[Region]]]:
    async def regions() -> Sequence[Region]:
        found = []
        for text in edge.addresses:
            try:
                by_name = edge.proxy is not None
                (region,) = await resolve_given([text], ip_version=edge.ip_version, by_name=by_name)
            except StartFailed as error:
                found.append(Region(escape(text), error=str(error)))
            else:
                found.append(Region(escape(text), tuple(region.addresses)))
        return found

    return regions


def _looked_up(edge: EdgeConfig, resolvers: Sequence[Resolver] | None) -> Callable[[], Awaitable[Sequence[Region]]]:
    async def regions() -> Sequence[Region]:
        from pyconnector.connector.discovery.srv_lookup import look_up

        names = region_names(edge.region)
        try:
            found = await look_up(
                edge.region, ip_version=edge.ip_version, resolvers=resolvers, discovery=edge.discovery
            )
        except StartFailed as error:
            if edge.proxy is not None:  # which is left to find them
                return [Region(name, ((name, PORT),)) for name in names]
            return [Region(name, error=str(error)) for name in names]
        return [Region(name, tuple(region.active())) for name, region in zip(names, found, strict=False)]

    return regions


def _quic(edge: EdgeConfig) -> Callable[[Address], Awaitable[None]]:
    tls = ClientTls(server_name=PROBE_SERVER_NAME, ca_file=edge.ca_file, post_quantum_only=edge.post_quantum)

    async def probe(address: Address) -> None:
        from pyconnector.transport import quic

        settings = replace(edge.quic, largest_packet_size=edge.quic.initial_packet_size)
        connection = await quic.connect(address, tls=tls, settings=settings, local_host=edge.bind_address)
        connection.close(0, REASON)
        with contextlib.suppress(Exception):  # how it ends is of no interest
            await connection.wait_closed()

    return probe


def _http2(edge: EdgeConfig) -> Callable[[Address], Awaitable[None]]:
    async def probe(address: Address) -> None:
        from pyconnector.transport import http2

        connection = await http2.connect(
            address,
            ca_file=edge.ca_file,
            server_name=PROBE_SERVER_NAME,
            local_host=edge.bind_address,
            proxy=edge.proxy_to(address),
        )
        connection.close(0, REASON)
        with contextlib.suppress(Exception):
            await connection.wait_closed()

    return probe


def _api(edge: EdgeConfig) -> Callable[[Address], Awaitable[None]]:
    async def probe(address: Address) -> None:
        if (proxy := edge.proxy_to(address)) is not None:
            from pyconnector.transport.proxy.dial import open_through

            (await open_through(proxy, address, timeout=PROBE_TIMEOUT)).close()
            return
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    return probe
