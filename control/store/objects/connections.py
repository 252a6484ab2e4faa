"""What edges report: that they live, and which connections of connectors they hold."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from pyconnector.control.store.models import Activity, Connection, Edge, Tunnel
from pyconnector.control.store.objects.live import EDGE_LIFETIME, connections_of
from pyconnector.control.store.objects.tunnels import find
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from pyconnector.control.store.work import Work

#: Connections that one edge may report.
MAX_REPORTED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeReport:
    """An edge, as it describes itself. `id` is new at each of its starts, so two edges of one name are two."""

    id: str
    name: str
    address: str
    "HOST:PORT for connectors."
    visitors: str = ""
    "Where visitors reach it: a URL without a path."
    peer: str = ""
    "HOST:PORT for other edges."
    leaving: bool = False
    draining: bool = False
    "It is about to stop: nobody is sent there, and others ask it last."

    @property
    def about(self) -> dict[str, Any]:
        """What is kept beside the address."""
        return {"visitors": self.visitors, "peer": self.peer} | ({"draining": True} if self.draining else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReport:
    """One connection. `age` in seconds, since an edge's clock may be anywhere."""

    id: str
    tunnel_id: str
    client_id: str
    client_version: str
    arch: str
    features: tuple[str, ...]
    position: int
    origin_ip: str
    location: str
    configuration_version: int
    age: float


async def report(work: Work, edge: EdgeReport, reported: list[ConnectionReport]) -> list[str]:
    """Take the whole report of an edge; return what it must close, as the tunnel is gone. Cancel undoes it."""
    touched = await _drop_dead_edges(work)
    row = await work.session.get(Edge, edge.id)
    if row is None and not edge.leaving:
        work.session.add(Edge(id=edge.id, name=edge.name, address=edge.address, seen_at=work.now, about=edge.about))
        await work.session.flush()
    elif row is not None:
        row.seen_at = work.now
        if row.about != edge.about:
            row.about = edge.about
    known = await _living_tunnels(work, {connection.tunnel_id for connection in reported})
    wanted = {} if edge.leaving else {entry.id: entry for entry in reported if entry.tunnel_id in known}
    present = (await work.session.execute(select(Connection).where(Connection.edge_id == edge.id))).scalars()
    for connection in list(present):
        entry = wanted.pop(connection.id, None)
        if entry is None:
            touched.add(connection.tunnel_id)
            await work.session.delete(connection)
        elif connection.configuration_version != entry.configuration_version:
            connection.configuration_version = entry.configuration_version
    for entry in wanted.values():
        touched.add(entry.tunnel_id)
        work.session.add(_row(work, edge, entry))
    await work.session.flush()
    if edge.leaving and row is not None:
        await work.session.delete(row)
    await _note_activity(work, touched)
    return [entry.id for entry in reported if entry.tunnel_id not in known]


async def peers_of(work: Work, edge_id: str) -> list[dict[str, Any]]:
    """Return the other edges that can be reached by edges, and the tunnels that each holds connections of.

    Cancel reads nothing more.
    """
    oldest = work.now - datetime.timedelta(seconds=EDGE_LIFETIME)
    living = (await work.session.execute(select(Edge).where(Edge.seen_at >= oldest, Edge.id != edge_id))).scalars()
    peers = {edge.id: edge.about for edge in living if edge.about.get("peer")}
    held: dict[str, list[str]] = {peer: [] for peer in peers}
    rows = select(Connection.edge_id, Connection.tunnel_id).where(Connection.edge_id.in_(peers)).distinct()
    for peer, tunnel_id in await work.session.execute(rows):
        held[peer].append(tunnel_id)
    return [
        {
            "id": peer, "address": peers[peer]["peer"], "tunnels": tunnels,
            "draining": bool(peers[peer].get("draining")),
        }
        for peer, tunnels in held.items()
    ]  # fmt: skip


async def clean_up(work: Work, tunnel_id: str, client_id: str | None) -> None:
    """Let edges close the connections of a tunnel, or those of one connector. Cancel undoes it.

    Raises:
        NotFound: there is no such tunnel.
    """
    tunnel = await find(work.session, work.account_id, tunnel_id)
    statement = delete(Connection).where(Connection.tunnel_id == tunnel_id)
    if client_id is not None:
        statement = statement.where(Connection.client_id == client_id)
    await work.session.execute(statement)
    await _note_activity(work, {tunnel_id})
    work.publish("cleanup", tunnel_id, {"client_id": client_id})
    work.audit(
        Entry(
            action="delete", resource_type="tunnel_connections", resource_id=tunnel_id,
            description=f"Cleaned up connections of tunnel {tunnel.name}", request={"client_id": client_id},
        )
    )  # fmt: skip


async def _drop_dead_edges(work: Work) -> set[str]:
    """Forget edges that are silent for long, and return the tunnels whose connections they reported."""
    oldest = work.now - datetime.timedelta(seconds=EDGE_LIFETIME)
    dead = list((await work.session.execute(select(Edge.id).where(Edge.seen_at < oldest))).scalars())
    if not dead:
        return set()
    touched = set(
        (await work.session.execute(select(Connection.tunnel_id).where(Connection.edge_id.in_(dead)))).scalars()
    )
    await work.session.execute(delete(Connection).where(Connection.edge_id.in_(dead)))
    await work.session.execute(delete(Edge).where(Edge.id.in_(dead)))
    return touched


async def _living_tunnels(work: Work, tunnel_ids: set[str]) -> set[str]:
    statement = select(Tunnel.id).where(Tunnel.id.in_(tunnel_ids), Tunnel.deleted_at.is_(None))
    return set((await work.session.execute(statement)).scalars())


async def _note_activity(work: Work, tunnel_ids: set[str]) -> None:
    living = await connections_of(work.session, tunnel_ids, work.now)
    for tunnel_id, connections in living.items():
        activity = await work.session.get(Activity, tunnel_id)
        if activity is None:
            if not connections:
                continue
            activity = Activity(tunnel_id=tunnel_id, active_at=None, inactive_at=None)
            work.session.add(activity)
        if connections and (activity.active_at is None or activity.inactive_at is not None):
            activity.active_at, activity.inactive_at = work.now, None
        elif not connections and activity.inactive_at is None:
            activity.inactive_at = work.now


def _row(work: Work, edge: EdgeReport, entry: ConnectionReport) -> Connection:
    return Connection(
        id=entry.id, edge_id=edge.id, tunnel_id=entry.tunnel_id, client_id=entry.client_id,
        client_version=entry.client_version, arch=entry.arch, features=list(entry.features), position=entry.position,
        origin_ip=entry.origin_ip, location=entry.location, configuration_version=entry.configuration_version,
        opened_at=work.now - datetime.timedelta(seconds=entry.age),
    )  # fmt: skip
