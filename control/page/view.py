"""What the page shows: everything that there is, read in one state of the database."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.page.access_view import access_of, last_records
from pyconnector.control.store.models import Activity, DnsRecord, Edge, HostnameRoute, IpRoute, Tunnel
from pyconnector.control.store.objects import live
from pyconnector.control.store.objects.names import TUNNEL_SUFFIX
from pyconnector.control.store.objects.quick import QUICK

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

#: Objects of one kind that are shown.
MAX_SHOWN = 500


async def everything(
    session: AsyncSession, account_id: str, scopes: frozenset[str], now: datetime.datetime
) -> dict[str, Any]:
    """Return what a token of these scopes may see, by kind; None: not that kind. Cancel reads nothing more."""
    shown: dict[str, Any] = {
        "tunnel_names": {},
        "tunnels": None,
        "edges": None,
        "names": None,
        "routes": None,
        "access": None,
        "records": None,
        "limit": MAX_SHOWN,
    }
    if _may(scopes, "tunnels"):
        shown |= await _tunnels(session, account_id, now)
    if _may(scopes, "dns"):
        rows = (await session.execute(select(DnsRecord).order_by(DnsRecord.name).limit(MAX_SHOWN))).scalars()
        shown["names"] = [{"name": row.name, "tunnel": row.content.removesuffix(TUNNEL_SUFFIX)} for row in rows]
    if _may(scopes, "networks"):
        shown["routes"] = await _routes(session, account_id)
    if _may(scopes, "access"):
        shown["access"] = await access_of(session, account_id, MAX_SHOWN, now)
    if _may(scopes, "audit"):
        shown["records"] = await last_records(session)
    return shown


def _may(scopes: frozenset[str], kind: str) -> bool:
    return f"{kind}:read" in scopes or f"{kind}:edit" in scopes


async def _tunnels(session: AsyncSession, account_id: str, now: datetime.datetime) -> dict[str, Any]:
    statement = select(Tunnel).where(Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None))
    statement = statement.order_by(Tunnel.created_at.desc(), Tunnel.id).limit(MAX_SHOWN)
    rows = list((await session.execute(statement)).scalars())
    connections = await live.connections_of(session, [row.id for row in rows], now)
    active = select(Activity).where(Activity.tunnel_id.in_([row.id for row in rows]))
    activities = {row.tunnel_id: row for row in (await session.execute(active)).scalars()}
    oldest = now - datetime.timedelta(seconds=live.EDGE_LIFETIME)
    edges = (await session.execute(select(Edge).where(Edge.seen_at >= oldest).order_by(Edge.name, Edge.id))).scalars()
    held: dict[str, int] = {}
    for each in connections.values():
        for connection in each:
            held[connection.edge_id] = held.get(connection.edge_id, 0) + 1
    return {
        "tunnel_names": {row.id: row.name for row in rows},
        "tunnels": [
            {
                "id": row.id, "name": row.name, "quick": row.config_src == QUICK,
                "status": live.status_of(activities.get(row.id), connections[row.id]),
                "connections": [
                    {"location": each.location, "origin": each.origin_ip, "version": each.client_version}
                    for each in connections[row.id]
                ],
            }
            for row in rows
        ],
        "edges": [
            {
                "name": edge.name, "address": edge.address, "visitors": edge.about.get("visitors", ""),
                "connections": held.get(edge.id, 0), "draining": bool(edge.about.get("draining")),
            }
            for edge in edges
        ],
    }  # fmt: skip


async def _routes(session: AsyncSession, account_id: str) -> list[dict[str, str]]:
    networks = select(IpRoute).where(IpRoute.account_id == account_id, IpRoute.deleted_at.is_(None))
    networks = networks.order_by(IpRoute.network).limit(MAX_SHOWN)
    names = select(HostnameRoute).where(HostnameRoute.account_id == account_id, HostnameRoute.deleted_at.is_(None))
    names = names.order_by(HostnameRoute.hostname).limit(MAX_SHOWN)
    found = [{"what": row.network, "tunnel": row.tunnel_id} for row in (await session.execute(networks)).scalars()]
    found += [{"what": row.hostname, "tunnel": row.tunnel_id} for row in (await session.execute(names)).scalars()]
    return found
