"""Tunnels and connections as JSON (api.md 6)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.api.envelope import time_text
from pyconnector.control.store.objects import live
from pyconnector.control.store.objects.quick import QUICK

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.models import Connection, Tunnel

from pyconnector.control.store.models import Activity


def token_of(tunnel: Tunnel) -> str:
    """Return what a connector is started with: all that it takes to be this tunnel."""
    fields = {"a": tunnel.account_id, "t": tunnel.id, "s": tunnel.secret}
    return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode("ascii")


async def tunnels_json(
    session: AsyncSession, tunnels: Sequence[Tunnel], now: datetime.datetime
) -> list[dict[str, Any]]:
    """Return tunnels with their connections and status. Cancel reads nothing more."""
    connections = await live.connections_of(session, [tunnel.id for tunnel in tunnels], now)
    statement = select(Activity).where(Activity.tunnel_id.in_(list(connections)))
    activities = {row.tunnel_id: row for row in (await session.execute(statement)).scalars()}
    return [_tunnel_json(tunnel, connections[tunnel.id], activities.get(tunnel.id)) for tunnel in tunnels]


def _tunnel_json(tunnel: Tunnel, connections: list[Connection], activity: Activity | None) -> dict[str, Any]:
    quick = tunnel.config_src == QUICK
    return {
        "id": tunnel.id,
        "account_tag": tunnel.account_id,
        "name": tunnel.name,
        # Clients know two of them.
        "config_src": "local" if quick else tunnel.config_src,
        "remote_config": tunnel.config_src == "cloudflare",
        "connections": [connection_json(connection) for connection in connections],
        "conns_active_at": time_text(activity.active_at) if activity is not None and connections else None,
        "conns_inactive_at": time_text(activity.inactive_at) if activity is not None and not connections else None,
        "created_at": time_text(tunnel.created_at),
        "deleted_at": time_text(tunnel.deleted_at),
        "metadata": {"quick": True} if quick else {},
        "status": live.status_of(activity, connections),
        "tun_type": "cfd_tunnel",
    }


def connection_json(connection: Connection) -> dict[str, Any]:
    """Return one connection."""
    return {
        "id": connection.id,
        "uuid": connection.id,
        "client_id": connection.client_id,
        "client_version": connection.client_version,
        "colo_name": connection.location,
        "is_pending_reconnect": False,
        "opened_at": time_text(connection.opened_at),
        "origin_ip": connection.origin_ip,
    }


def clients_json(connections: list[Connection]) -> list[dict[str, Any]]:
    """Return connectors, each with its connections, the longest connected first."""
    clients: dict[str, list[Connection]] = {}
    for connection in connections:
        clients.setdefault(connection.client_id, []).append(connection)
    return [
        {
            "id": client_id,
            "arch": held[0].arch,
            "config_version": max(connection.configuration_version for connection in held),
            "conns": [connection_json(connection) for connection in held],
            "features": held[0].features,
            "run_at": time_text(held[0].opened_at),
            "version": held[0].client_version,
        }
        for client_id, held in clients.items()
    ]
