"""Which reported connections count: those of an edge that was heard of lately. By this end's clock alone."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from sqlalchemy import and_, select
from sqlalchemy.orm import aliased

from pyconnector.control.store.models import Activity, Connection, Edge, Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

#: Seconds without a report after which an edge and its connections are not counted.
EDGE_LIFETIME = 5.0


def _oldest(now: datetime.datetime) -> datetime.datetime:
    return now - datetime.timedelta(seconds=EDGE_LIFETIME)


async def edges_for_connectors(session: AsyncSession, now: datetime.datetime) -> list[Edge]:
    """Return the living edges that do not drain, by name. Cancel reads nothing more."""
    found = (await session.execute(select(Edge).where(Edge.seen_at >= _oldest(now)).order_by(Edge.name))).scalars()
    return [edge for edge in found if not edge.about.get("draining")]


async def connections_of(
    session: AsyncSession, tunnel_ids: Iterable[str], now: datetime.datetime
) -> dict[str, list[Connection]]:
    """Return the living connections of each tunnel, oldest first. Cancel reads nothing more."""
    wanted = list(tunnel_ids)
    found: dict[str, list[Connection]] = {tunnel_id: [] for tunnel_id in wanted}
    statement = (
        select(Connection)
        .join(Edge, Edge.id == Connection.edge_id)
        .where(Connection.tunnel_id.in_(wanted), Edge.seen_at >= _oldest(now))
        .order_by(Connection.opened_at, Connection.id)
    )
    for connection in (await session.execute(statement)).scalars():
        found[connection.tunnel_id].append(connection)
    return found


def status_of(activity: Activity | None, connections: list[Connection]) -> str:
    """Return `inactive` (never connected), `down`, `degraded` (a connector lacks a connection before its last) or
    `healthy`."""
    if not connections:
        return "inactive" if activity is None or activity.active_at is None else "down"
    positions: dict[str, set[int]] = {}
    for connection in connections:
        positions.setdefault(connection.client_id, set()).add(connection.position)
    whole = all(held == set(range(max(held) + 1)) for held in positions.values())
    return "healthy" if whole else "degraded"


def status_condition(status: str, now: datetime.datetime) -> ColumnElement[bool]:
    """Return what selects the tunnels of a status, as `status_of` tells it."""
    living = (
        select(Connection.id)
        .join(Edge, Edge.id == Connection.edge_id)
        .where(Connection.tunnel_id == Tunnel.id, Edge.seen_at >= _oldest(now))
        .exists()
    )
    was_active = select(Activity).where(Activity.tunnel_id == Tunnel.id, Activity.active_at.is_not(None)).exists()
    if status == "inactive":
        return and_(~living, ~was_active)
    if status == "down":
        return and_(~living, was_active)
    outer, before, edge = aliased(Connection), aliased(Connection), aliased(Edge)
    previous = (
        select(before.id)
        .join(edge, edge.id == before.edge_id)
        .where(
            before.tunnel_id == outer.tunnel_id,
            before.client_id == outer.client_id,
            before.position == outer.position - 1,
            edge.seen_at >= _oldest(now),
        )
        .exists()
    )
    gap = (
        select(outer.id)
        .join(Edge, Edge.id == outer.edge_id)
        .where(outer.tunnel_id == Tunnel.id, Edge.seen_at >= _oldest(now), outer.position > 0, ~previous)
        .exists()
    )
    return and_(living, gap if status == "degraded" else ~gap)
